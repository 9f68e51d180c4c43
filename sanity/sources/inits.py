"""Starts that only a synthetic world can give: its true features, and a basis that knows nothing of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.data import SyntheticSpec, world_of
from sanity.errors import BadInputError
from sanity.models import Init
from sanity.sources.world import World


@dataclass(frozen=True)
class TrueFeatures(Init):
    """Directions that are the features of a world: nothing is left to be recovered."""

    world: SyntheticSpec | None = None
    """None until it is bound to a source."""
    name: ClassVar[str] = "truth"

    @property
    @override
    def spelled(self) -> str:
        return self.name

    @property
    @override
    def label(self) -> str:
        return self.name

    @override
    def on(self, source: Any) -> Init:
        if not isinstance(source, World):
            raise BadInputError(f"{source.where} has no true features to start from: use a synthetic world")
        return replace(self, world=source.spec)

    @override
    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        if self.world is None:
            raise BadInputError(
                "an arm that starts at the truth has to know its world: give TrueFeatures(world)"
            )
        features = world_of(self.world).features
        if features.shape != gaussian.shape:
            raise BadInputError(
                f"a dictionary {list(gaussian.shape)} cannot be the features {list(features.shape)} of its "
                "world: ask for as many latents as there are features"
            )
        return features


@dataclass(frozen=True)
class SignedBasis(Init):
    """A random orthonormal basis and its opposite: 2 d_in latents that say nothing about any feature."""

    name: ClassVar[str] = "signed_basis"
    title: ClassVar[str] = "signed basis"

    @override
    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        d_sae, d_in = gaussian.shape
        if d_sae != 2 * d_in:
            raise BadInputError(
                f"a signed basis of {d_in} dimensions has {2 * d_in} latents, not {d_sae}: ask for as many"
            )
        basis = torch.linalg.qr(gaussian[:d_in].double()).Q
        return functional.normalize(torch.cat([basis, -basis]), dim=1).to(gaussian.dtype)
