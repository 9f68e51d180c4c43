"""Terms that are linked, sections that are left out, and the API page."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sanity
from sanity.errors import SanityError
from sanity.publishing.answers import PENDING
from sanity.publishing.api import api_markdown
from sanity.publishing.glossary import Linker, terms_of
from sanity.publishing.sections import without_empty, without_pending

GLOSSARY = "# G\n\n```{glossary}\nfloor\n  Chance.\n\nfrozen decoder\n  Random.\n\ndecoder\n  Back.\n```\n"


def test_terms_are_those_of_the_glossary_with_the_longest_first() -> None:
    assert terms_of(GLOSSARY) == ["frozen decoder", "decoder", "floor"]
    assert terms_of("# no glossary here") == []


def test_only_the_first_use_of_a_term_is_linked() -> None:
    link = Linker(terms_of(GLOSSARY)).link
    assert link("Frozen decoders have a floor.\nThe floor is low.") == (
        "{term}`Frozen decoders <frozen decoder>` have a {term}`floor <floor>`.\nThe floor is low."
    )
    assert link("A floor again.") == "A floor again."


@pytest.mark.parametrize(
    "text",
    [
        "# The floor",
        "`floor`",
        "$floor$",
        "[the floor](verdicts)",
        "{doc}`floor`",
        "```python\nfloor = 0\n```",
        "| floor | 0 |",
        "**floor**",
        "https://example.org/floor",
        '<p class="floor">',
        "*What is the floor?*",
        "floors-and-more".replace("floors", "flooring"),
    ],
)
def test_what_is_no_prose_is_left_alone(text: str) -> None:
    assert Linker(["floor"]).link(text) == text


def test_after_a_code_block_prose_is_linked() -> None:
    assert Linker(["floor"]).link("```\nfloor\n```\nfloor").endswith("```\n{term}`floor <floor>`")


def _cell(kind: str, source: str, *tags: str, shows: bool = False) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "source": [source], "metadata": {"tags": list(tags)}}
    shown = {"output_type": "display_data"}
    return cell if kind == "markdown" else {**cell, "outputs": [shown] if shows else []}


def test_a_section_that_shows_nothing_is_left_out_with_its_cells() -> None:
    cells = [
        _cell("markdown", "# Title"),
        _cell("markdown", "## Other hooks", "if-shown"),
        _cell("code", "x = 1"),
        _cell("markdown", "said of them"),
        _cell("markdown", "## Next", "if-shown"),
        _cell("code", "figure", shows=True),
        _cell("markdown", "## Last"),
        _cell("code", "y = 1"),
    ]
    kept = ["".join(cell["source"]) for cell in without_empty(cells)]
    assert kept == ["# Title", "## Next", "figure", "## Last", "y = 1"]


def test_a_page_without_an_answer_does_not_promise_one() -> None:
    shown = [{"output_type": "display_data", "data": {"text/html": [text]}} for text in (PENDING, "banner")]
    kept = without_pending({"cell_type": "code", "source": [""], "outputs": shown})
    assert [one["data"]["text/html"] for one in kept["outputs"]] == [["banner"]]
    assert without_pending({"cell_type": "markdown", "source": []}) == {"cell_type": "markdown", "source": []}


def test_the_api_page_has_every_name_and_loads_nothing() -> None:
    package = Path(sanity.__file__).parent
    page = api_markdown(package)
    for name in sanity.__all__:
        assert f"### `{name}`" in page
    for room in package.glob("*/__init__.py"):
        assert f"## `sanity.{room.parent.name}`" in page
    assert "| `t_interval` | Student's interval for the mean difference; " in page
    code = "import sys; from pathlib import Path; from sanity.publishing.api import api_markdown; "
    code += f"api_markdown(Path({str(package)!r})); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_says_what_it_is() -> None:
    package = Path(sanity.__file__).parent
    lines = [line for line in api_markdown(package).splitlines() if line.startswith("| `")]
    assert len(lines) > 200
    assert not [line for line in lines if line.rstrip().endswith("|  |")]


def test_a_name_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    package = tmp_path / "thing"
    package.mkdir()
    (package / "__init__.py").write_text('_HOMES = {"lost": "thing"}\n')
    assert ast.parse((package / "__init__.py").read_text())
    with pytest.raises(SanityError, match="thing names lost"):
        api_markdown(package)
