"""Every result in a folder named by the hash of what made it: atomic, leased, verified, resumable.

A store has four operations, `get`, `put`, `claim` and `list`; `LocalStore` is its first backend. A
result exists when its manifest exists, and the manifest arrives last (with one rename), so a kill at
any moment leaves either nothing or the whole. `compute` fills a store with the cells that are missing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from filelock import SoftFileLease, Timeout

from sanity.engine.cells import Cell, Result, Task, in_order
from sanity.engine.config import digest
from sanity.engine.files import disk_errors, free_space_words, read_json, sha256_of, write_atomically
from sanity.engine.machine import provenance
from sanity.errors import CorruptFileError, SanityError

log = logging.getLogger("sanity")

# A live owner refreshes its lease every third of this; one that was killed is replaced after it.
LEASE_SECONDS = 20.0


class Store(Protocol):
    """What a backend offers; nothing outside this module assumes that it is a local disk."""

    def get(self, key: str) -> Result | None:
        """The result of `key`, or `None`; a damaged manifest raises `CorruptFileError`."""

    def put(self, task: Task, *, seconds: float, threads: int | None = None) -> Result:
        """Publish what `task` put into its folder."""

    def claim(self, key: str, *, patience: float = 0.0) -> contextlib.AbstractContextManager[bool]:
        """Try to become the one who computes `key`: yields False if another live process does."""

    def list(self) -> list[str]:
        """The keys of all results."""


class LocalStore:
    """Results below one folder: `results/KEY`, unfinished work below `scratch/KEY`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._known: dict[str, Result] = {}
        with disk_errors(self.root):
            for name in ("results", "scratch", "leases"):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Result | None:
        """The result of `key` with the sizes of its files checked, or `None` when it was never published."""
        folder = self.root / "results" / key
        if not (folder / "manifest.json").exists():
            self._known.pop(key, None)
            return None
        if key not in self._known:
            manifest = read_json(folder / "manifest.json")
            if manifest.get("key") != key:
                raise CorruptFileError(f"{folder}/manifest.json is not that of {key}: delete {folder}")
            result = Result(folder, manifest)
            for name, facts in result.files.items():
                path = folder / name
                if not path.exists() or path.stat().st_size != facts["bytes"]:
                    raise CorruptFileError(f"{path} is missing or cut short: delete {folder} and run again")
            self._known[key] = result
        return self._known[key]

    def start(self, cell: Cell, inputs: Mapping[str, Result]) -> Task:
        """A task for `cell` with an empty folder to fill and the scratch of an earlier attempt, if any."""
        base = self.root / "scratch" / cell.key
        folder, scratch, shared = base / "result", base / "scratch", self._shared(cell)
        with disk_errors(self.root):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            scratch.mkdir(exist_ok=True)
            shared.mkdir(exist_ok=True)
        return Task(cell, inputs, folder=folder, scratch=scratch, shared=shared)

    def finish(self, group: Sequence[Cell]) -> None:
        """Remove what the cells of one call shared while they were computed."""
        for cell in group:
            shutil.rmtree(self._shared(cell), ignore_errors=True)

    def _shared(self, cell: Cell) -> Path:
        return self.root / "scratch" / f"together-{digest(cell.company)}"

    def put(self, task: Task, *, seconds: float, threads: int | None = None) -> Result:
        """Publish `task`: hash its files, write the manifest last, and rename the folder into place."""
        # Whoever only reads results does not wait for torch to load.
        from torch import get_num_threads

        files = {
            path.relative_to(task.folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": sha256_of(path),
            }
            for path in sorted(task.folder.rglob("*"))
            if path.is_file()
        }
        manifest = {
            "key": task.cell.key,
            "recipe": task.cell.recipe,
            "label": task.cell.label,
            "stage": task.cell.stage,
            "files": files,
            "seconds": seconds,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "provenance": provenance(threads=threads or get_num_threads()),
        }
        write_atomically(task.folder / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True))
        target = self.root / "results" / task.cell.key
        with disk_errors(self.root):
            if not target.exists():
                with contextlib.suppress(FileExistsError):
                    os.rename(task.folder, target)
            shutil.rmtree(task.folder.parent, ignore_errors=True)
        result = self.get(task.cell.key)
        if result is None:
            raise SanityError(f"{target} vanished while it was published: is another process cleaning up?")
        return result

    @contextlib.contextmanager
    def claim(self, key: str, *, patience: float = 0.0) -> Iterator[bool]:
        """A lease on `key` with a heartbeat; yields False if another live process still holds it.

        Waits up to `patience` seconds. An owner on this host that was killed is replaced at once, one on
        another host after `LEASE_SECONDS` of watching it give no sign of life.
        """
        lease = SoftFileLease(self.root / "leases" / f"{key}.lock", lease_duration=LEASE_SECONDS)
        try:
            lease.acquire(timeout=patience)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lease.release()

    def list(self) -> list[str]:
        """The keys of all published results."""
        return sorted(p.parent.name for p in (self.root / "results").glob("*/manifest.json"))

    def size(self, key: str) -> int:
        """Bytes of a result on disk."""
        return sum(p.stat().st_size for p in (self.root / "results" / key).rglob("*") if p.is_file())

    def remove(self, key: str) -> None:
        """Delete a result for good; a kill in between leaves nothing that looks like one."""
        aside = self.root / "scratch" / f"removed-{key}-{time.time_ns()}"
        with disk_errors(self.root):
            os.rename(self.root / "results" / key, aside)
            shutil.rmtree(aside)
        self._known.pop(key, None)

    def discard(self, key: str) -> Path:
        """Move a damaged result out of the way, and say where it lies now."""
        aside = self.root / "damaged" / f"{key}-{time.time_ns()}"
        with disk_errors(self.root):
            aside.parent.mkdir(exist_ok=True)
            os.rename(self.root / "results" / key, aside)
        self._known.pop(key, None)
        return aside


