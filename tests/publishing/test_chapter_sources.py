"""The book's own chapters as they are kept: without outputs, paired, and with the cells that pages need."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jupytext
import pytest

from sanity.publishing.chapters import read_chapters
from sanity.publishing.remote import COLAB_CELL
from sanity.publishing.site import MARKS

ROOT = Path(__file__).parent.parent.parent
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def cells(chapter: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    return found


def test_the_table_of_contents_names_every_chapter() -> None:
    named = {c.source for c in read_chapters(ROOT) if c.runs}
    assert named == set(CHAPTERS)


def test_no_outputs_are_kept(chapter: Path) -> None:
    for cell in cells(chapter):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_first_code_cell_installs_in_colab(chapter: Path) -> None:
    first = next(cell for cell in cells(chapter) if cell["cell_type"] == "code")
    # A published repository has its address in the cell: see `write_address`.
    source = re.sub(
        r'REPOSITORY, REF = "[^"]*", "[^"]*"', 'REPOSITORY, REF = "", ""', "".join(first["source"])
    )
    assert source == COLAB_CELL.rstrip()


def test_one_cell_takes_the_profile_and_opens_at_the_smallest(chapter: Path) -> None:
    tagged = [c for c in cells(chapter) if "parameters" in c["metadata"].get("tags", [])]
    assert ["".join(cell["source"]) for cell in tagged] == ['profile = "demo"']


def test_every_chapter_says_at_which_profile_it_ran_and_what_made_it(chapter: Path) -> None:
    source = "".join("".join(cell["source"]) for cell in cells(chapter) if cell["cell_type"] == "code")
    assert all(call.removesuffix(")") in source for call in MARKS.values())


def test_every_chapter_answers_first(chapter: Path) -> None:
    found = cells(chapter)
    opening = next(at for at, cell in enumerate(found) if "page.banner()" in "".join(cell["source"]))
    before = [cell for cell in found[:opening] if cell["cell_type"] == "markdown"]
    # A title and a question; all else comes after the place of the answer.
    assert len(before) == 1
    assert len([line for line in before[0]["source"] if line.strip()]) <= 4
    assert "hide-input" in found[opening]["metadata"]["tags"]
    assert any("page.answer(" in "".join(cell["source"]) for cell in found[opening:])


def test_one_seed_is_not_called_seeds(chapter: Path) -> None:
    found = re.findall(r"{len\([^{}]*\)} seeds", chapter.with_suffix(".py").read_text(encoding="utf-8"))
    assert not found, "a profile may have one: count(len(seeds), 'seed') says it rightly"


def test_text_pair_is_the_same_notebook(chapter: Path) -> None:
    pair = jupytext.read(chapter.with_suffix(".py"))
    own = jupytext.read(chapter)
    assert own.metadata["jupytext"]["formats"] == "ipynb,py:percent"
    assert [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in pair.cells] == [
        (c.cell_type, c.source, c.metadata.get("tags", [])) for c in own.cells
    ]
