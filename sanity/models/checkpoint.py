"""SAEs on disk: a folder that SAELens can load, with the hashes by which damage is noticed.

    folder/cfg.json                  SAELens's configuration, and our architecture under "sanity"
    folder/sae_weights.safetensors   W_enc, b_enc, W_dec, b_dec, and threshold where there is one
    folder/manifest.json             SHA-256 of both, written before the folder takes its name

`sae_lens.SAE.load_from_disk(folder)` gives the same latents and reconstructions. An SAE trained on centred
and scaled activations takes such: `Autoencoder.fold_normalisation` makes one for raw activations.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sanity.engine.arguments import checked
from sanity.engine.config import to_json
from sanity.engine.files import disk_errors, is_intact, read_json, read_sealed, sha256_of, write_sealed
from sanity.errors import BadInputError, CorruptFileError
from sanity.models.autoencoder import Autoencoder
from sanity.models.neurons import Neurons
from sanity.models.selection import Above
from sanity.models.sparsity import TopK, architecture_from_json
from sanity.models.transcoder import Transcoder
from sanity.models.validation import TENSORS, check_weights

_NEURONS = "mlp_neurons"
_MANIFEST, _CONFIG, _WEIGHTS = "manifest.json", "cfg.json", "sae_weights.safetensors"


@checked
def save_sae(sae: Autoencoder | Neurons, folder: str | Path) -> Path:
    """Write an SAE in SAELens's folder format; an SAE that was there before is replaced.

    TopK is saved as SAELens's `topk`, ReLU as `standard`, and everything with a threshold as `jumprelu`,
    which is what BatchTopK and Matryoshka are at inference. Transcoders are called as by SAELens
    (`jumprelu_skip_transcoder`, ...), which knows none with TopK.
    """
    folder = Path(folder)
    if isinstance(sae, Neurons):
        return _write(
            folder, sae.tensors(), {"architecture": _NEURONS, "k": sae.k, "activation": sae.activation}
        )
    names = [*TENSORS, *(["threshold"] if _threshold(sae) else [])]
    tensors = {name: getattr(sae, name) for name in names}
    if isinstance(sae, Transcoder) and sae.W_skip is not None:
        tensors["W_skip"] = sae.W_skip.T  # SAELens keeps it [d_out, d_in]
    return _write(folder, tensors, _config(sae))


def _write(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Path:
    def fill(where: Path) -> None:
        (where / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        save_file({n: value.detach().cpu().contiguous() for n, value in tensors.items()}, where / _WEIGHTS)

    with disk_errors(folder):
        if folder.exists() and not (folder / _MANIFEST).exists() and any(folder.iterdir()):
            raise BadInputError(f"{folder} holds other files and no SAE of ours: choose a new folder")
    return write_folder(folder, fill)


def load_dictionary(folder: str | Path) -> Autoencoder | Neurons:
    """What `save_sae` wrote: an SAE, a transcoder, or an MLP's own neurons."""
    folder = Path(folder)
    verified(folder)
    config = read_json(folder / _CONFIG)
    if config.get("architecture") != _NEURONS:
        return load_sae(folder)
    made: dict[str, Any] = dict(load_tensors(folder / _WEIGHTS))
    return Neurons(**made, k=int(config["k"]), activation=str(config["activation"]))


