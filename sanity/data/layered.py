"""Worlds of several layers, whose features are shared by all or belong to one: a crosscoder's truth.

A sample is the layers' activations, one behind the other. A shared feature has a direction in every layer,
all of one length; an exclusive one is zero in all layers but its own. All are unit rows, so that
everything else (exact moments, recovery, starts at the truth) is as in the paper's world.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sanity.data.synthetic import SyntheticSpec
from sanity.errors import BadInputError


@dataclass(frozen=True)
class LayeredSpec(SyntheticSpec):
    """A world whose `d_in` dimensions are `layers` layers of equal width."""

    layers: int = 2
    exclusive: float = 0.5
    """Share of the features that belong to one layer, evenly divided among the layers."""
    alike: bool = False
    """Whether a shared feature has the same direction in every layer, as in a residual stream; else each
    layer has a basis of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 2 or self.d_in % self.layers:
            raise BadInputError(
                f"a layered world has {self.layers} layers in d_in={self.d_in}: "
                "it needs two layers or more, and a width that they divide evenly"
            )
        if not 0 <= self.exclusive <= 1:
            raise BadInputError(f"a layered world has exclusive={self.exclusive}: a share lies in [0, 1]")

    @property
    def blocks(self) -> tuple[int, ...]:
        """Widths of the layers."""
        return (self.d_in // self.layers,) * self.layers

    @property
    def layer_of(self) -> Int[Tensor, " n_features"]:
        """The layer that each feature belongs to; -1 for shared ones, which come first."""
        each = round(self.exclusive * self.n_features / self.layers)
        own = torch.arange(self.layers).repeat_interleave(each)[: self.n_features]
        return torch.cat([torch.full((self.n_features - len(own),), -1), own])

    def layered(self, features: Float[Tensor, "n_features d_in"]) -> Float[Tensor, "n_features d_in"]:
        """The features of this world, made of as many random directions."""
        parts = features.view(len(features), self.layers, -1)
        if self.alike:
            parts = parts[:, :1].expand_as(parts)
        parts = functional.normalize(parts, dim=2)
        layer_of = self.layer_of.to(features.device)[:, None]
        held = (layer_of < 0) | (layer_of == torch.arange(self.layers, device=features.device))
        return functional.normalize((parts * held[..., None]).flatten(1), dim=1)
