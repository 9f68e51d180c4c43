"""Folders of sparsify (EleutherAI): `cfg.json` and `sae.safetensors`, one folder per hook point."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sanity.checking.given import GivenSAE, SAEParts, given, required
from sanity.checking.saelens import top_k
from sanity.errors import BadInputError


def read(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str, *, hook: str, model: str | None
) -> GivenSAE:
    """The SAE of a configuration and its weights; `hook` is the name of its folder."""
    transcoder = bool(config.get("transcode"))
    if not transcoder and (config.get("skip_connection") or "W_skip" in tensors):
        raise BadInputError(
            f"{name} has a skip and is no transcoder (transcode): what it computes is not known"
        )
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise BadInputError(
            f"{name} has the activation {activation!r}; supported is topk. Anything else with encode, decode "
            "and W_dec can be given as an object: sanity.check(sae, ...)"
        )
    parts = SAEParts(
        W_enc=required(tensors, name, "encoder.weight").T,
        W_dec=required(tensors, name, "W_dec"),
        b_enc=required(tensors, name, "encoder.bias"),
        b_dec=required(tensors, name, "b_dec"),
        k=top_k(config.get("k"), name),
        transcoder=transcoder,
        W_skip=tensors["W_skip"].T if config.get("skip_connection") else None,
    )
    return given(
        parts,
        None,
        name=name,
        library="sparsify",
        notes=[],
        model=model,
        hook=mlp_of(hook, name) if transcoder else hook_of(hook),
        config=config,
    )


def mlp_of(hookpoint: str, name: str) -> str | None:
    """The MLP that a hook point names, such as `layers.10.mlp`; None where it names no layer."""
    if not re.search(r"\d", hookpoint):
        return None
    block = re.fullmatch(r"(?:[\w.]+\.)?(?:layers|h|blocks)\.(\d+)\.mlp", hookpoint)
    if block is None:
        raise BadInputError(f"{name} is a transcoder of {hookpoint}: the check is for those of an MLP")
    return f"blocks.{block[1]}.mlp.hook_in"


def hook_of(hookpoint: str) -> str | None:
    """A hook point of sparsify as transformer-lens names it, such as `layers.10` or `gpt_neox.layers.10`.

    >>> hook_of("layers.10"), hook_of("layers.10.mlp"), hook_of("embed_tokens")
    ('blocks.10.hook_resid_post', 'layers.10.mlp', 'blocks.0.hook_resid_pre')
    """
    block = re.fullmatch(r"(?:[\w.]+\.)?(?:layers|h|blocks)\.(\d+)", hookpoint)
    if block:
        return f"blocks.{block[1]}.hook_resid_post"
    if re.fullmatch(r"(?:[\w.]+\.)?(?:embed_tokens|embed_in|wte|embed)", hookpoint):
        return "blocks.0.hook_resid_pre"
    return hookpoint if re.search(r"\d", hookpoint) else None
