"""A small project that is computed and built within seconds: worlds, arms, evals, a harvest, two chapters.

Cells, store, leases, checkpoints, stamps and staging are the real ones. Only two things are stand-ins, since
they take minutes and write nothing of ours: the kernel that runs a chapter, and the builder of pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import torch
from embedding_subject import HOOK, EmbeddingSubject

from sanity.engine.cells import Cell, Task, computes, in_order
from sanity.engine.computing import compute
from sanity.engine.files import sha256_of, write_atomically, write_sealed
from sanity.engine.store import LocalStore, require
from sanity.experiments import plan
from sanity.profiles import read_profile
from sanity.publishing import chapters, site
from sanity.publishing.chapters import read_chapters
from sanity.publishing.site import build_site
from sanity.publishing.stamps import results_folder
from sanity.subject import ActivationStore, harvest

PROFILE = """
about: tiny
sources:
  constant: {kind: world, spec: {d_in: 12, n_features: 48, expected_l0: 3.0}, held_out: 1024}
grids:
  synthetic_recovery:
    sources: constant
    architectures: [topk, jumprelu]
    l0: 3
    d_sae: 48
    arms: [trained, frozen_decoder]
    seeds: 0
    learning_rates: 0.003
    batch_size: 64
    steps: STEPS
    evals: [reconstruction, recovery]
evals:
  recovery: {grades: {levels: [0.0, 0.5, 1.0], seeds: [0, 1], size: 256}}
  reconstruction: {grades: {levels: [0.0, 0.5, 1.0], seeds: [0, 1], size: 200}}
"""
SEQUENCES = 96


@computes("torture.harvest", version=1)
def harvested(task: Task) -> None:
    """Activations, shard by shard, in the scratch folder that survives a kill."""
    tokens = torch.randint(0, 61, (SEQUENCES, 32), generator=torch.Generator().manual_seed(0))
    where = task.scratch / "activations"
    harvest(EmbeddingSubject(), tokens, hook=HOOK, folder=where, shard_tokens=512, drop_first=False)
    where.rename(task.folder / "activations")


@computes("torture.moments", version=1)
def moments(task: Task) -> None:
    """A table of what was harvested."""
    store = ActivationStore(task.inputs["harvest"].folder("activations"))
    rows = torch.cat([part.float() for part in store.rows()])
    task.save_json("moments", {"mean": rows.mean().item(), "factor": store.factor, "rows": len(rows)})


def cells(steps: int) -> list[Cell]:
    """Everything that is computed; `steps` of training set how long it takes."""
    planned = plan(read_profile("torture", PROFILE.replace("STEPS", str(steps))))
    text = harvested.cell({"sequences": SEQUENCES}, label="harvest")
    kept = [cell for cell in planned if cell.stage in ("train", "reconstruction", "recovery")]
    return [*kept, moments.cell({}, inputs={"harvest": text}, label="moments")]


def make_book(root: Path) -> None:
    """Sources of a front page and one chapter."""
    for name in ("intro", "toy"):
        write_atomically(root / "book" / f"{name}.ipynb", json.dumps({"name": name}))
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/intro\nchapters:\n  - file: book/toy\n")
    (root / "_config.yml").write_text("title: torture\n")


def run_all(root: Path, todo: Sequence[Cell]) -> Mapping[str, str]:
    """Compute what is missing or damaged and build the pages; the SHA-256 of all that comes of it."""
    store = compute(todo, LocalStore(root / "store"))
    return {**contents_of(store, todo), **_publish(root, store, todo)}


def contents_of(store: LocalStore, todo: Sequence[Cell]) -> Mapping[str, str]:
    """The SHA-256 of every file of every result, read from the disk; what was computed anew may be newer."""
    found = {}
    for cell in in_order(todo):
        result = require(cell, store)
        for name in result.files:
            found[f"{cell.key}/{name}"] = sha256_of(result.local(name))
        assert result.manifest["recipe"] == json.loads(json.dumps(cell.recipe))
    return found


def _publish(root: Path, store: LocalStore, todo: Sequence[Cell]) -> Mapping[str, str]:
    tables = [f"{cell.key}/{name}" for cell in todo for name in require(cell, store).files]

    def execute(name: str, source: Path, notebook: Path, noted: Path, *, profile: str) -> float:
        shown = {"cells": [], "metadata": {}, "name": name, "outputs": [*site.MARKS]}
        write_atomically(notebook, json.dumps(shown))
        table = results_folder(root, profile) / f"{name}_tables.parquet"
        write_atomically(table, "".join(sha256_of(store.root / "results" / one) for one in sorted(tables)))
        write_sealed(noted, {table.name: sha256_of(table)})
        return 0.1

    def builder(_root: Path) -> Path:
        built = root / "_build" / "pages" / "_build" / "html"
        shutil.copytree(root / "_build" / "site", built)
        for page in built.glob("*.ipynb"):
            page.rename(page.with_suffix(".html"))
        return built

    with _stand_ins(execute, builder):
        pages = read_chapters(root)
        done = chapters.run_chapters(pages, profile="smoke", root=root)
        built = build_site(pages, {e.chapter.name: e.notebook for e in done}, profile="smoke", root=root)
    html = built.front_page.parent
    return {
        f"html/{path.relative_to(html)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(html.rglob("*"))
        if path.is_file() and path.name != ".built.json"
    }


@contextlib.contextmanager
def _stand_ins(execute: object, builder: object) -> Iterator[None]:
    with (
        mock.patch.object(chapters, "execute", execute),
        mock.patch.object(site, "_run_builder", builder),
        mock.patch.object(site, "_page", lambda _chapter, notebook, *_: notebook.read_text()),
    ):
        yield
