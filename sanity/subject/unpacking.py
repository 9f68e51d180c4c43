"""Copies of packed models in the cache folder: made once, checked in every session that uses them.

Reading a GGUF file takes transformers ten times as long as reading the same weights as safetensors (15 s
against 1 s for the default model), and every chapter that needs the model would pay it.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sanity.assets import cache_folder
from sanity.engine.files import disk_errors, read_sealed, sha256_once, write_sealed
from sanity.engine.leases import alone
from sanity.errors import CorruptFileError

log = logging.getLogger("sanity")

_LISTING = "unpacked.json"


def unpacked(packed: Path, unpack: Callable[[Path, Path], None]) -> Path:
    """The folder that `unpack(packed, folder)` fills, from the cache if it is there and whole.

    Processes that want the same copy wait for each other. `StorageError` if it cannot be written.
    """
    target = cache_folder() / "unpacked" / f"{packed.stem}-{sha256_once(packed)[:16]}"
    if _is_whole(target):
        return target
    with disk_errors(target.parent), alone(target.with_name(f"{target.name}.lock"), f"unpacking {packed}"):
        if not _is_whole(target):
            _make(packed, unpack, target)
    return target


def _make(packed: Path, unpack: Callable[[Path, Path], None], target: Path) -> None:
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # by a process that was killed: the lock is ours
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        new = Path(folder) / "new"
        new.mkdir()
        unpack(packed, new)
        listing = {path.name: sha256_once(path) for path in sorted(new.iterdir())}
        write_sealed(new / _LISTING, listing)
        if os.path.lexists(target):
            log.warning("%s is damaged: it is unpacked again", target)
            target.rename(Path(folder) / "damaged")
        os.rename(new, target)


def _is_whole(target: Path) -> bool:
    """Whether every file of the copy has the hash it had when it was made."""
    if not (target / _LISTING).is_file():
        return False
    try:
        listing = read_sealed(target / _LISTING)
        return bool(listing) and all(sha256_once(target / name) == sha for name, sha in listing.items())
    except (CorruptFileError, OSError):
        return False
