"""How far the tangent kernel of a sparse autoencoder has moved: the lazy regime's own measure.

The empirical tangent kernel of samples x and x' is the d_in x d_in matrix

    K(x, x') = sum over parameters p of  df(x)/dp  df(x')/dp^T,

here over both weight matrices and the encoder's biases, with the supports as they are at each point of the
training (b_dec is left out: one shared vector). With z the latents, c = <x - b_dec, x' - b_dec> + 1 and I
the latents that are active in both samples, it is

    K(x, x') = <z, z'> 1 + c sum_{j in I} d_j d_j^T,

so that products of whole kernels, [n d_in x n d_in], never need one to be held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.laziness import supports
from sanity.models import Autoencoder


@dataclass(frozen=True, eq=False)
class TangentKernel:
    """What a kernel on n samples is made of, in float64."""

    active: Float[Tensor, "n d_sae"]
    """1 where a latent is active."""
    values: Float[Tensor, "n n"]
    """<z, z'>."""
    inputs: Float[Tensor, "n n"]
    """c."""
    shared: Float[Tensor, "n n"]
    """sum over the shared latents of ||d_j||^2: the trace of what c multiplies."""
    decoder: Float[Tensor, "d_sae d_in"]

    def product(self, other: TangentKernel) -> float:
        """The sum of the products of all entries of two kernels on the same samples."""
        d_in = self.decoder.shape[1]
        total = d_in * (self.values * other.values).sum()
        total += (self.values * other.inputs * other.shared).sum()
        total += (other.values * self.inputs * self.shared).sum()
        total += (self.inputs * other.inputs * self._directions(other)).sum()
        return float(total)

    def _directions(self, other: TangentKernel) -> Float[Tensor, "n n"]:
        """Sum over shared latents j here and l there of <d_j, d_l>^2, for every pair of samples."""
        rows = []
        for mine, theirs in zip(self.active, other.active, strict=True):
            here, there = mine.nonzero().squeeze(1), theirs.nonzero().squeeze(1)
            squares = (self.decoder[here] @ other.decoder[there].T).square()
            rows.append(((self.active[:, here] @ squares) * other.active[:, there]).sum(1))
        return torch.stack(rows)


@checked
@torch.no_grad()
def tangent_kernel(sae: Autoencoder, x: Float[Tensor, "n d_in"]) -> TangentKernel:
    """The tangent kernel of `sae` on `x`."""
    active = supports(sae, x).double()
    centred, decoder = (x - sae.b_dec).double(), sae.W_dec.double()
    z = torch.addmm(sae.b_enc.double(), centred, sae.W_enc.double()) * active
    return TangentKernel(
        active=active,
        values=z @ z.T,
        inputs=centred @ centred.T + 1,
        shared=(active * decoder.square().sum(1)) @ active.T,
        decoder=decoder,
    )


@checked
def kernel_drift(start: TangentKernel, end: TangentKernel) -> dict[str, float]:
    """`kernel_change`, ||K_end - K_start|| / ||K_start|| (Frobenius), and `kernel_alignment`, their cosine.

    Lazy training leaves 0 and 1. The cosine does not see a change of scale; kernels have no negative
    eigenvalues, so that it is never below 0.
    """
    if start.active.shape != end.active.shape:
        raise BadInputError(
            f"kernels of {list(start.active.shape)} and {list(end.active.shape)} samples and latents were "
            "given: compare one run's start and end on the same samples"
        )
    between, before, after = start.product(end), start.product(start), end.product(end)
    if not (before > 0 and after > 0):
        raise BadInputError("a kernel of zeros has no drift: no latent is active in any of the samples")
    return {
        "kernel_change": math.sqrt(max(0.0, before - 2 * between + after) / before),
        "kernel_alignment": between / math.sqrt(before * after),
    }
