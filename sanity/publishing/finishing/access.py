"""Landmarks, names and roles that the theme leaves out or gets wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

LINKS = (
    (re.compile(r"arXiv[: ]\s*(?:preprint )?(?:arXiv:)?(\d{4}\.\d{4,5})"), "https://arxiv.org/abs/{}"),
    (re.compile(r"(?:doi:\s*)?\b(10\.\d{4,9}/[^\s,;<>]*[^\s,;<>.])"), "https://doi.org/{}"),
)
"""How identifiers are written in references, and where each leads."""


def mend_landmarks(soup: BeautifulSoup) -> None:
    """Every part of a page belongs to a named landmark, and no button's name hides its text."""
    for found in soup.select(".bd-sidebar-primary"):
        found["role"], found["aria-label"] = "complementary", "Book"
    for found in soup.select("[title='previous page'], [title='next page']"):
        del found["title"]
    for found in soup.find_all("script", string=re.compile("search-button-field")):
        # Its text, with the keys that open it, is its name.
        found.string = str(found.string).replace(' aria-label="Search"', "")
    for found in soup.select("summary[aria-label]"):
        del found["aria-label"]  # what it says is its name
    for found in soup.select("div.highlight pre, .cell_output pre"):
        found["tabindex"] = "0"  # long lines scroll
    for number, found in enumerate(soup.select("#search-input")[1:], 2):
        found["id"] = f"search-input-{number}"
    for found in soup.select("p.caption[role=heading]"):
        del found["role"], found["aria-level"]  # a level 2 before the page's level 1


def mend_references(soup: BeautifulSoup) -> None:
    """Entries are items of a list, and their identifiers are links."""
    for entry in soup.select("[role='doc-biblioentry']"):
        entry["role"] = "listitem"
        for text in list(entry.find_all(string=True)):
            if text.find_parent("a") is None and (parts := _linked(soup, str(text))):
                text.replace_with(*parts)


def _linked(soup: BeautifulSoup, text: str) -> list[str | Tag]:
    """The text with its identifiers as links; empty where there is none."""
    for pattern, address in LINKS:
        if found := pattern.search(text):
            link = soup.new_tag("a", href=address.format(found[1]))
            link.string = found[0]
            before, after = text[: found.start()], text[found.end() :]
            return [before, link, *(_linked(soup, after) or [after])]
    return []
