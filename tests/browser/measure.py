"""Measure a built book in a browser: `python -m browser.measure _build/html` (with `tests` on the path).

Prints one row per page, and what axe says in both modes. `--pictures FOLDER` photographs every page, wide and
narrow, light and dark. Needs Chromium, and an `axe.min.js`: of the package axe-core-python, or `--axe FILE`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from browser import probes
from browser.chrome import Tab, browser, why_not

WIDE, NARROW = (1440, 900), (360, 740)
HEAVY = 2_000_000
SMALL = 9.0


def axe_source(file: Path | None = None) -> str | None:
    """The rules of axe as JavaScript; None where they are not installed."""
    if file is not None:
        return file.read_text(encoding="utf-8")
    try:
        return (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        return None


def broken_rules(tab: Tab, axe: str) -> list[list[Any]]:
    """What axe finds on the open page."""
    tab.call("Runtime.evaluate", expression=axe)
    found: list[list[Any]] = tab.ask(probes.AXE)
    return found


def weight(page: Path, asked: list[str]) -> tuple[int, int]:
    """Bytes of a page with its own images, and of the scripts and styles that it shares with others."""
    files = {Path(address.removeprefix("file://").split("?")[0]) for address in asked if "file://" in address}
    files |= {page.parent / name for name in set(_images(page))}
    own = [file for file in files if file == page or "_images" in file.parts]
    shared = [file for file in files if "_static" in file.parts]
    return sum(map(_size, own)), sum(map(_size, shared))


def _images(page: Path) -> list[str]:
    import re

    return re.findall(r'src="([^"]*_images/[^"]+)"', page.read_text(encoding="utf-8"))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def measure_page(tab: Tab, page: Path) -> dict[str, Any]:
    """One page, on a wide and on a narrow screen."""
    tab.screen(*WIDE)
    tab.open(page.as_uri())
    own, shared = weight(page, tab.asked)
    sizes, (figures, no_csv, no_link) = tab.ask(probes.TEXT), tab.ask(probes.FIGURES)
    tables, no_frame, no_scope, longest = tab.ask(probes.TABLES)
    row = {
        "page": page.stem, "answer px": tab.ask(probes.ANSWER), "console": len(tab.said),
        "outside": sum(not a.startswith(("file:", "data:", "blob:")) for a in tab.asked),
        "own MB": own / 1e6, "shared MB": shared / 1e6, "figures": figures, "no csv": no_csv,
        "no link": no_link, "smallest text": min(sizes, default=None), "clipped": tab.ask(probes.OUTSIDE),
        "tables": tables, "no frame": no_frame, "no scope": no_scope, "longest": longest,
        "raw names": len(raw := tab.ask(probes.RAW)),
        "moves": " ".join(moving(tab)),
    }  # fmt: skip
    said = [*tab.said, *(f"shows the name {name}" for name in raw)]
    tab.screen(*NARROW)
    tab.open(page.as_uri())
    row["overflow"] = len(tab.ask(probes.OVERFLOW)) + (
        tab.ask("document.documentElement.scrollWidth") > NARROW[0]
    )
    row["phone text"] = min(tab.ask(probes.TEXT), default=None)
    for line, times in Counter(line.split(" file:")[0][:160] for line in said).items():
        print(f"{page.stem} said {times} times: {line}", file=sys.stderr)
    return row


def moving(tab: Tab) -> list[str]:
    """What can be moved on the open page, moved: each by its kind, and what does not answer in capitals."""
    found = []
    for number, kind in enumerate(tab.ask(probes.WIDGETS)):
        here = f"document.querySelectorAll('[data-widget]')[{number}]"
        if kind == "slider":
            tab.ask(f"{here}.querySelector('input').focus()")
            tab.press("Home")
            first = tab.ask(f"{here}.querySelector('output').textContent")
            tab.press("ArrowRight")
            works = first != tab.ask(f"{here}.querySelector('output').textContent")
        else:
            tab.ask(f"{here}.querySelector('[data-say]').click()")
            tab.ask(f"{here}.querySelector('[data-do=stop]').click()")
            works = "of 1 right" in tab.ask(f"{here}.querySelector('.sanity-outcome').innerText")
        found.append(kind if works else kind.upper())
    return found


def search_hits(tab: Tab, html: Path, words: str) -> tuple[int, int]:
    """How many pages the search finds from file://, and how many with an excerpt."""
    tab.screen(*WIDE)
    tab.open(f"{(html / 'search.html').as_uri()}?q={words}")
    tab.wait(1.5)
    found = tab.ask(probes.HITS)
    return len(found), sum(bool(text) for text in found)


def photograph(tab: Tab, page: Path, folder: Path) -> None:
    """The page as four pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in (("wide", WIDE), ("narrow", NARROW)):
        for mode in ("light", "dark"):
            tab.screen(*size, dark=mode == "dark")
            tab.open(page.as_uri())
            tab.ask("document.querySelectorAll('img[loading]').forEach((i) => { i.loading = 'eager'; })")
            tab.wait(1.0)
            tab.photograph(folder / f"{page.stem}-{name}-{mode}.png", whole=True)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", type=Path)
    parser.add_argument("--pages", nargs="*", help="names of pages; all without")
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--no-axe", action="store_true")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    if reason := why_not():
        sys.exit(f"nothing can be measured: {reason}")
    html = given.html.resolve()
    pages = [p for p in sorted(html.glob("*.html")) if p.stem not in ("index", "genindex", "search")]
    pages = [p for p in pages if not given.pages or p.stem in given.pages]
    axe = None if given.no_axe else axe_source(given.axe)
    rows, broken = [], Counter[tuple[str, str]]()
    where: dict[tuple[str, str], str] = {}
    with browser() as tab:
        for page in pages:
            row = measure_page(tab, page)
            for mode in ("light", "dark") if axe else ():
                tab.screen(*WIDE, dark=mode == "dark")
                tab.open(page.as_uri())
                found = broken_rules(tab, axe or "")
                row[f"axe {mode}"] = sum(count for _, count, *_ in found)
                for rule, count, *first in found:
                    broken[rule, mode] += count
                    where.setdefault((rule, mode), f"{page.stem}: {' | '.join(first)}")
            if given.pictures:
                photograph(tab, page, given.pictures)
            rows.append(row)
        hits, excerpts = search_hits(tab, html, "recovery")
    print(pd.DataFrame(rows).set_index("page").round(2).to_string())
    print(f"search from file://: {hits} pages found, {excerpts} with an excerpt")
    for (rule, mode), count in sorted(broken.items()):
        print(f"axe, {mode}: {rule} {count} times, first {' '.join(where[rule, mode].split())}")
    if not axe:
        print("axe was not asked: its rules are not installed (axe-core-python)")


if __name__ == "__main__":
    main()
