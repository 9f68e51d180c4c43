"""Losses with a crosscoder's reconstruction of one layer in that layer's place, read from all layers.

One layer at a time: the residual stream of a later layer holds what an earlier one passed on, so that putting
all reconstructions in at once leaves nothing of the earlier ones, and is the splice at the last layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.cells import Result
from sanity.evals.scrambles import MeanMixture
from sanity.evals.splicing import LossRecovered, SAEInPlace, loss_recovered
from sanity.sources import Hook, Layers, OneLayer, harvests_of
from sanity.subject import Subject


@dataclass(eq=False)
class LayersInPlace:
    """Language models read at several hooks, side by side, and spliced at one of them."""

    subjects: Sequence[Subject]
    """Of each hook; layers of one model share one."""
    hooks: Sequence[str]
    index: int
    """Of the hook that is spliced."""

    def residual(self, tokens: Int[Tensor, "batch pos"], hook: str) -> Float[Tensor, "batch pos d_all"]:
        """The activations at all hooks, side by side, from one pass of each model."""
        found: dict[int, Tensor] = {}
        for subject in dict.fromkeys(self.subjects):
            here = [i for i, one in enumerate(self.subjects) if one is subject]
            # A `LoadedSubject`'s, as any that a source loads.
            read = subject.residuals(tokens, [self.hooks[i] for i in here])  # type: ignore[attr-defined]
            found.update(zip(here, read, strict=True))
        self.widths = [found[i].shape[-1] for i in range(len(self.hooks))]
        return torch.cat([found[i] for i in range(len(self.hooks))], dim=-1)

    def logits_from(
        self, residual: Float[Tensor, "batch pos d_all"], hook: str
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of that hook's model, run on from what is there of its layer."""
        here = torch.split(residual, self.widths, dim=-1)[self.index]
        return self.subjects[self.index].logits_from(here, hook)


def hook_of(source: OneLayer) -> Hook:
    """The hook that is one layer of several."""
    assert isinstance(source.of, Layers)
    return source.of.hooks[source.index]


def losses_at_layer(
    source: OneLayer,
    inputs: Mapping[str, Result],
    saes: Mapping[str, Any],
    tokens: Int[Tensor, "n context"],
    *,
    device: str,
    **more: Any,
) -> dict[str, LossRecovered]:
    """`loss_recovered` at one layer of several, of crosscoders on all and of SAEs on this layer alone."""
    layers = source.of
    assert isinstance(layers, Layers)
    kept = [harvests_of(of_hook)[0] for of_hook in layers.inputs_by_hook(inputs)]
    centre = torch.cat([one.mean for one in kept])
    factors = torch.cat(
        [torch.full((one.d_in,), one.factor * share) for one, share in zip(kept, layers.shares, strict=True)]
    )
    start, width = sum(layers.blocks[: source.index]), layers.blocks[source.index]
    parts = {len(centre): slice(None), width: slice(start, start + width)}
    loaded = {at: at.load(device) for at in dict.fromkeys(layers.models)}
    at = {
        name: parts.get(one.W_dec.shape[1], slice(None))
        for name, one in saes.items()
        if not isinstance(one, MeanMixture)
    }
    spliced = {
        name: SAEInPlace(one, factors, at[name], at[name]) if name in at else one
        for name, one in saes.items()
    }
    hooks = [hook.at.hook for hook in layers.hooks]
    return loss_recovered(
        LayersInPlace([loaded[at] for at in layers.models], hooks, source.index),
        spliced,
        tokens,
        hook=hooks[source.index],
        centre=centre,
        factor=1.0,
        mean=centre,
        **more,
    )
