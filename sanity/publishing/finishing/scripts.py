"""Scripts and styles: each once, and only on pages that use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

USED_BY = {
    "mathjax": ".math",
    "MathJax": ".math",
    "design-tabs": ".sd-tab-set",
    "sphinx-design": "[class*='sd-']",
    "togglebutton": ".toggle, .admonition.dropdown",
    "toggleHint": ".toggle, .admonition.dropdown",
    "toggleOpen": ".toggle, .admonition.dropdown",
    "clipboard": "div.highlight pre",
    "copybutton": "div.highlight pre",
}
"""What a page must have for a script or style whose address or text begins to name one of these."""
UNUSED = (
    "thebe",  # live code, which needs a server
    "fontawesome/6.5.2/js",  # 1.5 MB that draw what the style sheet draws already
    "kernelName",
)
OURS = {"book.js": ".sanity-scroll, pre[tabindex]", "widgets.js": "[data-widget]"}
"""Our own scripts, and what a page must have for them."""


def keep_scripts_that_are_used(soup: BeautifulSoup, up: str) -> None:
    """Drop what is there twice or not used, and add our own scripts; `up` leads to the book's folder."""
    seen = set()
    for tag in soup.find_all(["script", "link", "meta"]):
        what = _identity(tag)
        if what is None:
            continue
        if _is_preload(tag) or what in seen or _is_unused(tag, what, soup):
            tag.decompose()
        else:
            seen.add(what)
    for found in soup.find_all("script", string=lambda text: bool(text) and "dataset.mode" in text):
        # Set explicitly: the mode that the theme takes anyway; without it every page begins with an error.
        found.string = str(found.string).replace('getItem("mode") || ""', 'getItem("mode") || "auto"')
    for file, users in OURS.items():
        if soup.head is not None and soup.select_one(users):
            soup.head.append(soup.new_tag("script", src=f"{up}_static/{file}", defer=""))


def drop_unused_files(html: Path) -> None:
    """Delete what no page asks for: sources of styles and scripts, other builds of the formulas' script."""
    static = html / "_static"
    for pattern in ("**/*.map", "vendor/fontawesome/*/js/*", "sphinx-thebe.*", "mathjax/*-svg*.js",
                    "mathjax/*mml*.js", "mathjax/tex-chtml-full*.js", "mathjax/node-main.js"):  # fmt: skip
        for file in static.glob(pattern):
            file.unlink()


def _identity(tag: Tag) -> str | None:
    """What a tag loads or runs; None for one that may stand twice."""
    if tag.name == "script":
        if tag.get("type") == "application/json" or "document.write" in tag.get_text():
            return None
        return str(tag.get("src") or tag.get_text().strip())
    if tag.name == "meta":
        return "viewport" if tag.get("name") == "viewport" else None
    kinds: Any = tag.get("rel") or []
    return str(tag.get("href")) if {"stylesheet", "preload"} & set(kinds) else None


def _is_preload(tag: Tag) -> bool:
    """Of what the page names again a few lines on; browsers refuse it from file://."""
    return tag.name == "link" and "preload" in (tag.get("rel") or [])


def _is_unused(tag: Tag, what: str, soup: BeautifulSoup) -> bool:
    if "thebe" in str(tag.get("type")) or any(name in what for name in UNUSED) or "THEBE" in what:
        return True
    head = what.split("?")[0] if "\n" not in what else what[:200]
    return any(name in head and not soup.select_one(users) for name, users in USED_BY.items())
