"""Figures and tables as pieces of a page: with a text for those who cannot see them, and their data."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import TYPE_CHECKING

from sanity.errors import BadInputError

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


def figure_html(figure: Figure, *, alt: str, caption: str, data: str = "") -> str:
    """`figure` as an image with its alternative text, its caption and (HTML) a link to its data.

    The image stands inside the page, so that a notebook, Colab and the book show the same.
    """
    if not alt.strip() or not caption.strip():
        raise BadInputError("a figure needs an alternative text that states the finding, and a caption")
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    # Without a date in the file, the same figure has the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    width = round(figure.get_figwidth() * 96)
    source = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img src="data:image/png;base64,{source}" alt="{escape(alt, quote=True)}" width="{width}">'
    return f'<figure class="sanity-figure">{image}<figcaption>{escape(caption)}</figcaption>{data}</figure>'


def table_html(table: pd.DataFrame, *, caption: str, folded: bool = False, digits: int = 3) -> str:
    """`table` with its caption, in a frame that scrolls sideways; `folded` shows the caption alone first.

    The index is shown if it has a name.
    """
    rows = table.to_html(
        index=table.index.nlevels > 1 or table.index.name is not None,
        float_format=lambda number: f"{number:.{digits}f}",
        na_rep="–",
        border=0,
        classes="sanity-table",
    )
    framed = f'<div class="sanity-scroll">{rows}</div>'
    if folded:
        return f"<details><summary>{escape(caption)} ({len(table)} rows)</summary>{framed}</details>"
    return f'<p class="sanity-caption">{escape(caption)}</p>{framed}'
