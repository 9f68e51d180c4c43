"""From a path, a name or an object to a `GivenSAE`: which library wrote it, and what is missing.

Weights are safetensors, or `torch.load` with weights alone; nothing is unpickled, no code is run, and
configurations are parsed as JSON.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sanity.checking import dictionary_learning, saelens, sparsify
from sanity.checking.given import GivenSAE
from sanity.engine.files import read_json
from sanity.errors import BadInputError, CorruptFileError, reason_of
from sanity.models import Architecture, Autoencoder, BatchTopK, TopK, check_sae, load_sae
from sanity.models.checkpoint import load_tensors

WEIGHTS = ("sae_weights.safetensors", "sae.safetensors", "ae.safetensors", "ae.pt")
CONFIGS = ("cfg.json", "config.json")
_PAIRS = {"sae_weights.safetensors": "cfg.json", "sae.safetensors": "cfg.json"}
_UNPACKED_MOST = 64 * 10**9


def load_given(path_or_name: str | Path) -> GivenSAE:
    """The SAE at a path (a folder, or a zip of one), of a SAELens release or of a hub repository.

    A release is named `RELEASE:SAE_ID`, a repository `OWNER/NAME` or `OWNER/NAME:FOLDER`.

    Raises
    ------
    BadInputError
        There is nothing there, several SAEs, half of one, or one that is no autoencoder or is not supported.
    AssetError
        A name that cannot be fetched.
    """
    return replace(_found(path_or_name), path=str(path_or_name))


def _found(path_or_name: str | Path) -> GivenSAE:
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        return read_folder(the_folder(path), name=path.resolve().name)
    if path.is_file():
        if zipfile.is_zipfile(path) and path.suffix == ".zip":
            return read_folder(the_folder(unzipped(path)), name=path.stem)
        if path.name in WEIGHTS or path.name in CONFIGS:
            return read_folder(path.parent, name=path.parent.name)
        raise BadInputError(f"{path} is a file: give the folder that holds a configuration and its weights")
    from sanity.checking.names import fetch_named

    return fetch_named(str(path_or_name))


def given_of(sae: Any) -> GivenSAE:
    """The SAE that is given: a path or name, or an object."""
    if isinstance(sae, str | Path):
        return load_given(sae)
    kind, home = type(sae).__name__, type(sae).__module__.partition(".")[0]
    if isinstance(sae, Autoencoder):
        return of_ours(sae, "an Autoencoder")
    if home == "sae_lens":
        return saelens.read_object(sae)
    if home == "dictionary_learning":
        trainer = {"dict_class": kind, "k": getattr(sae, "k", None)}
        return dictionary_learning.read({"trainer": trainer}, dict(sae.state_dict()), kind)
    if home == "sparsify":
        return sparsify.read(vars(sae.cfg), dict(sae.state_dict()), kind, hook="", model=None)
    check_sae(sae)
    return GivenSAE(
        sae,
        kind,
        "an object",
        _looks_like(sae),
        notes=("an object: read through its own code",),
        scales=("raw", "expected norm", "centred"),
    )


def _looks_like(sae: Any) -> Architecture:
    """TopK where all samples have as many active latents, else BatchTopK."""
    x = 3 * torch.randn(64, sae.W_dec.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        active = (sae.encode(x.to(sae.W_dec)) > 0).sum(1)
    return TopK(1) if bool((active == active[0]).all()) else BatchTopK(1)


def read_folder(folder: Path, *, name: str) -> GivenSAE:
    """The SAE whose configuration and weights lie in `folder`."""
    weights = next((w for w in WEIGHTS if (folder / w).is_file()), None)
    config = _PAIRS.get(weights or "", "config.json")
    if weights is None:
        there = next(c for c in CONFIGS if (folder / c).is_file())
        raise BadInputError(
            f"{folder} has a configuration ({there}) and no weights: add one of {', '.join(WEIGHTS)}"
            + _other_weights(folder)
        )
    if not (folder / config).is_file():
        raise BadInputError(
            f"{folder} has weights ({weights}) and no {config}, which says what they are: add it, or give "
            "the SAE as an object: sanity.check(sae, ...)"
        )
    said = dict(read_json(folder / config))
    try:
        return _read(folder, weights, said, name)
    except (RuntimeError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise BadInputError(
            f"{folder}: its configuration and its weights do not fit together ({reason_of(error)})"
        ) from error


def _read(folder: Path, weights: str, said: dict[str, Any], name: str) -> GivenSAE:
    if weights == "sae.safetensors":
        run = folder.parent / "config.json"
        model = read_json(run).get("model") if run.is_file() else None
        return sparsify.read(
            said, load_tensors(folder / weights), name,
            hook=folder.resolve().name, model=model if isinstance(model, str) else None,
        )  # fmt: skip
    if isinstance(said.get("sanity"), dict):
        return of_ours(load_sae(folder), name, said)
    if weights == "sae_weights.safetensors":
        return saelens.read(said, load_tensors(folder / weights), name)
    return dictionary_learning.read(said, _tensors(folder / weights), name)


def of_ours(sae: Autoencoder, name: str, config: Mapping[str, Any] | None = None) -> GivenSAE:
    """One of this package: for centred and scaled activations, unless that was folded in."""
    notes = ("an SAE of this package: whether centring and scaling were folded in is measured",)
    return GivenSAE(
        sae, name, "sanity", sae.architecture, notes=notes, scales=("centred", "raw"), config=config or {}
    )


def the_folder(path: Path) -> Path:
    """The one folder at or below `path` that holds an SAE; several are listed."""
    found = folders_below(path)
    if not found:
        others = _other_weights(path)
        raise BadInputError(
            f"{path} holds no SAE: wanted is a configuration ({' or '.join(CONFIGS)}) next to weights "
            f"({', '.join(WEIGHTS)}){others}"
        )
    if len(found) > 1:
        names = [folder.relative_to(path).as_posix() for folder in found]
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        raise BadInputError(
            f"{path} holds {len(found)} SAEs ({shown}): give the path of one, such as {found[0]}; or several "
            "seeds of one recipe with --paths"
        )
    return found[0]


def folders_below(path: Path) -> list[Path]:
    """Folders at or below `path` with weights of an SAE; else those with a configuration alone."""
    if any((path / w).is_file() for w in WEIGHTS):
        return [path]
    found = sorted({p.parent for w in WEIGHTS for p in path.rglob(w)}, key=lambda p: _natural(p.as_posix()))
    return found or [path for c in CONFIGS[:1] if (path / c).is_file()] or [
        path for c in CONFIGS[1:] if (path / c).is_file()
    ]  # fmt: skip


def unzipped(archive: Path) -> Path:
    """A zip's content, next to it; members that would leave their folder are refused."""
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as members:
        outside = [m.filename for m in members.infolist() if not _inside(folder, m.filename)]
        if outside:
            raise BadInputError(
                f"{archive} has a member that leaves its folder ({outside[0]!r}): not unpacked"
            )
        if sum(m.file_size for m in members.infolist()) > _UNPACKED_MOST:
            raise BadInputError(
                f"{archive} unpacks to more than 64 GB: unpack it yourself and give the folder"
            )
        if not folder.is_dir():
            members.extractall(folder)
    return folder


def _inside(folder: Path, member: str) -> bool:
    return (folder / member).resolve().is_relative_to(folder.resolve())


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_tensors(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInputError(
            f"{path} would have to be unpickled, which can run any code, and is not loaded. Where you trust "
            'it, convert it: safetensors.torch.save_file(torch.load("ae.pt", weights_only=False)'
            '.state_dict(), "ae.safetensors")'
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read ({reason_of(error)}): copy it again") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadInputError(f"{path} holds no tensors by name: save the SAE's state_dict() there")
    return found


def _other_weights(folder: Path) -> str:
    """What lies there that might be weights, and is not read."""
    found = sorted(p.name for p in folder.glob("*") if p.suffix in (".pkl", ".pt", ".pth", ".bin", ".npz"))
    return (
        f"; {', '.join(found[:3])} may be pickled, and is not read: convert it to safetensors"
        if found
        else ""
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in names in the order of their size."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
