"""The paper's baselines as constraints: what stays at its random start while the rest learns (Section 4.1).

| constraint | stays | learns |
| --- | --- | --- |
| `FrozenDecoder` | decoder rows, directions and norms | encoder, both biases, thresholds |
| `SoftFrozenDecoder` | decoder rows within a cone around their start | everything, inside the cones |
| `SoftFrozenBlocks` | the same in every layer of a crosscoder | everything, inside the cones |
| `FrozenEncoder` | encoder weights | decoder, both biases, thresholds |
| `FrozenBoth` | encoder and decoder weights | both biases, thresholds |
| `Untrained` | everything | nothing |
| `OwnNeurons` | everything: the MLP's own weights | nothing |
| `SkipOnly` | no latent fires | a transcoder's affine skip and its bias |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.models.arm import PARAMETERS, Constraint, Trained

__all__ = [
    "FrozenBoth",
    "FrozenDecoder",
    "FrozenEncoder",
    "OwnNeurons",
    "SkipOnly",
    "SoftFrozenBlocks",
    "SoftFrozenDecoder",
    "Trained",
    "Untrained",
    "project_to_cone",
]


@dataclass(frozen=True)
class FrozenDecoder(Constraint):
    """Decoder rows stay at their random start; everything else learns."""

    name: ClassVar[str] = "frozen_decoder"

    @property
    @override
    def learns(self) -> frozenset[str]:
        return PARAMETERS - {"W_dec"}


@dataclass(frozen=True)
class SoftFrozenDecoder(Constraint):
    """Decoder rows stay within a cone around their random start; everything learns.

    tau = -1 is an ordinary SAE, 0 a half-space, 0.8 the paper's choice, 1 a frozen decoder.
    """

    cosine: float = 0.8
    """tau: the smallest cosine between a row and its start."""
    name: ClassVar[str] = "soft_frozen_decoder"
    title: ClassVar[str] = "soft-frozen decoder"

    def __post_init__(self) -> None:
        if not -1 <= self.cosine <= 1:
            raise BadInputError(
                f"a soft-frozen decoder was given cosine {self.cosine}: choose one in [-1, 1]"
            )

    @property
    @override
    def label(self) -> str:
        return self.title if self.cosine == 0.8 else f"{self.title} {self.cosine:g}"

    @property
    @override
    def cone(self) -> float | None:
        return self.cosine if type(self).project is SoftFrozenDecoder.project else None

    @override
    def project(self, W_dec: Float[Tensor, "d_sae d_in"], anchor: Float[Tensor, "d_sae d_in"]) -> None:
        """Bring rows outside their cone to the nearest point of its edge, in place."""
        W_dec.copy_(project_to_cone(W_dec, anchor, self.cosine))


@dataclass(frozen=True)
class SoftFrozenBlocks(SoftFrozenDecoder):
    """A crosscoder's decoder rows stay within a cone around their random start in every layer by itself.

    A cone about the whole row would leave a layer with a small part of it free. How a row's length is divided
    between the layers is free here, too.
    """

    blocks: int = 2
    """Layers, of equal width."""
    name: ClassVar[str] = "soft_frozen_blocks"
    title: ClassVar[str] = "soft-frozen decoder, layer by layer"

    @property
    @override
    def cone(self) -> float | None:
        return self.cosine if type(self).project is SoftFrozenBlocks.project else None

    @property
    @override
    def cone_blocks(self) -> int:
        return self.blocks

    @override
    def project(self, W_dec: Float[Tensor, "d_sae d_in"], anchor: Float[Tensor, "d_sae d_in"]) -> None:
        """Bring what of a row is outside its layer's cone to the nearest point of its edge, in place."""
        if self.blocks < 1 or W_dec.shape[1] % self.blocks:
            raise BadInputError(
                f"{self.label} takes {self.blocks} layers of equal width, which {W_dec.shape[1]} dimensions "
                "are not: give the number of layers, or freeze the whole row (soft_frozen_decoder)"
            )
        for part, start in zip(W_dec.chunk(self.blocks, 1), anchor.chunk(self.blocks, 1), strict=True):
            part.copy_(project_to_cone(part, start, self.cosine))


@dataclass(frozen=True)
class FrozenEncoder(Constraint):
    """Encoder directions stay at their random start; their lengths, biases, thresholds and the decoder learn.

    The lengths are free because nothing else could scale a latent: decoder rows have unit norm, and the
    length that suits the random start does not suit a trained decoder. The paper freezes directions, too.
    """

    name: ClassVar[str] = "frozen_encoder"

    @property
    @override
    def encoder_turns(self) -> bool:
        return False


