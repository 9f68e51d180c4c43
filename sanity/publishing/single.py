"""An executed notebook as one self-contained HTML page: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from sanity.engine.files import read_json, write_atomically

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may do with the page, should anything in it get past the escaping."""


def single_page(notebook: Path, page: Path, *, title: str) -> Path:
    """Render `notebook` to `page`.

    Markdown is that of the packaged notebook, without HTML. Code stands folded; its outputs are the HTML that
    `sanity.publishing` made, or escaped text.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False})
    cells: Any = read_json(notebook)["cells"]
    body = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            body.append(markdown.render(source))
        elif cell["cell_type"] == "code":
            body.append("".join(_outputs(cell)))
            body.append(f"<details><summary>code</summary><pre>{escape(source)}</pre></details>")
    style = (resources.files(__package__) / "single.css").read_text(encoding="utf-8")
    write_atomically(
        page,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f"{''.join(body)}</main></body></html>",
    )
    return page


def _outputs(cell: Mapping[str, Any]) -> Iterator[str]:
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/html" in data:
            yield f'<div class="output">{"".join(data["text/html"])}</div>'
        elif text := "".join(data.get("text/plain", output.get("text", ""))):
            yield f'<pre class="output">{escape(text)}</pre>'
