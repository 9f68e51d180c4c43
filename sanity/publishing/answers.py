"""The short answer on top of a page, and the numbers that a page shares with others.

A chapter knows its answer only when it has computed it, far below the place where readers look first. So
`banner` opens an empty place there, and `answer` fills it: the same in Jupyter, in Colab and on the pages,
since front ends (and papermill) can replace what a cell has shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sanity.engine.files import read_json
from sanity.errors import BadInputError, SanityError
from sanity.publishing.display import Html, Markdown

PENDING = '<p class="sanity-pending">This page opens with its answer once it has been run to its end.</p>'
_NUMBER = "application/papermill.record/text/plain"


class PageAnswer:
    """The place of a page's short answer; outside a notebook nothing is shown."""

    def __init__(self) -> None:
        self._place: Any = None

    @property
    def kept(self) -> bool:
        """Whether a place for it was kept on the page."""
        return self._place is not None

    def open(self) -> None:
        """Keep the place free, here."""
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            self._place = display(Html(PENDING), display_id=True)  # type: ignore[no-untyped-call]

    def fill(self, found: str, *, sure: str, scale: str) -> Html:
        """Show the answer where its place was kept."""
        if not all(part.strip() for part in (found, sure, scale)):
            raise BadInputError("an answer says what was found, how sure that is, and at what scale")
        lines = ((None, found), ("How sure", sure), ("At what scale", scale))
        said = "".join(_line(label, text) for label, text in lines)
        shown = Html(f'<div class="sanity-answer">{said}</div>')
        if self._place is not None:
            self._place.update(shown)
        return shown


def _line(label: str | None, text: str) -> str:
    named = f"**{label}:** {text}" if label else text
    return Markdown(named).html.replace("<p>", '<p class="sanity-found">' if label is None else "<p>", 1)


def cards(claims: Sequence[tuple[str, str, str]]) -> Html:
    """Headline claims as cards: verdict, statement, and the numbers, each in Markdown."""
    shown = "".join(
        f'<li class="sanity-card"><p class="sanity-verdict">{_inline(verdict)}</p>'
        f"<p>{_inline(statement)}</p><p>{_inline(numbers)}</p></li>"
        for verdict, statement, numbers in claims
    )
    return Html(f'<ul class="sanity-cards">{shown}</ul>')


def _inline(text: str) -> str:
    html = Markdown(text).html.strip()
    return html.removeprefix("<p>").removesuffix("</p>")


def glue_numbers(numbers: Mapping[str, float]) -> None:
    """Keep a page's shared numbers in the notebook, out of sight, as myst-nb's `glue` does."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is not None:
        for name, value in numbers.items():
            about = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
            display({_NUMBER: repr(value)}, metadata=about, raw=True)  # type: ignore[no-untyped-call]


def disagreements(notebooks: Mapping[str, Path]) -> None:
    """Refuse pages of which two give one number different values; `notebooks` by chapter, executed."""
    known: dict[str, tuple[str, str]] = {}
    for chapter, path in notebooks.items():
        for name, value in _numbers_of(path):
            first, before = known.setdefault(name, (chapter, value))
            if before != value:
                raise SanityError(
                    f"the pages {first} and {chapter} disagree on {name}: {before} and {value}; "
                    "a number that two pages show is computed once"
                )


def _numbers_of(notebook: Path) -> list[tuple[str, str]]:
    outputs = [output for cell in read_json(notebook)["cells"] for output in cell.get("outputs", [])]
    return [
        (output["metadata"]["scrapbook"]["name"], "".join(output["data"][_NUMBER]))
        for output in outputs
        if _NUMBER in output.get("data", {})
    ]
