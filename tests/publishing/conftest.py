"""A tiny book: two chapters, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from hostile import HOSTILE_CELLS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from sanity.publishing.remote import COLAB_CELL

OPEN = 'from sanity.publishing import open_chapter\n\npage = open_chapter("{name}", profile)\npage.banner()'

TOY = """
import sys
import pandas as pd
import matplotlib.pyplot as plt
from myst_nb import glue

print("said", "on stderr", sep=" ", file=sys.stderr)
frame = pd.DataFrame({"arm": ["trained", "frozen decoder"], "ev": [0.8523, 0.789]})
glue("toy_ev", float(frame.ev[0]), display=False)
fig, ax = plt.subplots(figsize=(3, 2))
ax.plot(frame.ev)
plt.show()
"""


def write_chapter(root: Path, name: str, text: str, *code: str) -> None:
    """A chapter as the book's own are: Colab cell, title, parameters, banner, content, provenance."""
    cells = [
        new_code_cell(COLAB_CELL.rstrip()),
        new_markdown_cell(text),
        new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]}),
        new_code_cell(OPEN.format(name=name)),
        *(new_code_cell(one.strip()) for one in code),
        new_code_cell("page.provenance(seeds=[0, 7], hashes={'toy model': 'abc123'})"),
    ]
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = root / "book" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture(scope="session")
def make_tiny_book(repository: Path) -> Callable[[Path], Path]:
    """Writes the tiny book, with the real book's settings and styles, into a folder."""

    def make(root: Path) -> Path:
        for name in ("_config.yml", "requirements.lock"):
            shutil.copy(repository / name, root)
        shutil.copytree(repository / "book" / "_static", root / "book" / "_static")
        for name in ("references.bib", "references.md"):
            shutil.copy(repository / "book" / name, root / "book")
        (root / "_toc.yml").write_text(
            "format: jb-book\nroot: book/intro\nparts:\n  - caption: Experiments\n    chapters:\n"
            "      - file: book/toy\n      - file: book/references\n"
        )
        write_chapter(
            root,
            "toy",
            "# A toy chapter\n\nWhether $2 + 2 = 4$ {cite}`chizat2019lazy`.\n\n"
            "```{math}\n:label: eq-ev\n\\mathrm{EV} = 1 - r\n```\n\nSee {eq}`eq-ev`.",
            TOY + "page.publish(frame, 'toy_arms')",
            HOSTILE_CELLS,
        )
        write_chapter(
            root,
            "intro",
            "# The tiny book\n\nThe trained arm reaches {glue:text}`toy.ipynb::toy_ev:.3f`; see [](toy).",
            "import pandas as pd\npd.DataFrame({'claim': ['one'], 'verdict': ['open']})",
        )
        return root

    return make


@pytest.fixture
def tiny_book(make_tiny_book: Callable[[Path], Path], tmp_path: Path) -> Path:
    """The tiny book, not yet run."""
    return make_tiny_book(tmp_path)
