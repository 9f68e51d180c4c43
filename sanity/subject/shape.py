"""How large a language model is, read from its configuration: nothing is loaded, and nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sanity import assets
from sanity.errors import AssetError
from sanity.subject.files import known_subjects

_NAMES = {
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "d_model": ("hidden_size", "n_embd", "d_model"),
    "context": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
}
"""What model families call it."""


@dataclass(frozen=True)
class Shape:
    """Blocks, width of the residual stream, and the longest sequence; `None` where a model does not say."""

    n_layers: int | None
    d_model: int | None
    context: int | None


def shape_of(name_or_folder: str) -> Shape | None:
    """What the configuration of a model says; `None` where there is none yet, as before it is fetched."""
    try:
        config = json.loads((_folder(name_or_folder) / "config.json").read_text("utf-8"))
        inner: Mapping[str, Any] = config.get("text_config") or config
        return Shape(**{name: _count(inner, names) for name, names in _NAMES.items()})
    except (AssetError, OSError, ValueError, AttributeError):
        return None


def weights_bytes(name_or_folder: str, dtype: str) -> int | None:
    """What a model's weights take at most as `dtype`; `None` where nothing is known of it yet.

    From its files; of a model of the hub that is not fetched, from the size that its pin states, which says
    nothing of the type in which they are stored.
    """
    each = getattr(torch, dtype).itemsize
    try:
        folder = _folder(name_or_folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        stored = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32")).itemsize
        if found := sum(path.stat().st_size for path in folder.glob("*.safetensors")):
            return int(found * each // stored)
    except (AssetError, OSError, ValueError, AttributeError):
        pass
    pinned = assets.ASSETS.get(known_subjects().get(name_or_folder, name_or_folder))
    return pinned.size * max(1, each // 2) if isinstance(pinned, assets.HubAsset) else None


def _folder(name_or_folder: str) -> Path:
    names = known_subjects()
    if name_or_folder not in names and name_or_folder not in names.values():
        return Path(name_or_folder)
    asset = assets.asset(names.get(name_or_folder, name_or_folder))
    if isinstance(asset, assets.HubAsset):
        return assets.path(asset.name)
    packed = next(one for one in asset.members if one.name.endswith(".gguf"))
    return assets.cache_folder() / "unpacked" / f"{Path(packed.name).stem}-{packed.sha256[:16]}"


def _count(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = (config[name] for name in names if isinstance(config.get(name), int))
    return next(found, None)
