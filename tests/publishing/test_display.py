"""What is shown of names and texts from elsewhere: as they are written, and never as HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from sanity.errors import BadInputError, SanityError
from sanity.publishing import Markdown, code, open_chapter
from sanity.publishing.display import figure_html, table_html

HOSTILE = [
    "<script>alert(1)</script>",
    "` <img src=x onerror=alert(1)> `",
    "```\n<svg onload=alert(1)>\n```\n<svg onload=alert(1)>",
    "[x](javascript:alert(1)) <javascript:alert(1)>",
    '" onmouseover="alert(1)',
    "</td></table><iframe src=x>",
    "<!-- <b>",
    "&lt;script&gt;",
]
WAYS: dict[str, Callable[[str], str]] = {
    "Markdown": lambda text: Markdown(f"**Said**: {text}.").html,
    "code": lambda text: Markdown(f"Judge {code(text)} said.").html,
    "code in a list": lambda text: Markdown(f"- {code(text)}\n- more").html,
    "caption": lambda text: table_html(pd.DataFrame({"a": [1]}), caption=text),
    "folded": lambda text: table_html(pd.DataFrame({"a": [1]}), caption=text, folded=True),
    "cell": lambda text: table_html(pd.DataFrame({"a": [text]}), caption="a"),
    "column": lambda text: table_html(pd.DataFrame({text: [1]}), caption="a"),
    "index": lambda text: table_html(
        pd.DataFrame({"a": [1]}, index=pd.Index([text], name=text)), caption="a"
    ),
    "figure": lambda text: figure_html(plt.figure(figsize=(1, 1)), alt=text, caption=text),
}


class Parsed(HTMLParser):
    """The tags and attributes of some HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("way", WAYS)
def test_text_is_never_html(way: str, text: str) -> None:
    page = Parsed(WAYS[way](text))
    assert not page.tags & {"script", "svg", "iframe", "b"}
    assert "img" not in page.tags or way == "figure"
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [
        value for name, value in page.attributes if name in ("href", "src") and "javascript:" in str(value)
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_as_code_is_shown_as_it_is_written(text: str) -> None:
    assert " ".join(text.split()) in " ".join(Parsed(Markdown(f"Judge {code(text)} said.").html).text.split())


def test_emphasis_lists_and_links_are_kept() -> None:
    shown = Markdown("**Two** of *three*:\n\n- `a`\n- [b](verdicts.html)").html
    assert {"strong", "em", "li", "code", "a"} <= Parsed(shown).tags
    assert str(Markdown("**Two**")) == "Two"


def test_a_figure_whose_panels_have_collapsed_is_refused() -> None:
    figure, ax = plt.subplots(figsize=(2, 1), layout="constrained")
    ax.plot([1, 2], [0, 1])
    ax.set_xlabel("a line\n" * 40)
    with pytest.raises(SanityError, match="no room next to what surrounds them"):
        figure_html(figure, alt="a line", caption="a line")


def test_a_figure_too_low_for_its_words_grows() -> None:
    figure, axes = plt.subplots(4, 1, figsize=(4, 2), layout="constrained")
    for ax in axes:
        ax.set_title("explained variance")
        ax.set_xlabel("share")
    assert 'alt="four"' in figure_html(figure, alt="four", caption="four")
    assert 2 < figure.get_figheight() <= 8


def test_declared_names_are_shown_in_words() -> None:
    table = pd.DataFrame(
        {
            "sparse_probing_top1": ["soft_frozen_decoder(cosine=0.6)", "topk"],
            "known_from": ["even_encoder", "x"],
        },
        index=pd.Index(["autointerp_judge", "frozen_decoder"], name="metric_or_arm"),
    )
    html = table_html(table, caption="names")
    for said in (
        "sparse probing, one latent", "soft-frozen decoder 0.6", "TopK", "known from", "even encoder",
        "judged interpretability (accuracy)", "frozen decoder", "metric or arm",
    ):  # fmt: skip
        assert f">{said}<" in html, said
    assert not re.search(r">[a-z]+_[a-z_0-9]+<", html)


def test_a_figure_without_its_numbers_is_refused() -> None:
    page = open_chapter("toy", "smoke")
    with pytest.raises(BadInputError, match=r"give data=\(table, name\)"):
        page.figure(plt.figure(), alt="a line", caption="a line")
    plt.close("all")
