"""Where an SAE is checked: language model, hook and text, from what the checkpoint and the user say."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sanity.checking.given import GivenSAE
from sanity.errors import BadInputError
from sanity.profiles.sources import HookEntry, MLPEntry
from sanity.sources import Hook
from sanity.subject import Shape, known_subjects, prepare, shape_of
from sanity.subject.mlp import MLP_HOOK

CONTEXT = 128
"""Tokens per sequence, where the model reads as many."""
_RESIDUAL = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")


def find_model(given: GivenSAE, model: str | None) -> str:
    """The language model: as asked for, else as the checkpoint names it, among those that are known here."""
    if model is not None:
        return model
    if given.model is None:
        raise BadInputError(f"{given.name} does not say which language model it is for: give --model")
    known = known_subjects()
    plain = given.model.split("/")[-1].lower()
    for short, asset in known.items():
        if plain in (short, asset.split("/")[-1].lower()) or plain == f"{short}-instruct":
            return short
    if Path(given.model).is_dir():
        return given.model
    raise BadInputError(
        f"{given.name} is for the language model {given.model!r}, which has no name here: give --model, one "
        f"of {', '.join(known)}, or a folder that holds it"
    )


def find_hook(given: GivenSAE, hook: str | None, model: str) -> str:
    """The hook: as asked for, else as the checkpoint names it; one that cannot be read is refused."""
    shape = _shape(model)
    width, layers = shape.d_model, shape.n_layers
    assert layers is not None
    there = f"blocks.K.hook_resid_pre and blocks.K.hook_resid_post for K from 0 to {layers - 1}"
    chosen = hook or given.hook
    if given.is_transcoder:
        return _find_mlp(given, chosen, model, layers, width)
    if chosen is None:
        raise BadInputError(f"{given.name} does not say which hook it is for: give --hook, one of {there}")
    match = _RESIDUAL.fullmatch(chosen)
    if match is None:
        raise BadInputError(
            f"{given.name} is for {chosen}, and the check reads and edits the residual stream alone "
            f"({there}): it cannot be asked of SAEs on attention or MLP outputs"
        )
    if int(match[1]) >= layers:
        raise BadInputError(f"{model} has no hook {chosen!r}: it has {there}")
    if given.d_in != width:
        fitting = [name for name in known_subjects() if _width(name) == given.d_in]
        others = f"; as wide is that of {', '.join(fitting)}" if fitting else ""
        raise BadInputError(
            f"{given.name} takes activations {given.d_in} wide, and the residual stream of {model} is "
            f"{width} wide at every hook, {chosen} among them: give the model that it was trained on{others}"
        )
    return chosen


def _find_mlp(given: GivenSAE, hook: str | None, model: str, layers: int, width: int | None) -> str:
    """The MLP that a transcoder is for."""
    there = f"blocks.K.mlp.hook_in for K from 0 to {layers - 1}"
    match = MLP_HOOK.fullmatch(hook or "")
    if hook is None or match is None or int(match[1]) >= layers:
        raise BadInputError(f"{given.name} is a transcoder: give --hook, its MLP, one of {there}; not {hook}")
    if not given.d_in == given.sae.d_out == width:
        raise BadInputError(
            f"{given.name} goes from {given.d_in} to {given.sae.d_out} dimensions, and MLPs of {model} from "
            f"{width} to {width}: give the model that it was trained on"
        )
    return hook


@functools.cache
def _shape(model: str) -> Shape:
    """Of a model that is fetched first if need be; its configuration says it, else the loaded model."""
    prepare(model)
    shape = shape_of(model)
    if shape is None:
        from sanity.subject import load_module

        config = load_module(model).config.get_text_config()
        shape = Shape(config.num_hidden_layers, config.hidden_size, config.max_position_embeddings)
    if shape.d_model is None or shape.n_layers is None:
        raise BadInputError(f"{model} does not say how wide and deep it is: give a causal language model")
    return shape


def _width(model: str) -> int | None:
    """Width of a known model if it is there: nothing is fetched for an error message."""
    shape = shape_of(model)
    return None if shape is None else shape.d_model


def source_of(model: str, hook: str, text: Sequence[str], *, tokens: int, held_out: int) -> Hook:
    """The source: the same as a profile would make, so that its harvest is shared with the book's."""
    shape = _shape(model)
    assert shape.d_model is not None
    fields: dict[str, Any] = {
        "subject": model, "hook": hook, "d_model": shape.d_model, "text": tuple(text),
        "context": min(CONTEXT, shape.context or CONTEXT),
        "train_tokens": tokens, "held_out_tokens": held_out,
        "shard_tokens": min(8192, max(1024, tokens // 4)),
    }  # fmt: skip
    mlp = MLP_HOOK.fullmatch(hook)
    entry = MLPEntry(kind="mlp", **fields) if mlp else HookEntry(kind="hook", **fields)
    made = entry.made(_no_other)
    assert isinstance(made, Hook)
    return made


def _no_other(name: str) -> Hook:
    raise BadInputError(f"a hook is like no other source: {name}")
