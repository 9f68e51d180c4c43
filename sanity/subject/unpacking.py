"""Copies of packed models in the cache folder: made once, checked in every session that uses them.

Reading a GGUF file takes transformers ten times as long as reading the same weights as safetensors (15 s
against 1 s for the default model), and every chapter that needs the model would pay it.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from sanity.assets import cache_folder
from sanity.engine.files import disk_errors, read_json, sha256_of, write_atomically
from sanity.errors import CorruptFileError

log = logging.getLogger("sanity")

_LISTING = "unpacked.json"


def unpacked(packed: Path, unpack: Callable[[Path, Path], None]) -> Path:
    """The folder that `unpack(packed, folder)` fills, from the cache if it is there and whole.

    Processes that want the same copy wait for each other. `StorageError` if it cannot be written.
    """
    place = cache_folder() / "unpacked" / f"{packed.stem}-{_sha256(packed)[:16]}"
    if _is_whole(place):
        return place
    with disk_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not _is_whole(place):
                _make(packed, unpack, place)
    return place


def _make(packed: Path, unpack: Callable[[Path, Path], None], place: Path) -> None:
    for left in place.parent.glob(f".{place.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed, for the lock is ours
    with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as folder:
        new = Path(folder) / "new"
        new.mkdir()
        unpack(packed, new)
        listing = {path.name: sha256_of(path) for path in sorted(new.iterdir())}
        write_atomically(new / _LISTING, json.dumps(listing, indent=1))
        if place.exists():
            log.warning("%s is damaged: it is unpacked again", place)
            place.rename(Path(folder) / "damaged")
        os.rename(new, place)


def _is_whole(place: Path) -> bool:
    """Whether every file of the copy has the hash it had when it was made."""
    if not (place / _LISTING).is_file():
        return False
    try:
        listing = read_json(place / _LISTING)
    except CorruptFileError:
        return False
    return all((place / name).is_file() and _sha256(place / name) == sha for name, sha in listing.items())


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of_version(path, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256_of_version(path: Path, size: int, time: int) -> str:
    """Hashed once in a session, as long as the file's size and time stay the same."""
    return sha256_of(path)
