"""Images as files next to the pages, shown when they come into view, each with a link to its full size."""

from __future__ import annotations

import base64
import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.engine.files import write_atomically

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

PREFIX = "data:image/png;base64,"


def keep_images_apart(soup: BeautifulSoup, html: Path, up: str) -> None:
    """Write images that stand inside the page to `_images`; `up` leads from the page to the book's folder."""
    for image in soup.find_all("img"):
        source = str(image.get("src", ""))
        if not source.startswith(PREFIX):
            continue
        content = base64.b64decode(source.removeprefix(PREFIX))
        name = f"{hashlib.sha256(content).hexdigest()[:32]}.png"
        write_atomically(html / "_images" / name, content)
        image["src"], image["loading"], image["decoding"] = f"{up}_images/{name}", "lazy", "async"
        width, height = struct.unpack(">II", content[16:24])
        shown = int(str(image.get("width") or width))
        image["width"], image["height"] = str(shown), str(round(height * shown / width))
        if image.find_parent("figure", class_="sanity-figure"):
            _frame(soup, image)


def _frame(soup: BeautifulSoup, image: Any) -> None:
    """A frame that scrolls where the screen is too narrow for the figure's text, and a link to the image."""
    frame = {"class": "sanity-scroll", "role": "group", "aria-label": "Figure", "tabindex": "0"}
    image.wrap(soup.new_tag("div", attrs=frame))
    link = soup.new_tag("a", attrs={"class": "sanity-enlarge", "href": image["src"]})
    link.string = "Enlarge this figure"
    image.find_parent("figure").append(link)
