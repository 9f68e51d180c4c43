"""What every page opens with, and the numbers that pages share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from sanity.errors import BadInputError, SanityError
from sanity.profiles import load
from sanity.publishing import ahead, cards, count, span
from sanity.publishing.answers import PENDING, disagreements
from sanity.publishing.executing import own_kernel, run_notebook
from sanity.publishing.page import ChapterPage

OPENING = "from sanity.publishing import open_chapter\npage = open_chapter('one', 'smoke')\npage.banner()"
ANSWER = "page.answer('**Nothing** <b>was</b> found.', sure='one seed', scale='small')"
ENDING = "page.number('ev', 0.75)\npage.number('ev', 0.75)\npage.provenance()"


def outputs_of(notebook: Path) -> list[list[dict[str, Any]]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [[output for output in cell["outputs"] if "data" in output] for cell in cells]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that knows its answer only in its second cell, as it was run."""
    folder = tmp_path_factory.mktemp("answers")
    notebook = new_notebook(cells=[new_code_cell(code) for code in (OPENING, ANSWER, ENDING)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "one.ipynb")
    with own_kernel(folder, home=folder):
        run_notebook("one", folder / "one.ipynb", folder / "out.ipynb", parameters={}, cwd=folder)
    return folder / "out.ipynb"


def test_the_answer_stands_where_the_page_opened(executed: Path) -> None:
    opening, answering, _ = outputs_of(executed)
    shown = "".join(opening[0]["data"]["text/html"])
    assert '<p class="sanity-found"><strong>Nothing</strong>' in shown
    assert "<strong>How sure:</strong> one seed" in shown
    assert "<strong>At what scale:</strong> small" in shown
    assert "&lt;b&gt;" in shown
    assert PENDING not in shown
    assert "sanity-profile" in "".join(opening[1]["data"]["text/html"])
    assert not answering


def test_pages_that_disagree_on_a_number_are_refused(executed: Path, tmp_path: Path) -> None:
    disagreements({"one": executed, "two": executed})
    other = tmp_path / "two.ipynb"
    other.write_text(executed.read_text(encoding="utf-8").replace('"0.75"', '"0.76"'), encoding="utf-8")
    with pytest.raises(SanityError, match=r"pages one and two disagree on ev: 0\.75 and 0\.76"):
        disagreements({"one": executed, "two": other})


def test_one_page_gives_a_number_one_value(tmp_path: Path) -> None:
    page = ChapterPage("one", load("smoke"), tmp_path)
    assert page.number("ev", 0.5) == page.number("ev", 0.5)
    with pytest.raises(BadInputError, match="two values"):
        page.number("ev", 0.6)


def test_an_answer_says_how_sure_and_at_what_scale(tmp_path: Path) -> None:
    page = ChapterPage("one", load("smoke"), tmp_path)
    with pytest.raises(BadInputError, match="at what scale"):
        page.answer("found", sure="very", scale=" ")


def test_cards_show_markdown_and_escape_the_rest() -> None:
    shown = cards([("*open*", "a <script>", "0.5")]).html
    assert "<em>open</em>" in shown
    assert "&lt;script&gt;" in shown


def test_who_is_ahead_is_said_and_no_sign_is_left_to_read() -> None:
    assert ahead("frozen decoder", 0.012) == "the trained arm is ahead of frozen decoder by 0.012"
    assert ahead("frozen decoder", -0.012) == "frozen decoder is ahead of the trained arm by 0.012"
    assert ahead("frozen decoder", -0.0001) == "frozen decoder and the trained arm are level"
    assert (count(1, "seed"), count(2, "seed")) == ("1 seed", "2 seeds")
    assert (span(0.1, 0.2, ".1f"), span(0.11, 0.12, ".1f")) == ("0.1 to 0.2", "0.1")