@checked
def load_sae(folder: str | Path) -> Autoencoder:
    """The SAE that `save_sae` wrote.

    `CorruptFileError` when the folder is incomplete or damaged, or its configuration does not agree with its
    tensors; `BadInputError` for tensors that are no SAE.
    """
    folder = Path(folder)
    verified(folder)
    config = read_json(folder / _CONFIG)
    ours = config.get("sanity")
    if not isinstance(ours, dict) or not isinstance(ours.get("architecture"), dict):
        raise CorruptFileError(f"{folder / _CONFIG} does not say which architecture it holds: save it again")
    tensors = load_tensors(folder / _WEIGHTS)
    transcoder = "d_out" in config
    if "W_skip" in tensors:
        tensors["W_skip"] = tensors["W_skip"].T.contiguous()
    check_weights(str(folder / _WEIGHTS), tensors, transcoder=transcoder)
    given: dict[str, Any] = {
        # The kernels read the encoder a latent per contiguous row.
        "W_enc": tensors["W_enc"].T.contiguous().T,
        "W_dec": tensors["W_dec"],
        "b_enc": tensors["b_enc"],
        "b_dec": tensors["b_dec"],
        "architecture": architecture_from_json(ours["architecture"]),
        "threshold": tensors.get("threshold"),
    }
    sae = Transcoder(**given, W_skip=tensors.get("W_skip")) if transcoder else Autoencoder(**given)
    # What it would say if it were saved now. `json` makes lists of tuples, as in the file.
    agreed = json.loads(json.dumps(_config(sae)))
    wrong = [
        name for name in agreed if name not in ("device", "metadata") and config.get(name) != agreed[name]
    ]
    if wrong:
        told = "; ".join(f"{name} {config.get(name)!r}, not {agreed[name]!r}" for name in wrong)
        raise CorruptFileError(
            f"{folder / _CONFIG} does not agree with {_WEIGHTS} and the architecture ({told}): save it again"
        )
    return sae


def _threshold(sae: Autoencoder) -> bool:
    """Whether the SAE selects by a threshold."""
    rule = sae.architecture.inference_rule(sae.threshold)
    return isinstance(rule, Above) and rule.threshold is not None


def _config(sae: Autoencoder) -> dict[str, Any]:
    """SAELens's configuration of an SAE, and our architecture under "sanity"."""
    top_k = isinstance(sae.architecture, TopK)
    config: dict[str, Any] = {
        "architecture": "topk" if top_k else "jumprelu" if _threshold(sae) else "standard",
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": str(sae.W_dec.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {},
        "sanity": {"format": 1, "architecture": to_json(sae.architecture)},
    }
    if isinstance(sae.architecture, TopK):
        config |= {"k": sae.architecture.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(sae, Transcoder):
        kind = {"topk": "topk_", "jumprelu": "jumprelu_", "standard": ""}[config["architecture"]]
        skip = "" if sae.W_skip is None else "skip_"
        config |= {
            "architecture": f"{kind}{skip}transcoder",
            "d_out": sae.d_out,
            "apply_b_dec_to_input": False,
        }
    return config


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; `CorruptFileError` when it is not one."""
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CorruptFileError(f"{path} is not readable ({error}): delete it and run again") from error
    return tensors


def write_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Let `fill` write files into a new folder that takes its name only when all are safely on disk."""
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            fill(part)
            hashes = {path.name: sha256_of(path) for path in sorted(part.iterdir())}
            write_sealed(part / _MANIFEST, {"format": 1, "files": hashes})
            for path in part.iterdir():
                _sync(path)
            _sync(part)
            if folder.exists():
                old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
                shutil.rmtree(old, ignore_errors=True)
                folder.rename(old)
                part.rename(folder)
                shutil.rmtree(old)
            else:
                part.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def verified(folder: Path) -> None:
    """Raise `CorruptFileError` unless the manifest names every file of the folder, and each matches it."""
    if not os.path.isfile(folder / _MANIFEST):
        raise CorruptFileError(f"{folder} has no {_MANIFEST}: it is incomplete or no folder of ours")
    listed = read_sealed(folder / _MANIFEST, unsealed=True).get("files")
    if not isinstance(listed, dict) or not listed:
        raise CorruptFileError(f"{folder / _MANIFEST} lists no files: delete {folder} and run again")
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if others := sorted(there - {*listed, _MANIFEST}):
        raise CorruptFileError(
            f"{folder / _MANIFEST} does not name {', '.join(others)}: move away what does not belong there"
        )
    for name, expected in listed.items():
        path = folder / Path(name).name
        if not is_intact(path, expected):
            raise CorruptFileError(f"{path} is missing or damaged: delete {folder} and run again")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
