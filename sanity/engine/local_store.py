"""Every result in a folder named by the hash of what made it: atomic, leased, verified, resumable.

A result exists when its manifest exists, and the manifest arrives last (with one rename), so a kill at
any moment leaves either nothing or the whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sanity.engine.cells import ATTEMPT, Cell, Result, Task
from sanity.engine.files import below, disk_errors, remove
from sanity.engine.leases import FileLeases, Leases
from sanity.engine.results import read_manifest, write_manifest
from sanity.errors import CorruptFileError, SanityError, StorageError

log = logging.getLogger("sanity")

KEPT_DAMAGED = 3
"""How many damaged results are kept for inspection; the oldest go first."""


class SupersededError(SanityError):
    """Another process took this work over, because this one was stopped for too long; it has the result."""


class LocalStore:
    """Results below one folder: `results/KEY`, unfinished work below `scratch/KEY`, a folder an attempt.

    `leases` say who computes what; on a file system, files do.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.leases: Leases = FileLeases(self.root / "leases")
        self._known: dict[str, Result] = {}
        with disk_errors(self.root):
            for name in ("results", "scratch", "leases"):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    @property
    def where(self) -> str:
        """By which `open_store` opens it in another process."""
        return str(self.root)

    def look_up(self, keys: Iterable[str]) -> None:
        """Learn which of many results there are, where asking for one after the other takes long."""

    def get(self, key: str) -> Result | None:
        """The result of `key` with the sizes of its files checked, or `None` when it was never published."""
        folder = self.root / "results" / key
        if not os.path.lexists(folder):
            self._known.pop(key, None)
            return None
        if key not in self._known:
            self._known[key] = Result(folder, read_manifest(folder, key))
        return self._known[key]

    def start(self, cell: Cell, inputs: Mapping[str, Result]) -> Task:
        """A task for `cell` with an empty folder to fill, and the scratch of an earlier attempt, if any."""
        base = self.root / "scratch" / cell.key
        task = Task(cell, inputs, base / secrets.token_hex(6))
        with disk_errors(self.root):
            if not base.is_dir():
                remove(base)
                base.mkdir()
            earlier = sorted(base.glob(f"*/{ATTEMPT}"), key=lambda path: path.stat().st_mtime_ns)
            if earlier:
                # The name that its owner knows, if that one still lives, is gone from here on.
                os.rename(earlier[-1].parent, task.attempt)
            for other in base.iterdir():
                if other != task.attempt:
                    self._throw_away(other)
            remove(task.folder)
            for folder in (task.folder, task.scratch):
                folder.mkdir(parents=True, exist_ok=True)
            for left in below(task.scratch):
                if left.match(".*.part"):  # whoever wrote there was killed or taken over
                    remove(left)
            (task.attempt / ATTEMPT).touch()
        return task

    def put(self, task: Task, *, seconds: float, threads: int | None = None) -> Result:
        """Publish `task`: hash its files, write the manifest last, and rename the folder into place.

        Raises `SupersededError` when another process has taken the attempt over.
        """
        # Whoever only reads results does not wait for torch to load.
        from torch import get_num_threads

        with disk_errors(self.root):
            if task.superseded:
                raise SupersededError(f"{task.cell.label} was taken over by another process")
            cell = task.cell
            made = write_manifest(
                task.folder,
                {"key": cell.key, "recipe": cell.recipe, "label": cell.label, "stage": cell.stage},
                seconds=seconds,
                threads=threads or get_num_threads(),
            )
            if not made["files"]:
                raise SanityError(f"computing {cell.label} left no file: its function must save some")
            self._publish(task)
            self._throw_away(task.attempt)
            self.abandon(task)
        result = self.get(task.cell.key)
        if result is None:
            raise StorageError(
                f"{self.root / 'results' / task.cell.key} vanished while it was published: "
                "is another process cleaning up? Run again when it is done."
            )
        return result

    def abandon(self, task: Task) -> None:
        """Delete what an attempt has written, also after it was taken over."""
        with contextlib.suppress(OSError):  # another attempt is there
            remove(task.attempt)
            task.attempt.parent.rmdir()

    def _publish(self, task: Task) -> None:
        """Rename the filled folder into place; what another process has published meanwhile stays."""
        target = self.root / "results" / task.cell.key
        for _ in range(2):
            try:
                os.rename(task.folder, target)
                return
            except OSError:
                if not os.path.lexists(target):
                    raise
            try:
                self.get(task.cell.key)
                return
            except CorruptFileError as error:
                log.warning("%s; moved to %s", error, self._set_aside(task.cell.key))
        raise StorageError(f"{target} cannot be replaced: delete it and run again")

    def list(self) -> list[str]:
        """The keys of all published results."""
        return sorted(p.parent.name for p in (self.root / "results").glob("*/manifest.json"))

    def size(self, key: str) -> int:
        """Bytes of a result on disk."""
        return sum(p.stat().st_size for p in below(self.root / "results" / key) if p.is_file())

    def remove(self, key: str) -> None:
        """Delete a result for good; a kill in between leaves nothing that looks like one."""
        with disk_errors(self.root):
            self._throw_away(self.root / "results" / key)
        self.sweep()
        self._known.pop(key, None)

    def sweep(self) -> None:
        """Delete what processes were deleting when they were killed."""
        with disk_errors(self.root):
            for left in (self.root / "scratch").glob("removed-*"):
                remove(left)

    def sound(self, cell: Cell, *, verify: bool = False) -> bool:
        """Whether there is a sound result of `cell`; with `verify`, every byte of it is read.

        A damaged one is moved aside and named in the log, so that it is computed again and never used.
        """
        try:
            return self._read(cell.key, verify) is not None
        except CorruptFileError as error:
            with disk_errors(self.root), self.leases.claim(cell.key, patience=5.0) as ours:
                self._known.pop(cell.key, None)
                try:  # another process may have found it first
                    return self._read(cell.key, verify) is not None
                except CorruptFileError:
                    if ours:
                        aside = self._set_aside(cell.key)
                        log.warning("%s; moved to %s, computing %s again", error, aside, cell.label)
            return False

    def _read(self, key: str, verify: bool) -> Result | None:
        result = self.get(key)
        if result is not None and verify:
            result.verify()
        return result

    def _set_aside(self, key: str) -> Path:
        aside = self.root / "damaged" / f"{key}-{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        os.rename(self.root / "results" / key, aside)
        self._known.pop(key, None)
        by_age = sorted(aside.parent.iterdir(), key=lambda path: path.name.rpartition("-")[2])
        for old in by_age[:-KEPT_DAMAGED]:
            remove(old)
        return aside

    def _throw_away(self, path: Path) -> None:
        """Delete a folder that looks whole until it is gone."""
        aside = self.root / "scratch" / f"removed-{secrets.token_hex(6)}"
        os.rename(path, aside)
        remove(aside)
