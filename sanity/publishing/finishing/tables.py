"""Tables that a keyboard, a screen reader and a telephone can use.

Every table gets one row of column headers, scopes, and a named frame that scrolls and can be reached by key.
One whose cells are sentences becomes a list of cards on a narrow screen (`sanity-stacked`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

SENTENCE = 40
"""Letters from which on a cell is read rather than compared."""
MOST_CARDS = 60
LONGEST_NAME = 90


def mend_tables(soup: BeautifulSoup) -> None:
    """Mend every table of a page, in place."""
    names: Counter[str] = Counter()
    for table in soup.find_all("table"):
        if table.find_parent(class_="math") is not None:
            continue
        for old in ("border", "style"):
            del table[old]
        _one_row_of_headers(table)
        _scopes(table)
        _empty_headers(table)
        name = _name_of(table)
        names[name] += 1
        _frame(soup, table, f"{name} ({names[name]})" if names[name] > 1 else name)
        if _is_read(table):
            _cards(table)


def _one_row_of_headers(table: Tag) -> None:
    """Join pandas' second row of headers, the names of the index, with its first."""
    rows = table.select("thead > tr")
    if len(rows) != 2:
        return
    first, second = (row.find_all(["th", "td"], recursive=False) for row in rows)
    wide = any(cell.get("colspan") or cell.get("rowspan") for cell in (*first, *second))
    named = [bool(cell.get_text(strip=True)) for cell in second]
    depth = len(named) - named[::-1].index(True) if any(named) else 0
    if wide or len(first) != len(second) or depth == len(second):
        return
    for upper, lower in zip(first[:depth], second[:depth], strict=True):
        if lower.get_text(strip=True):
            upper.replace_with(lower.extract())
    rows[1].decompose()


def _scopes(table: Tag) -> None:
    for head in table.select("thead th"):
        head["scope"] = "colgroup" if int(str(head.get("colspan", "1"))) > 1 else "col"
    for head in table.select("tbody th"):
        head["scope"] = "rowgroup" if int(str(head.get("rowspan", "1"))) > 1 else "row"
    for head in table.select("tr"):
        del head["style"]


def _empty_headers(table: Tag) -> None:
    """A header without words heads nothing, and is a cell."""
    for head in table.find_all("th"):
        if not head.get_text(strip=True) and head.find("img") is None:
            head.name = "td"
            del head["scope"]


def _name_of(table: Tag) -> str:
    """What a reader who comes by key is told: the caption, else the summary or heading above."""
    caption = table.find("caption") or table.find_previous_sibling(class_="sanity-caption")
    folded = table.find_parent("details")
    said = caption or (folded.find("summary") if folded else None) or table.find_previous(["h1", "h2", "h3"])
    words = " ".join(said.get_text(" ", strip=True).split()).removesuffix(" #") if said else ""
    if len(words) > LONGEST_NAME:
        words = words[:LONGEST_NAME].rsplit(" ", 1)[0] + " …"
    return f"Table: {words}" if words else "Table"


def _frame(soup: BeautifulSoup, table: Tag, name: str) -> None:
    """The frame in which a table scrolls: the one that it has, or a new one."""
    frame = table.parent
    if frame is None or "sanity-scroll" not in (frame.get("class") or []):
        frame = table.wrap(soup.new_tag("div", attrs={"class": "sanity-scroll"}))
    frame["role"], frame["aria-label"], frame["tabindex"] = "region", name, "0"


def _is_read(table: Tag) -> bool:
    heads, rows = table.select("thead > tr"), table.select("tbody > tr")
    if len(heads) != 1 or not 1 <= len(rows) <= MOST_CARDS or table.find("td", rowspan=True):
        return False
    columns = len(heads[0].find_all(["th", "td"], recursive=False))
    uneven = any(len(row.find_all(["th", "td"], recursive=False)) != columns for row in rows)
    return (
        columns > 2
        and not uneven
        and any(len(c.get_text(strip=True)) > SENTENCE for c in table.select("tbody td"))
    )


def _cards(table: Any) -> None:
    """Give each cell its column's name, and set explicitly what the cards' style would inherit."""
    table["class"] = [*(table.get("class") or []), "sanity-stacked"]
    (head,) = table.select("thead > tr")
    labels = [cell.get_text(" ", strip=True) for cell in head.find_all(["th", "td"], recursive=False)]
    table["role"] = "table"
    for group in table.find_all(["thead", "tbody"], recursive=False):
        group["role"] = "rowgroup"
    for row in table.find_all("tr"):
        row["role"] = "row"
        for cell, label in zip(row.find_all(["th", "td"], recursive=False), labels, strict=False):
            heading = "columnheader" if row is head else "rowheader"
            cell["role"] = heading if cell.name == "th" else "cell"
            if row is not head:
                cell["data-label"] = label
