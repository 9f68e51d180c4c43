"""The arms of a check that are not trained: the given SAE, and dictionaries that are wrong on purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.baselines import Cov, permuted_decoder, rotated_decoder
from sanity.engine.products import product
from sanity.errors import BadInputError
from sanity.evals.reconstruction import firing_frequency
from sanity.models import (
    Arm,
    Autoencoder,
    Constraint,
    JumpReLU,
    initial_directions,
)
from sanity.sources import OpenedSource


class NoTraining(Constraint, family="arm that is not trained"):
    """Nothing learns; profiles, whose arms are trained, do not know these names."""

    @property
    @override
    def learns(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Given(NoTraining):
    """The SAE was trained elsewhere."""

    name: ClassVar[str] = "given"
    title: ClassVar[str] = "given SAE"


@dataclass(frozen=True)
class GivenObject(Given):
    """An object that no other process has."""

    only_here: ClassVar[bool] = True
    name: ClassVar[str] = "given_object"


class Null(NoTraining):
    """A dictionary that is wrong on purpose, made from the given one without training."""

    latents_too: ClassVar[bool] = False
    """Whether its latents differ from those of the given SAE, and not its decoder alone."""

    def made(self, given: Any, opened: OpenedSource, seed: int) -> Autoencoder:
        """The dictionary of a seed; `given` may be any object where `latents_too`."""
        raise BadInputError(f"{type(self).__name__} does not say what it is made of: define made")


@dataclass(frozen=True)
class PermutedDecoder(Null):
    """Its decoder rows on the wrong latents."""

    name: ClassVar[str] = "permuted_decoder"

    @override
    def made(self, given: Any, opened: OpenedSource, seed: int) -> Autoencoder:
        return permuted_decoder(given, seed=seed)


@dataclass(frozen=True)
class RotatedDecoder(Null):
    """Its decoder turned as a whole."""

    name: ClassVar[str] = "rotated_decoder"

    @override
    def made(self, given: Any, opened: OpenedSource, seed: int) -> Autoencoder:
        lengths = torch.linalg.vector_norm(given.W_dec, dim=1, keepdim=True)
        turned = rotated_decoder(given, seed=seed)
        return dataclasses.replace(turned, W_dec=turned.W_dec * lengths)


@dataclass(frozen=True)
class RandomLatents(Null):
    """Random directions, each of which fires as often as one latent of the given SAE."""

    name: ClassVar[str] = "random_latents"
    title: ClassVar[str] = "random latents of its frequencies"
    latents_too: ClassVar[bool] = True

    @override
    def made(self, given: Any, opened: OpenedSource, seed: int) -> Autoencoder:
        d_sae, d_in = given.W_dec.shape
        arm = Arm(JumpReLU(1.0), d_sae, init=Cov(), seed=seed)
        directions = initial_directions(arm, d_in, opened.stream.covariance)
        x = opened.stream.batch(0)
        x = torch.cat([x, *(opened.stream.batch(i) for i in range(1, max(2, 8192 // len(x))))]).cpu()
        threshold = _above_which(x, directions, firing_frequency(given, [x]).float())
        null = Autoencoder(
            directions.T,
            directions,
            torch.zeros(d_sae),
            torch.zeros(d_in),
            arm.architecture,
            threshold,
        )
        # One scale for all latents: that at which it reconstructs best.
        rebuilt = null.reconstruct(x)
        factor = float((x * rebuilt).sum() / rebuilt.square().sum().clamp_min(1e-12))
        return dataclasses.replace(null, W_enc=(directions * factor).T, threshold=threshold * factor)


def _above_which(
    x: Float[Tensor, "n d_in"], directions: Float[Tensor, "d_sae d_in"], frequency: Float[Tensor, " d_sae"]
) -> Float[Tensor, " d_sae"]:
    """The threshold of each latent above which it fires as often as asked; at most on half of the samples."""
    found = []
    wanted = (frequency * len(x)).round().long().clamp(0, len(x) // 2)
    for rows, counts in zip(torch.split(directions, 512), torch.split(wanted, 512), strict=True):
        pre = product(x, rows, x.new_zeros(len(rows))).sort(0, descending=True).values
        found.append(pre.gather(0, counts[None])[0].clamp_min(0))
        found[-1][counts == 0] = 2 * pre[0][counts == 0].abs() + 1
    return torch.cat(found)


NULLS: Mapping[str, Null] = {one.name: one for one in (PermutedDecoder(), RotatedDecoder(), RandomLatents())}
