"""Who computes what: leases that a live owner keeps up, and waits that end or name the file they wait for."""

from __future__ import annotations

import contextlib
import getpass
import logging
import math
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, LeaseSettingsMismatch, SoftFileLease, Timeout

from sanity.engine.files import disk_errors
from sanity.errors import StorageError

log = logging.getLogger("sanity")

# A live owner refreshes its lease every third of this; one that was killed is replaced after it.
LEASE_SECONDS = 20.0

PATIENCE_SECONDS = 3600.0
"""How long one waits for somebody who downloads, unpacks or builds the same; each takes minutes."""


class Leases(Protocol):
    """Who computes what, by the keys of cells."""

    def claim(self, key: str, *, patience: float = 0.0) -> contextlib.AbstractContextManager[bool]:
        """The right to compute `key` meanwhile; yields False if another still has it after `patience`."""

    def outwait(self, key: str) -> None:
        """Wait until nobody has it."""


@dataclass(frozen=True)
class FileLeases:
    """Leases as files in a folder that everybody sees."""

    folder: Path

    def claim(self, key: str, *, patience: float = 0.0) -> contextlib.AbstractContextManager[bool]:
        """See `leased`."""
        return leased(self._path(key), patience=patience)

    def outwait(self, key: str) -> None:
        """See `outwait`."""
        outwait(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.lock"


@contextlib.contextmanager
def leased(path: Path, *, patience: float = 0.0) -> Iterator[bool]:
    """A lease at `path` with a heartbeat; yields False if another live process still holds it.

    Waits up to `patience` seconds. An owner on this host that was killed is replaced at once, one that was
    stopped or is on another host after `LEASE_SECONDS` of watching it give no sign of life.
    """
    lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
    with disk_errors(path), contextlib.suppress(Timeout, LeaseSettingsMismatch):
        _disown_empty(path)
        lease.acquire(timeout=patience)
    try:
        yield lease.is_locked
    finally:
        with disk_errors(path):
            lease.release()


def outwait(path: Path) -> None:
    """Wait until whoever holds the lease at `path` lets go of it or dies.

    Raises `StorageError` when nobody keeps it up, and yet it cannot be had.
    """
    quiet = 0
    while quiet < 2:
        before = _state(path)
        with leased(path, patience=1.5 * LEASE_SECONDS) as ours:
            if ours:
                return
        quiet = quiet + 1 if _state(path) == before else 0
    raise StorageError(
        f"{path} says that another process computes this, but for {3 * LEASE_SECONDS:.0f} s it gave no sign "
        "of life: if none runs on any machine, delete that file and run again"
    )


@contextlib.contextmanager
def alone(path: Path, doing: str, *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Only one process at a time does what the lock at `path` stands for; it goes when its owner dies.

    Raises `StorageError` after `patience` seconds.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            log.info("another process is %s; waiting for it", doing)
            try:
                lock.acquire(timeout=patience)
            except Timeout as error:
                raise StorageError(
                    f"another process has been {doing} for {patience:.0f} s and holds {path}: "
                    "end it, or wait and run again"
                ) from error
    try:
        yield
    finally:
        lock.release()


def card_alone(device: str = "cuda") -> contextlib.AbstractContextManager[None]:
    """The graphics card that `device` names here: one process of a user at a time, others wait.

    It is let go when its owner dies.
    """
    card = _card_named(device)
    whose = re.sub(r"\W", "-", f"{_user()}-{card}")
    path = Path(tempfile.gettempdir()) / f"sanity-card-{whose}.lock"
    return alone(path, f"computing on the graphics card {card}", patience=math.inf)


def _card_named(device: str) -> str:
    """What this machine calls a device such as `cuda` (the first that this process sees) or `cuda:1`."""
    at = int(device.partition(":")[2] or 0)
    seen = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return seen[at] if at < len(seen) else str(at)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return str(os.getuid())


def _state(path: Path) -> tuple[int, int] | None:
    """What changes with every sign of life."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _disown_empty(path: Path) -> None:
    """Write into an empty lease that nobody keeps up, so that it counts as broken and is replaced.

    A live one is never empty, but a power cut can leave it so; and an empty one would be respected for ever.
    """
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if found.st_size or not stat.S_ISREG(found.st_mode):
            return
        # A clock may have been set back since.
        if abs(time.time() - found.st_mtime) < LEASE_SECONDS:
            return
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size == 0:
                file.write(b"nobody")
