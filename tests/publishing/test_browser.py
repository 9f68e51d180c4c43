"""Pages in a real browser: nothing complains, everything fits, and what can be moved moves by key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from browser.chrome import Tab, browser, why_not
from browser.measure import WIDE, axe_source, broken_rules
from statsmodels.stats.proportion import proportion_confint

from sanity.publishing.widgets import QuizQuestion, quiz_html, slider_html

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser")]

MARGINS = pd.DataFrame(
    [
        (0.05, "one & <two>", "inconclusive", 0.25),
        (0.05, "other", "trained better", 0.5),
        (0.1, "one & <two>", "equivalent", 0.75),
        (0.1, "other", "trained better", float("nan")),
    ],
    columns=["margin", "claim", "verdict", "share"],
)
QUESTIONS = [
    QuizQuestion(f"<p>a{i}</p>", f"<p>b{i}</p>", i % 3 > 0, "frozen", [1.0, 0.5, None][i % 3])
    for i in range(6)
]


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as found:
        yield found


@pytest.fixture
def page(repository: Path, tmp_path: Path) -> Path:
    """A slider, the quiz, and a table that the slider colours, with the book's own script."""
    slider = slider_html(
        MARGINS, along="margin", rows="claim", shown={"verdict": "verdict", "share": "share"},
        caption="Your margin", say="{:.0%}".format, start=0.06, colours={"equivalent": "#009E73"},
    )  # fmt: skip
    quiz = quiz_html(QUESTIONS, caption="Which?", judge="A score", all_pairs=[1.0, 0.0, 0.5])
    table = "<table id=claims><tbody><tr><td>one &amp; &lt;two&gt;</td><td>x</td></tr></tbody></table>"
    script = (repository / "book" / "_static" / "widgets.js").as_uri()
    body = f'<main><h1>t</h1>{table}{slider}{quiz}</main><script src="{script}"></script>'
    path = tmp_path / "page.html"
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title>'
    path.write_text(head + body, encoding="utf-8")
    return path


def test_a_slider_moves_by_key_and_says_where_it_is(tab: Tab, page: Path) -> None:
    tab.screen(*WIDE)
    tab.open(page.as_uri())
    cells = "[...document.querySelectorAll('[data-widget=slider] td:not(:empty)')].map((c) => c.textContent)"
    colour = "document.querySelector('#claims tr').style.boxShadow"
    assert tab.ask(cells) == ["inconclusive", "0.250", "trained better", "0.500"]
    assert tab.ask(colour) == ""
    tab.ask("document.querySelector('input').focus()")
    tab.press("ArrowRight")
    assert tab.ask("document.querySelector('input').getAttribute('aria-valuetext')") == "10%"
    assert tab.ask(cells) == ["equivalent", "0.750", "trained better", "–"]
    assert "0, 158, 115" in tab.ask(colour)
    said = tab.ask("document.querySelector('.sanity-said').textContent")
    assert said == "At 10%: 1 equivalent, 1 trained better."
    tab.press("Home")
    assert tab.ask(cells)[0] == "inconclusive"
    assert tab.said == []


def test_the_quiz_goes_by_key_and_tells_the_outcome_at_the_end(tab: Tab, page: Path) -> None:
    tab.open(page.as_uri())
    shown = "[...document.querySelectorAll('fieldset:not([hidden])')].map((f) => f.textContent.slice(0, 10))"
    assert tab.ask(shown) == ["Question 1"]
    tab.ask("document.querySelector('fieldset button').focus()")
    for number in range(6):
        assert tab.ask(shown) == [f"Question {number + 1}"]
        if number:  # the question itself has the focus, so that a screen reader reads it
            assert tab.ask("document.activeElement.tagName") == "LEGEND"
            tab.press("Tab")
        assert tab.ask("document.activeElement.dataset.say") == "A"
        tab.press("Enter")
    outcome = tab.ask("document.querySelector('.sanity-outcome').innerText")
    low, high = (f"{100 * end:.0f} %" for end in proportion_confint(4, 6, method="wilson"))
    assert f"4 of 6 right, 67 % (95 % interval {low} to {high})" in outcome
    assert "A score on the same pairs: 3 of 4 right, 75 %" in outcome
    assert "25 points better than you" in outcome
    assert "on all 3 pairs that there are: 1.5 of 3" in outcome
    assert tab.ask("document.activeElement.className") == "sanity-outcome"


def test_the_quiz_can_be_left_early(tab: Tab, page: Path) -> None:
    tab.open(page.as_uri())
    assert tab.ask("document.querySelector('[data-do=stop]').disabled")
    tab.ask("document.querySelector('[data-say=B]').click()")
    tab.ask("document.querySelector('[data-do=stop]').click()")
    assert "1 of 1 right" in tab.ask("document.querySelector('.sanity-outcome').innerText")


def test_without_scripts_nothing_that_does_not_work_is_shown(tab: Tab, page: Path) -> None:
    tab.scripts(False)
    tab.open(page.as_uri())
    tab.scripts(True)
    assert tab.ask("[...document.querySelectorAll('[data-widget]')].map((w) => w.offsetHeight)") == [0, 0]


def test_what_can_be_moved_breaks_no_rule(tab: Tab, page: Path) -> None:
    axe = axe_source()
    if axe is None:
        pytest.skip("the rules of axe are not installed (axe-core-python)")
    tab.open(page.as_uri())
    assert broken_rules(tab, axe) == []
