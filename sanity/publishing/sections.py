"""Sections that a profile leaves empty: pages do without them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sanity.publishing.answers import PENDING

IF_SHOWN = "if-shown"
"""The tag of a heading whose section is left out where none of its cells shows anything."""


def without_empty(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells of an executed notebook, without sections that are tagged `if-shown` and show nothing."""
    return [cell for section in _sections(cells) if not _is_empty(section) for cell in section]


def without_pending(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell without the place of an answer that was never given."""
    outputs = [one for one in cell.get("outputs", []) if PENDING not in _html(one)]
    return {**cell, "outputs": outputs} if "outputs" in cell else cell


def _html(output: dict[str, Any]) -> str:
    return "".join(output.get("data", {}).get("text/html", ""))


def _sections(cells: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    section: list[dict[str, Any]] = []
    for cell in cells:
        heading = cell["cell_type"] == "markdown" and re.match(r"#+ ", "".join(cell["source"]))
        if heading and section:
            yield section
            section = []
        section.append(cell)
    yield section


def _is_empty(section: Sequence[dict[str, Any]]) -> bool:
    if IF_SHOWN not in section[0]["metadata"].get("tags", []):
        return False
    outputs = [output for cell in section for output in cell.get("outputs", [])]
    return not any(output["output_type"] in ("display_data", "execute_result") for output in outputs)
