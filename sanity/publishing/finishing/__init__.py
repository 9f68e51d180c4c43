"""From the builder's pages to those that readers get: lighter, and usable with any screen, key and reader.

The builder and its theme leave scripts that are declared twice, tables without scopes, and images inside the
pages. Each module here mends one of these in a parsed page; nothing of what a page says is changed.
"""

from __future__ import annotations

from pathlib import Path

from sanity.engine.files import write_atomically
from sanity.publishing.finishing.access import mend_landmarks, mend_references
from sanity.publishing.finishing.images import keep_images_apart
from sanity.publishing.finishing.scripts import drop_unused_files, keep_scripts_that_are_used
from sanity.publishing.finishing.searching import add_texts, text_of
from sanity.publishing.finishing.tables import mend_tables

__all__ = ["finish_pages", "mend_tables"]


def finish_pages(html: Path) -> None:
    """Finish every page below the folder `html`, in place."""
    from bs4 import BeautifulSoup

    texts = {}
    for page in sorted(p for p in html.rglob("*.html") if "_static" not in p.relative_to(html).parts):
        name = page.relative_to(html).with_suffix("").as_posix()
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        up = "../" * name.count("/")
        mend_landmarks(soup)
        mend_references(soup)
        mend_tables(soup)
        keep_images_apart(soup, html, up)
        keep_scripts_that_are_used(soup, up)
        if article := soup.find("article"):
            texts[name] = text_of(article)
        write_atomically(page, str(soup))
    add_texts(html, texts)
    drop_unused_files(html)
