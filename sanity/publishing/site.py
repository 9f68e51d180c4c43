"""From executed chapters to HTML pages: staging, building, and leaving alone what has not changed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from sanity.engine.files import (
    disk_errors,
    read_json,
    read_sealed,
    remove,
    sha256_of,
    write_atomically,
    write_sealed,
)
from sanity.engine.yamlfile import read_yaml, validated
from sanity.errors import SanityError
from sanity.publishing.answers import disagreements
from sanity.publishing.api import PLACE, api_markdown
from sanity.publishing.chapters import Chapter
from sanity.publishing.finishing import finish_pages
from sanity.publishing.glossary import Linker, terms_of
from sanity.publishing.remote import Remote, buttons, fill_colab_cell, find_remote, published_ref
from sanity.publishing.sections import without_empty, without_pending
from sanity.publishing.stamps import results_folder, tables_of

log = logging.getLogger("sanity")

_BUILT = ".built.json"
NOT_PAGES = (".ipynb", ".py", ".md")
MARKS = {"sanity-profile": "page.banner()", "sanity-provenance": "page.provenance()"}
"""What every executed chapter must show, and the call that shows it."""


class _Sphinx(BaseModel):
    model_config = ConfigDict(extra="allow")

    config: dict[str, Any] = {}


class _Settings(BaseModel):
    """The book's settings: what is filled in here has to be a mapping, the rest is the builder's business."""

    model_config = ConfigDict(extra="allow")

    sphinx: _Sphinx = _Sphinx()


def read_settings(path: Path) -> dict[str, Any]:
    """The builder's settings, with `sphinx` and its `config` as mappings that can be filled in."""
    return validated(_Settings, read_yaml(path), str(path)).model_dump()


@dataclasses.dataclass(frozen=True)
class Site:
    """A built book: its front page, the seconds the build took, and whether it was there already."""

    front_page: Path
    seconds: float
    reused: bool


def build_site(
    chapters: Sequence[Chapter], notebooks: Mapping[str, Path], *, profile: str, root: Path
) -> Site:
    """Build `_build/html` from the executed `notebooks` (chapter name -> file); warnings are errors.

    The new pages replace the old ones only when the build has succeeded. Nothing is built when nothing
    that goes into the pages has changed. Raises `SanityError` with the builder's first complaint.
    """
    began = time.perf_counter()
    html = root / "_build" / "html"
    front = html / "index.html"
    with disk_errors(root / "_build"):
        stage(chapters, notebooks, profile=profile, root=root)
        digest = folder_digest(root / "_build" / "site", root / "requirements.lock")
        last: Mapping[str, Any] = {}
        with contextlib.suppress(SanityError):
            last = read_sealed(html / _BUILT)
        if last.get("digest") == digest and last.get("pages") == folder_digest(html):
            return Site(front, time.perf_counter() - began, reused=True)
        log.info("building the pages%s", f": {last['seconds']:.0f} s last time" if last else "")
        built = _run_builder(root)
        # The front page is the first chapter itself, and not a page that sends browsers on to it.
        shutil.copyfile(built / f"{chapters[0].name}.html", built / "index.html")
        facts = {
            "digest": digest,
            "pages": folder_digest(built),
            "profile": results_folder(root, profile).name,
        }
        write_sealed(built / _BUILT, {**facts, "seconds": time.perf_counter() - began})
        _replace(html, built)
    return Site(front, time.perf_counter() - began, reused=False)


