"""Files that exist whole or not at all, and that can be told from damaged ones."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sanity.errors import BadInputError, CorruptFileError, StorageError, reason_of

log = logging.getLogger("sanity")

_CHUNK = 1 << 20

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ESTALE}
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_ODD = {errno.EEXIST, errno.ENOTEMPTY, errno.EIO, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENODEV}
_OF_FILES = _NO_ROOM | _REFUSED | _NOT_THERE | _ODD
"""What the system may say of files and folders; other errors of its are not about them."""

SEAL = "seal"
"""In a sealed JSON object: the digest of everything else in it."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex; read in chunks, so that memory stays flat."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def sha256_once(path: Path) -> str:
    """As `sha256_of`, but read only once in a session while it is the same file of the same size and time."""
    stat = path.stat()
    return _sha256_of_version(path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256_of_version(path: Path, inode: int, size: int, time: int) -> str:
    return sha256_of(path)


def is_intact(path: Path, sha256: object) -> bool:
    """Whether a file is there, can be read, and has this SHA-256."""
    try:
        return path.is_file() and sha256_of(path) == sha256
    except OSError:
        return False


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the system, or a library that writes, says of files into one `StorageError`."""
    try:
        yield
    except Exception as error:
        number = _number_of(error)
        if number not in _OF_FILES:
            raise
        raise _storage_error(number, getattr(error, "filename", None) or folder) from error


def _number_of(error: Exception) -> int | None:
    """The system's number of an error, which safetensors only says in words."""
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(said[1]) if said else None


def _storage_error(number: int, where: object) -> StorageError:
    way_out = "Free some space, or set SANITY_STORE elsewhere, and run again."
    if number not in _NO_ROOM:
        way_out = "Repair what is there, or set SANITY_STORE or SANITY_CACHE elsewhere, and run again."
    return StorageError(
        f"cannot use {where}: {os.strerror(number)}; what was computed before is kept. "
        f"{free_space_words(Path(str(where)))} {way_out}"
    )


def free_space_words(folder: Path) -> str:
    """One sentence on the room left where `folder` is."""
    for parent in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(parent).free / 1e9:.1f} GB are free there."
    return ""


def folder_named(text: str | Path, by: str) -> Path:
    """The absolute path of a folder that somebody named; `by` says where, such as "SANITY_STORE"."""
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # an unknown user, a loop of links, a null byte
        raise BadInputError(
            f"{by} names the folder {str(text)!r}, which cannot be one ({reason_of(error)}): name another"
        ) from error


def remove(path: Path) -> None:
    """Delete whatever lies at `path`, a folder with all that is in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def below(folder: Path) -> Iterator[Path]:
    """All that lies below `folder`; what others take away meanwhile is left out (`Path.rglob` would fail)."""
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(here) / name


def take_place(new: Path, path: Path) -> None:
    """Rename a file to `path`, in place of whatever lies there."""
    if path.is_dir():
        remove(path)
    os.replace(new, path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path; the file written there becomes `path`, which is whole at all times."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.part")
    with disk_errors(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            take_place(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files below `folder` of processes of this machine that were killed."""
    import psutil

    for left in below(folder):
        if (of := re.search(r"\.(\d+)-\w+\.part$", left.name)) and not psutil.pid_exists(int(of[1])):
            remove(left)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write `data` so that `path` holds either the old content or the new one, also after a power cut."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of itself, by which `read_sealed` knows it from a damaged one."""
    plain = json.loads(json.dumps(value))  # as it will be read
    write_atomically(path, json.dumps({**plain, SEAL: _seal_of(plain)}, indent=1))


def _seal_of(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`; `CorruptFileError` when it is missing, half-written or not an object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise _storage_error(error.errno, path) from error
        raise CorruptFileError(
            f"{path} is not readable JSON ({reason_of(error)}): delete it and run again"
        ) from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path} holds {type(value).__name__}, not an object: delete it and run again")
    return value


def read_sealed(path: Path, *, unsealed: bool = False) -> dict[str, Any]:
    """What `write_sealed` wrote; `CorruptFileError` when it is anything else.

    With `unsealed`, an object that never had a seal is taken as it is: one from before there were seals.
    """
    value = read_json(path)
    seal = value.pop(SEAL, None)
    if not (unsealed and seal is None) and seal != _seal_of(value):
        raise CorruptFileError(f"{path} is damaged (its seal does not fit it): delete it and run again")
    return value


def kept_json(path: Path | None, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives, kept at `path` as soon as it is there; or what an earlier, killed run kept of it.

    What is kept and damaged is made again. Without a path, nothing is kept.
    """
    if path is None:
        return make()
    if path.exists():
        try:
            return read_sealed(path)
        except CorruptFileError as error:
            log.warning("%s; it is made again", error)
            remove(path)
    write_sealed(path, make())
    return read_sealed(path)
