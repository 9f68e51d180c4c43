"""Figures and tables as pieces of a page: with a text for those who cannot see them, and their data."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import warnings
from html import escape
from typing import TYPE_CHECKING, Any

from sanity.errors import BadInputError, SanityError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DPI = 144


class Html:
    """A piece of a page; notebooks show it as it is."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return re.sub(r"<[^>]+>", " ", self.html).strip()


class Markdown(Html):
    """Text of a page with emphasis, lists and links. HTML in it is shown as it is written, and never obeyed:
    names of models, judges and sources, which come from elsewhere, stand in such texts.
    """

    def __init__(self, text: str) -> None:
        from markdown_it import MarkdownIt

        super().__init__(MarkdownIt("commonmark", {"html": False}).render(text))


def code(name: str) -> str:
    """A name as code in Markdown, whatever is in it.

    >>> code("a`b")
    '`` a`b ``'
    """
    plain = " ".join(name.split())
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def as_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with its index as columns, all of which have names and one type, as files need it."""
    said = any(name is not None for name in table.index.names) or table.index.dtype.kind not in "iu"
    plain = table.reset_index(drop=not said)
    names: list[Any] = list(plain.columns)
    plain.columns = [" ".join(map(str, c)).strip() if isinstance(c, tuple) else str(c) for c in names]
    mixed = [c for c in plain if plain[c].dtype == object and plain[c].dropna().map(type).nunique() > 1]
    return plain.astype(dict.fromkeys(mixed, str))


def figure_html(figure: Figure, *, alt: str, caption: str, data: str = "") -> str:
    """`figure` as an image with its alternative text, its caption and (HTML) a link to its data.

    The image stands inside the page, so that a notebook, Colab and the book show the same.
    """
    if not alt.strip() or not caption.strip():
        raise BadInputError("a figure needs an alternative text that states the finding, and a caption")
    import matplotlib.pyplot as plt

    from sanity.figures.style import SMALLEST, make_legible, marks_outside

    width = round(figure.get_figwidth() * 96)
    smallest, outside = make_legible(figure), marks_outside(figure)
    if not _has_room(figure):
        raise SanityError(f"a figure's panels have no room next to what surrounds them ({alt})")
    source = base64.b64encode(_png(figure)).decode()
    plt.close(figure)
    image = (
        f'<img src="data:image/png;base64,{source}" alt="{escape(alt, quote=True)}" '
        f'width="{width}" data-text="{smallest:.1f}" data-outside="{outside}" '
        f'style="min-width:{round(width * SMALLEST / smallest)}px">'
    )
    return f'<figure class="sanity-figure">{image}<figcaption>{escape(caption)}</figcaption>{data}</figure>'


def _has_room(figure: Figure) -> bool:
    """Whether the panels keep some height; a figure too low for its words grows, to twice its height at most.

    How many arms and metrics somebody's own check has is not known where the figure is written.
    """
    for grown in (1.0, 1.25, 1.6, 2.0):
        figure.set_figheight(figure.get_figheight() * grown)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            figure.draw_without_rendering()
        if not any("constrained_layout not applied" in str(one.message) for one in found):
            return True
        figure.set_figheight(figure.get_figheight() / grown)
    return False


def _png(figure: Figure) -> bytes:
    """The figure in 256 colours, a third of the bytes. The same figure has the same bytes."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    few = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(small, format="png", optimize=True)
    return small.getvalue()


def in_words(name: object) -> object:
    """What pages call a declared name: a metric's, constraint's or objective's label, or a title.

    >>> in_words("soft_frozen_decoder"), in_words("topk"), in_words("a word"), in_words(3)
    ('soft-frozen decoder', 'TopK', 'a word', 3)
    """
    from sanity.evals.metric import METRICS
    from sanity.models import Architecture, Constraint, Objective

    if not isinstance(name, str):
        return name
    if name in Architecture.known:
        return Architecture.known[name].title
    kind = name.partition("(")[0]
    if "_" not in kind:
        return name  # a word of the field as it stands, such as trained, plain or recovery
    if name in METRICS:
        return METRICS[name].label
    for family in (Constraint, Objective):
        if kind in family.known:
            with contextlib.suppress(BadInputError):  # it only begins like one
                return family.named(name).label
    return name


def _as_read(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with declared names in words, and no header spelled as code."""

    def header(name: object) -> object:
        words = in_words(name)
        return words.replace("_", " ") if isinstance(words, str) and words.isidentifier() else words

    named = table.map(in_words).rename(index=in_words, columns=header)
    return named.rename_axis(index=header, columns=header)


LONG = 40
"""Rows from which on a table is a listing, and shows its caption alone until it is opened."""


def table_html(table: pd.DataFrame, *, caption: str, folded: bool = False, digits: int = 3) -> str:
    """`table` with its caption, in a frame that scrolls sideways; `folded` shows the caption alone first.

    Declared names are shown in words (`in_words`). An index of numbers without a name is not shown. A listing
    of more than `LONG` rows is always folded.
    """
    numbered = table.index.nlevels == 1 and table.index.dtype.kind in "iu"
    rows = _as_read(table).to_html(
        index=not numbered or table.index.name is not None,
        float_format=lambda number: f"{number:.{digits}f}",
        na_rep="–",
        border=0,
        classes="sanity-table",
    )
    words, folded = escape(caption), folded or len(table) > LONG
    hidden = ' class="sanity-hidden"' if folded else ""
    rows = rows.replace(">", f"><caption{hidden}><span>{words}</span></caption>", 1)
    framed = f'<div class="sanity-scroll">{rows}</div>'
    if folded:
        return f"<details><summary>{words} ({len(table):,} rows)</summary>{framed}</details>"
    return framed
