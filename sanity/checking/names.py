"""SAEs by name: releases that SAELens knows, and repositories of the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sanity.checking.given import GivenSAE
from sanity.errors import AssetError, BadInputError, reason_of

_FILES = ("*.json", "*.safetensors", "*ae.pt")


def fetch_named(name: str) -> GivenSAE:
    """`OWNER/NAME` or `OWNER/NAME:FOLDER` of the hub, or `RELEASE:SAE_ID` of SAELens."""
    where, colon, part = name.partition(":")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", where) and not where.startswith("."):
        return _from_hub(where, part, name)
    if colon and re.fullmatch(r"[\w.-]+", where):
        return _from_release(where, part, name)
    raise BadInputError(
        f"there is no folder {name!r}, and it is no name: give the path of a folder, OWNER/NAME[:FOLDER] of "
        "the hub, or RELEASE:SAE_ID of SAELens"
    )


def _from_hub(repository: str, folder: str, name: str) -> GivenSAE:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    from sanity.checking.loading import read_folder, the_folder

    patterns = [f"{folder}/{files}" if folder else files for files in _FILES]
    if folder:
        patterns.append("config.json")
    try:
        snapshot = Path(snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise AssetError(
            f"there is no folder {name!r}, and {repository} could not be fetched from the hub "
            f"({reason_of(error)}): check the name and the connection, or give a folder"
        ) from error
    inside = (snapshot / folder).resolve() if folder else snapshot.resolve()
    if not inside.is_relative_to(snapshot.resolve()) or not inside.is_dir():
        raise BadInputError(f"{repository} has no folder {folder!r} with an SAE")
    return read_folder(the_folder(inside), name=name)


def _from_release(release: str, sae_id: str, name: str) -> GivenSAE:
    from sanity.checking.saelens import read_object

    try:
        from sae_lens import SAE
    except ImportError as error:
        raise BadInputError(
            f"{name!r} names a release of SAELens, whose list of releases is part of it: pip install sae-lens"
        ) from error
    try:
        found: Any = SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:
        # Whatever its many loaders raise, for the hub's and their own reasons.
        raise AssetError(f"SAELens could not load {name!r} ({reason_of(error)})") from error
    return read_object(found)