def stage(chapters: Sequence[Chapter], notebooks: Mapping[str, Path], *, profile: str, root: Path) -> Path:
    """Lay out in `_build/site` what the builder reads: configuration, executed chapters, data."""
    site = root / "_build" / "site"
    remove(site)
    shutil.copytree(
        root / "book",
        site,
        ignore=lambda _folder, names: [n for n in names if n.endswith(NOT_PAGES) or n.startswith(".")],
    )
    remote, ref = find_remote(root), published_ref(root)
    disagreements({name: path for name, path in notebooks.items() if path.exists()})
    glossary = root / "book" / "glossary.md"
    known = any(chapter.source == glossary for chapter in chapters)
    terms = terms_of(glossary.read_text("utf-8")) if known else []
    for chapter in chapters:
        link = Linker([] if chapter.source == glossary else terms).link
        target = site / f"{chapter.name}{chapter.source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if chapter.runs:
            target.write_text(_page(chapter, notebooks[chapter.name], remote, ref, link), encoding="utf-8")
        else:
            text = chapter.source.read_text("utf-8")
            if PLACE in text:
                text = text.replace(PLACE, api_markdown(Path(__file__).resolve().parent.parent))
            target.write_text(link(text), encoding="utf-8")
    data = site / "extra" / "data"
    data.mkdir(parents=True)
    shown = {}
    for chapter in (chapter for chapter in chapters if chapter.runs):
        for table in tables_of(root, profile, chapter.name):
            shutil.copyfile(table, data / table.name)
        download = f"notebooks/{chapter.name}.ipynb"
        source = fill_colab_cell(chapter.source.read_text("utf-8"), remote, ref)
        write_atomically(site / "extra" / download, source)
        place, up = chapter.source.relative_to(root).as_posix(), "../" * chapter.name.count("/")
        shown[chapter.name] = buttons(remote, ref, place, f"{up}{download}")
    config = read_settings(root / "_config.yml")
    # The builder's own default points at the builder's repository, so that none is set explicitly.
    config["repository"] = {"url": "", "branch": "", "path_to_book": ""}
    config["sphinx"]["config"]["sanity_buttons"] = shown
    (site / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=True), encoding="utf-8")
    toc = re.sub(r"(?m)((?:root|file)\s*:\s*[\"']?)book/", r"\1", (root / "_toc.yml").read_text("utf-8"))
    (site / "_toc.yml").write_text(toc, encoding="utf-8")
    return site


def folder_digest(folder: Path, *others: Path) -> str:
    """A hash of every name and byte below `folder` but its stamp, and of the other files that exist."""
    state = hashlib.sha256()
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != _BUILT)
    for path in sorted([*files, *(o for o in others if o.exists())]):
        name = path.relative_to(folder) if path.is_relative_to(folder) else path.name
        state.update(f"{name}\0{sha256_of(path)}\n".encode())
    package = Path(__file__).resolve().parent
    for path in sorted(p for p in package.rglob("*") if p.suffix in (".py", ".css")):
        state.update(path.read_bytes())
    return state.hexdigest()


def _page(
    chapter: Chapter, notebook: Path, remote: Remote | None, ref: str, link: Callable[[str], str]
) -> str:
    """The executed notebook as the builder gets it: without this machine's paths and without set-up cells."""
    content: dict[str, Any] = dict(read_json(notebook))
    content["metadata"].pop("papermill", None)
    shown = json.dumps([cell.get("outputs", []) for cell in content["cells"]])
    for mark, call in MARKS.items():
        if mark not in shown:
            raise SanityError(f"chapter {chapter.name} does not show {call}: every page says what made it")
    content["cells"] = [without_pending(cell) for cell in without_empty(content["cells"])]
    for cell in content["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
        source = "".join(cell["source"])
        tags = cell["metadata"].setdefault("tags", [])
        set_up = "google.colab" in source or {"parameters", "injected-parameters"} & set(tags)
        if cell["cell_type"] == "code" and set_up and "remove-cell" not in tags:
            tags.append("remove-cell")
        if cell["cell_type"] == "markdown":
            source = link(source)
        cell["source"] = fill_colab_cell(source, remote, ref)
    return json.dumps(content, indent=1, sort_keys=True)


def _run_builder(root: Path) -> Path:
    """Run jupyter-book over the staged folder and finish its pages; gives the folder of the new pages."""
    pages = root / "_build" / "pages"
    remove(pages)
    code = "from jupyter_book.cli.main import main; main(prog_name='jupyter-book')"
    arguments = [
        "build",
        "-W",
        "--keep-going",
        "--all",
        str(root / "_build" / "site"),
        "--path-output",
        str(pages),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=root,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1", "PYTHONUTF8": "1"},
    )
    record = root / "_build" / "site.log"
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    write_atomically(record, said)
    built = pages / "_build" / "html"
    if done.returncode or not built.is_dir():
        lines = [line for line in said.splitlines() if re.search(r"WARNING|ERROR|Error", line)]
        first = lines[0].replace(f"{root}/_build/site/", "book/") if lines else "it gave no reason"
        more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
        raise SanityError(f"the book was not built: {first.strip()}{more}; all of it is in {record}")
    finish_pages(built)
    return built


def _replace(html: Path, built: Path) -> None:
    """Put the new pages where the old ones are; readers find either the old or the new."""
    old = html.with_name("html.old")
    remove(old)
    if os.path.lexists(html):
        os.rename(html, old)
    os.rename(built, html)
    remove(old)
    remove(html.with_name("pages"))
