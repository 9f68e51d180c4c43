"""Folders of dictionary_learning: `config.json` and `ae.pt` (weights only), or `ae.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sanity.checking.given import GivenSAE, SAEParts, given, no_crosscoder, required
from sanity.checking.saelens import gated, top_k
from sanity.errors import BadInputError
from sanity.models import Architecture, BatchTopK, JumpReLU, Matryoshka, ReLU, TopK

CLASSES = ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK",
           "BatchTopKSAE", "MatryoshkaBatchTopKSAE")  # fmt: skip


def read(config: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> GivenSAE:
    """The SAE of a configuration and its weights."""
    trainer: Mapping[str, Any] = config.get("trainer") or {}
    kind = str(trainer.get("dict_class"))
    if "crosscoder" in kind.lower() or getattr(tensors.get("encoder.weight"), "ndim", 2) == 3:
        raise no_crosscoder(name, kind)
    if "transcoder" in kind.lower() or _predicts_output(config):
        raise BadInputError(
            f"{name} is a {kind}, which predicts other activations than it reads: the check is for "
            "autoencoders, which reconstruct what they read"
        )
    if kind not in CLASSES:
        raise BadInputError(
            f"{name} has the class {kind!r}; supported are {', '.join(CLASSES)}. Anything else with encode, "
            "decode and W_dec can be given as an object: sanity.check(sae, ...)"
        )
    notes = []
    if factor := trainer.get("norm_factor"):
        notes.append(
            f"trained on activations divided by {factor:.4g}; its biases were scaled back when saved"
        )
    return given(
        _parts(kind, trainer, tensors, name),
        _recipe(kind, tensors),
        name=name,
        library="dictionary_learning",
        notes=notes,
        model=trainer.get("lm_name"),
        hook=_hook(trainer, notes),
        config=config,
    )


def _parts(kind: str, trainer: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> SAEParts:
    # `nn.Linear` keeps [out, in]; the newer classes keep plain parameters.
    W_enc = tensors["W_enc"] if "W_enc" in tensors else required(tensors, name, "encoder.weight").T
    W_dec = tensors["W_dec"] if "W_dec" in tensors else required(tensors, name, "decoder.weight").T
    b_dec = required(tensors, name, "b_dec", "bias", "decoder_bias", "decoder.bias")
    if kind == "GatedAutoEncoder":
        named = {"b_gate": "gate_bias", "b_mag": "mag_bias", "r_mag": "r_mag"}
        biases: dict[str, Any] = {ours: required(tensors, name, theirs) for ours, theirs in named.items()}
        return gated(W_enc=W_enc, W_dec=W_dec, b_dec=b_dec, **biases)
    b_enc = required(tensors, name, "b_enc", "encoder.bias")
    subtracts = kind not in ("AutoEncoderNew", "JumpReluAutoEncoder")
    parts: dict[str, Any] = {
        "W_enc": W_enc, "W_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec, "subtracts": subtracts,
    }  # fmt: skip
    if kind == "AutoEncoderTopK":
        return SAEParts(**parts, k=top_k(tensors.get("k", trainer.get("k")), name))
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return SAEParts(**parts)
    return SAEParts(**parts, threshold=required(tensors, name, "threshold").to(b_enc).expand_as(b_enc))


def _recipe(kind: str, tensors: Mapping[str, Tensor]) -> Architecture:
    if kind == "MatryoshkaBatchTopKSAE" and "group_sizes" in tensors:
        sizes = tensors["group_sizes"].double()
        return Matryoshka(1, fractions=tuple((sizes / sizes.sum()).tolist()))
    known: dict[str, Architecture] = {
        "AutoEncoderTopK": TopK(1), "BatchTopKSAE": BatchTopK(1), "GatedAutoEncoder": JumpReLU(1.0),
        "JumpReluAutoEncoder": JumpReLU(1.0),
    }  # fmt: skip
    return known.get(kind, ReLU(1.0))


def _predicts_output(config: Mapping[str, Any]) -> bool:
    return (config.get("buffer") or {}).get("io") == "in_and_out"


def _hook(trainer: Mapping[str, Any], notes: list[str]) -> str | None:
    """Its submodule as transformer-lens names it; by default the library reads the output of a block."""
    layer, module = trainer.get("layer"), str(trainer.get("submodule_name") or "")
    if not isinstance(layer, int):
        return None
    if not module or "resid" in module:
        if not module:
            notes.append("names a layer and no submodule: taken to be the residual stream after that block")
        return f"blocks.{layer}.hook_resid_{'pre' if 'pre' in module else 'post'}"
    return module