@dataclass(frozen=True)
class FrozenBoth(Constraint):
    """All directions stay at their random start; the encoder's lengths, biases and thresholds learn."""

    name: ClassVar[str] = "frozen_both"
    title: ClassVar[str] = "both frozen"

    @property
    @override
    def learns(self) -> frozenset[str]:
        return PARAMETERS - {"W_dec"}

    @property
    @override
    def encoder_turns(self) -> bool:
        return False


@dataclass(frozen=True)
class Untrained(Constraint):
    """Nothing learns: one scale and the thresholds are calibrated on the first batch."""

    name: ClassVar[str] = "untrained"

    @property
    @override
    def learns(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class SkipOnly(Constraint):
    """A transcoder without latents: what an affine map alone learns from the same batches."""

    name: ClassVar[str] = "skip_only"
    title: ClassVar[str] = "skip alone"

    @property
    @override
    def learns(self) -> frozenset[str]:
        return frozenset({"W_skip", "b_dec"})

    @property
    @override
    def latents_fire(self) -> bool:
        return False


@dataclass(frozen=True)
class OwnNeurons(Untrained):
    """No transcoder at all: the MLP's own neurons, the k largest of them. It is taken, and not trained.

    A dictionary that really computes the function: the upper reference for what latents claim.
    """

    name: ClassVar[str] = "own_neurons"
    title: ClassVar[str] = "the MLP's own neurons"


@checked
def project_to_cone(
    vectors: Float[Tensor, "*batch d"], anchors: Float[Tensor, "*batch d"], cosine: float
) -> Float[Tensor, "*batch d"]:
    """The nearest vectors of the same norms whose cosine with their anchor is at least `cosine`.

    Inside the cone a vector is returned as it is, bit for bit. Outside it goes to the nearest point of the
    edge on the sphere of its own norm, norm * (tau u + sqrt(1 - tau^2) p), with u the anchor's direction and
    p the unit part of the vector orthogonal to u. A vector almost (anti)parallel to u keeps its own p,
    since p is taken from the vector's difference to the (anti)parallel one rather than from two nearly
    equal numbers. Exactly antiparallel, every p is as near: the coordinate axis least along u decides.
    A zero vector is returned as it is: it has no direction to turn.

    Parameters
    ----------
    vectors, anchors
        [..., d]; anchors of any norm but 0.
    cosine
        tau in [-1, 1].
    """
    if not -1 <= cosine <= 1:
        raise BadInputError(f"project_to_cone was given cosine {cosine}: choose one in [-1, 1]")
    flat, ends = vectors.reshape(-1, vectors.shape[-1]), anchors.reshape(-1, vectors.shape[-1])
    out = flat.clone()
    for first in range(0, flat.shape[0], _ROWS):
        block = slice(first, first + _ROWS)
        _project_rows(out[block], ends[block], cosine)
    return out.view(vectors.shape)


_ROWS = 512
"""Rows in work at a time: their float64 copies stay in the cache."""


def _project_rows(rows: Float[Tensor, "rows d"], anchors: Float[Tensor, "rows d"], cosine: float) -> None:
    """`project_to_cone` for some rows, in place; in float64, where float32 rows keep all their digits."""
    v, u = (tensor.to(torch.float64, copy=True) for tensor in (rows, anchors))
    u_norm = torch.linalg.vector_norm(u, dim=1, keepdim=True)
    if bool((u_norm == 0).any()):
        raise BadInputError("project_to_cone was given a zero anchor: a cone needs an axis")
    u /= u_norm
    norm = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    v /= norm
    along = (v * u).sum(1, keepdim=True)
    # What was projected and rounded before counts as inside: two roundings of the cosine are forgiven.
    outside = ((norm > 0) & (along < cosine - 2 * torch.finfo(rows.dtype).eps)).squeeze(1)
    index = outside.nonzero().squeeze(1)
    if index.numel() == 0:
        return
    u, v, along, norm = u[index], v[index], along[index], norm[index]
    p = v.addcmul_(along, u, value=-1)
    p.addcmul_((p * u).sum(1, keepdim=True), u, value=-1)  # what rounding left along u
    p_norm = torch.linalg.vector_norm(p, dim=1, keepdim=True)
    lost = (p_norm < 64 * torch.finfo(torch.float64).eps).squeeze(1)
    if bool(lost.any()):
        p[lost] = _any_orthogonal(u[lost])
        p_norm[lost] = 1.0
    p /= p_norm
    rows[index] = (norm * (cosine * u + (1 - cosine**2) ** 0.5 * p)).to(rows.dtype)


def _any_orthogonal(u: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
    """A unit vector orthogonal to each unit row: the coordinate axis least along it, made orthogonal."""
    axis = torch.zeros_like(u).scatter_(1, u.abs().argmin(1, keepdim=True), 1.0)
    axis.addcmul_((axis * u).sum(1, keepdim=True), u, value=-1)
    return functional.normalize(axis, dim=1)
