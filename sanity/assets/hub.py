"""Causal language models from the Hugging Face hub, at a pinned commit, as safetensors only."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

from sanity.engine.files import free_space_words, read_json, sha256_of
from sanity.errors import AssetError, StorageError, reason_of

# Weights as safetensors, configuration, and every form of tokenizer. Pickled weights (.bin, .pt, .pth) are
# never fetched: loading one can run any code.
_WANTED = ["*.safetensors", "*.json", "*.model", "*.txt"]
_UNWANTED = ["*/*"]


def fetch_snapshot(
    repository: str,
    revision: str,
    *,
    cache: Path | None = None,
    verify: bool = False,
    local_only: bool = False,
) -> Path:
    """The folder of `repository` at the commit `revision`, downloaded if it is not complete.

    Parameters
    ----------
    cache
        A folder in the hub's cache format; the hub's own (`HF_HOME`) by default, so that what other
        programs have fetched is used again.
    verify
        Hash the weights again; the hub's cache names them by their SHA-256.
    local_only
        Never use the network.

    Raises
    ------
    AssetError
        The hub is off, cannot be reached, has no such model, or wants its licence accepted; or the local
        copy is incomplete or damaged.
    StorageError
        The disk is full.
    """
    from httpx import HTTPError
    from huggingface_hub import constants, snapshot_download

    try:
        found = snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            local_files_only=local_only,
        )
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            where = cache or Path(constants.HF_HUB_CACHE)
            raise StorageError(
                f"no room for {repository} in {where}: {free_space_words(where)} Free some, or set HF_HOME."
            ) from error
        raise AssetError(
            f"{repository} at {revision[:12]} could not be fetched from the Hugging Face hub "
            f"({reason_of(error)}). {_way_out(repository, error)}"
        ) from error
    folder = Path(str(found))
    _check_complete(repository, folder)
    if verify:
        _check_hashes(repository, folder)
    return folder


def _way_out(repository: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError | RepositoryNotFoundError):
        return f"Accept its licence at https://huggingface.co/{repository} and run `hf auth login`."
    if constants.HF_HUB_OFFLINE:
        return "The hub is switched off (HF_HUB_OFFLINE=1): unset it, or give a folder that holds the model."
    return f"Run `sanity fetch {repository}` where the hub can be reached, or give the model's folder."


def _check_complete(repository: str, folder: Path) -> None:
    """Every file that loading needs is there; a download cut short leaves some out."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    index = folder / "model.safetensors.index.json"
    shards: Any = read_json(index).get("weight_map", {}) if index.is_file() else {}
    weights = sorted(set(shards.values()))
    missing += [name for name in weights if not (folder / name).is_file()]
    if not weights and not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise AssetError(
            f"the local copy of {repository} in {folder} lacks {', '.join(missing)}: run `sanity fetch "
            f"{repository}` (a model that exists only as pickled weights is not loaded: convert it first)"
        )


def _check_hashes(repository: str, folder: Path) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        blob = path.resolve()
        if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256_of(blob) != blob.name:
            raise AssetError(
                f"{path.name} of {repository} is damaged: its SHA-256 is not {blob.name}. "
                f"Delete {blob} and run `sanity fetch {repository}` again."
            )
