"""Search that shows excerpts without a server: the texts of all pages in one script of the search page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.engine.files import write_atomically

if TYPE_CHECKING:
    from bs4 import Tag

LEFT_OUT = ("script", "style", "img", "svg", "template")
NOT_TEXT = {"cell_input", "headerlink", "sanity-provenance", "sanity-data"}
LONGEST_TABLE = 40
"""Rows up to which a table is part of a page's text."""

ANSWER = """// The search page asks for the pages that it found, to show where in them. From file:// a browser
// does not hand them out, so that they are answered from here.
(() => {
  const texts = %s;
  const ask = window.fetch;
  window.fetch = (address, ...rest) => {
    const path = decodeURI(new URL(address, document.baseURI).pathname);
    const name = Object.keys(texts).filter((one) => path.endsWith(`/${one}.html`))
      .sort((a, b) => b.length - a.length)[0];
    return name ? Promise.resolve(new Response(texts[name])) : ask(address, ...rest);
  };
})();
"""


def text_of(article: Tag) -> str:
    """What an article says, with its sections: as much of its HTML as the search page looks at."""
    return f'<main role="main">{_text(article)}</main>'


def _text(tag: Any) -> str:
    from bs4.element import NavigableString

    parts = []
    for child in tag.children:
        if type(child) is NavigableString:
            parts.append(escape(" ".join(str(child).split()) + " " if child.strip() else " ", quote=False))
        elif isinstance(child, NavigableString) or _is_left_out(child):
            continue
        elif child.name == "section" and child.get("id"):
            parts.append(f'<section id="{escape(str(child["id"]))}">{_text(child)}</section>')
        else:
            parts.append(_text(child))
    return "".join(parts)


def _is_left_out(tag: Any) -> bool:
    classes = set(tag.get("class") or [])
    too_long = tag.name == "table" and len(tag.find_all("tr", limit=LONGEST_TABLE + 1)) > LONGEST_TABLE
    return tag.name in LEFT_OUT or too_long or bool(classes & NOT_TEXT)


def add_texts(html: Path, texts: Mapping[str, str]) -> None:
    """Write the texts next to the pages, for the search page alone."""
    page = html / "search.html"
    if page.exists():
        content = json.dumps(dict(texts), ensure_ascii=False).replace("</", "<\\/")
        write_atomically(html / "_static" / "texts.js", ANSWER % content)
        text = page.read_text(encoding="utf-8")
        write_atomically(page, text.replace("</head>", '<script src="_static/texts.js"></script></head>', 1))