def home() -> Path:
    """The project's folder: `SANITY_HOME`, else a checkout around here, else the package's own, else here."""
    named = os.environ.get("SANITY_HOME")
    if named:
        return Path(named).resolve()
    here, own = Path.cwd().resolve(), Path(__file__).resolve().parents[2]
    # Not every folder with a table of contents is this book.
    folders = (here, *here.parents, own)
    return next((folder for folder in folders if (folder / "book" / "claims.yml").exists()), here)


def open_store(root: Path | str | None = None) -> LocalStore:
    """The store at `root`, else at `SANITY_STORE`, else in `_build/store` of the project's folder."""
    return LocalStore(Path(root or os.environ.get("SANITY_STORE") or home() / "_build" / "store"))


def missing(cells: Sequence[Cell], store: LocalStore, *, verify: bool = False) -> list[Cell]:
    """The cells (inputs included, in order) that have no sound result in `store`.

    With `verify`, every byte of what exists is read; a damaged result is moved aside, named in the
    log, and counted as missing, so that it is computed anew and never used.
    """
    absent = []
    for cell in in_order(cells):
        try:
            result = store.get(cell.key)
            if result is not None and verify:
                result.verify()
        except CorruptFileError as error:
            aside = store.discard(cell.key)
            log.warning("%s; moved to %s, computing %s anew", error, aside, cell.label)
            result = None
        if result is None:
            absent.append(cell)
    return absent


def require(cell: Cell, store: LocalStore) -> Result:
    """The result of `cell`, which must have been computed."""
    result = store.get(cell.key)
    if result is None:
        raise SanityError(
            f"no result for {cell.label} (key {cell.key}) in {store.root}: compute it first. "
            + free_space_words(store.root)
        )
    return result


def provenance_of(result: Result) -> Mapping[str, Any]:
    """Commit, machine, threads and versions of the run that made `result`."""
    record: Mapping[str, Any] = result.manifest["provenance"]
    return record
