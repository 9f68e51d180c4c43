"""The true dictionary of a synthetic world, corrupted in steps: what the gates of its metrics read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor

from sanity.data import SyntheticWorld
from sanity.evals.scrambles import (
    mixed_directions,
    repaired_latents,
    replaced_directions,
    silenced_latents,
    tied_autoencoder,
)
from sanity.models import Autoencoder, TopK

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "mixed": "each true direction mixed with a random one",
        "replaced": "true directions dropped for random ones",
        "re-paired": "decoder rows exchanged between latents",
        "silenced": "latents silenced",
    }
)
"""Corruptions of the true dictionary (its encoder tied to it), in words."""


def corrupted_truth(
    world: SyntheticWorld, kind: str, level: float, *, seed: int, k: int, x: Float[Tensor, "n d_in"]
) -> Autoencoder:
    """The true dictionary with its tied encoder, corrupted; one scalar fits the encoder's scale to `x`.

    A corrupted dictionary has its own encoder tied to it; only exchanged decoder rows leave the encoder.
    """
    dictionaries: dict[str, Callable[..., Tensor]] = {
        "mixed": mixed_directions,
        "replaced": replaced_directions,
    }
    if kind in dictionaries:
        return tied_autoencoder(dictionaries[kind](world.features, level, seed=seed), TopK(k=k), x)
    latents: dict[str, Callable[..., Autoencoder]] = {
        "re-paired": repaired_latents,
        "silenced": silenced_latents,
    }
    return latents[kind](tied_autoencoder(world.features, TopK(k=k), x), level, seed=seed)
