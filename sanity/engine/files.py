"""Files that exist whole or not at all, and that can be told from damaged ones."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sanity.errors import CorruptFileError, StorageError

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex; read in chunks, so that memory stays flat."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def sha256_once(path: Path) -> str:
    """As `sha256_of`, but read only once in a session while the file's size and time stay the same."""
    stat = path.stat()
    return _sha256_of_version(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256_of_version(path: Path, size: int, time: int) -> str:
    return sha256_of(path)


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space", "read-only" and "quota" errors into one `StorageError` that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise StorageError(
            f"cannot write to {folder}: {error.strerror}; what was computed before is kept. "
            f"{free_space_words(folder)} Free some space, or set SANITY_STORE elsewhere, and run again."
        ) from error


def free_space_words(folder: Path) -> str:
    """One sentence on the room left where `folder` is."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return f"{shutil.disk_usage(existing).free / 1e9:.1f} GB are free there."


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path; the file written there becomes `path`, which is whole at all times."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write `data` so that `path` holds either the old content or the new one, also after a power cut."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from `path`; `CorruptFileError` when it is half-written or not an object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorruptFileError(f"{path} is not readable JSON ({error}): delete it and run again") from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path} holds {type(value).__name__}, not an object: delete it and run again")
    return value


def kept_json(path: Path | None, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives, kept at `path` as soon as it is there; or what an earlier, killed run kept of it.

    Without a path, nothing is kept.
    """
    if path is None:
        return make()
    if not path.exists():
        write_atomically(path, json.dumps(make()))
    return read_json(path)
