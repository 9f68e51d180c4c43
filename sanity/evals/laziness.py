"""Whether training is lazy, in the sense of Chizat, Oyallon and Bach (2019), where supports switch.

Training is lazy when the trained model is its own first-order expansion in the parameters about the start.
A sparse autoencoder with a selection rule has no such expansion: which latents are active jumps. On a fixed
support S(x) it has, for there the reconstruction is smooth,

    f_S(theta; x) = b_dec + sum_{j in S(x)} (<w_j, x - b_dec> + b_j) d_j,

so the question splits into three: do the supports stay (`support_overlap`); does the expansion predict what
the trained model does, with the supports held as they were at the start or as they are at the end
(`linearisation`); and does the tangent kernel stay (`sanity.evals.kernel_drift`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.inputs import require_finite, require_width
from sanity.evals.reconstruction import explained_variance
from sanity.models import Autoencoder

# Rows by which samples are shifted against each other for the overlap that chance gives.
_SHIFTS = (1, 2, 3, 5, 8)


@checked
@torch.no_grad()
def supports(sae: Autoencoder, x: Float[Tensor, "n d_in"]) -> Bool[Tensor, "n d_sae"]:
    """Which latents are active in each sample."""
    require_width("x", x.shape[1], sae.d_in, "the decoder")
    require_finite("x", x)
    return sae.encode(x.to(sae.W_dec)) != 0


@checked
def overlap(a: Bool[Tensor, "n d_sae"], b: Bool[Tensor, "n d_sae"]) -> float:
    """Jaccard overlap of two supports, averaged over the samples in which either has a latent.

    >>> overlap(torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]]))
    0.3333333333333333
    """
    both, either = (a & b).sum(1).double(), (a | b).sum(1).double()
    return float((both / either)[either > 0].mean()) if bool((either > 0).any()) else math.nan


@checked
def support_overlap(a: Bool[Tensor, "n d_sae"], b: Bool[Tensor, "n d_sae"]) -> dict[str, float]:
    """`jaccard` of the supports of the same samples, and `jaccard_chance`: of different samples.

    The latter is what latents' frequencies alone give.
    """
    if len(a) < 2:
        raise BadInputError("overlap by chance needs at least 2 samples")
    shifts = [shift for shift in _SHIFTS if shift < len(a)]
    chance = sum(overlap(a, b.roll(shift, 0)) for shift in shifts) / len(shifts)
    return {"jaccard": overlap(a, b), "jaccard_chance": chance}


@checked
@torch.no_grad()
def held_output(
    sae: Autoencoder, x: Float[Tensor, "n d_in"], support: Bool[Tensor, "n d_sae"]
) -> Float[Tensor, "n d_in"]:
    """f_S(theta; x): the reconstruction with exactly the latents of `support`, whatever their sign."""
    z = torch.addmm(sae.b_enc, x - sae.b_dec, sae.W_enc) * support
    return torch.addmm(sae.b_dec, z, sae.W_dec)


@checked
def held_gradients(
    sae: Autoencoder,
    x: Float[Tensor, "batch d_in"],
    support: Bool[Tensor, "batch d_sae"],
    target: Float[Tensor, "batch d_in"],
) -> dict[str, Tensor]:
    """Gradients of the batch's mean ||f_S(theta; x) - target||^2 in the parameters, by their names."""
    centred = x - sae.b_dec
    z = torch.addmm(sae.b_enc, centred, sae.W_enc) * support
    residual = (torch.addmm(sae.b_dec, z, sae.W_dec) - target) * (2 / len(x))
    through = (residual @ sae.W_dec.T) * support
    b_enc = through.sum(0)
    return {
        "W_dec": z.T @ residual,
        "W_enc": centred.T @ through,
        "b_enc": b_enc,
        "b_dec": residual.sum(0) - sae.W_enc @ b_enc,
    }


@checked
@torch.no_grad()
def first_order(
    start: Autoencoder, end: Autoencoder, x: Float[Tensor, "n d_in"], support: Bool[Tensor, "n d_sae"]
) -> Float[Tensor, "n d_in"]:
    """f_S expanded to first order about the parameters of `start`, evaluated at those of `end`."""
    moved = end.b_dec - start.b_dec
    centred = x - start.b_dec
    pre = torch.addmm(start.b_enc, centred, start.W_enc)
    change = torch.addmm(end.b_enc - start.b_enc, centred, end.W_enc - start.W_enc) - moved @ start.W_enc
    return end.b_dec + (pre * support) @ end.W_dec + (change * support) @ start.W_dec


@checked
@torch.no_grad()
def linearisation(start: Autoencoder, end: Autoencoder, x: Float[Tensor, "n d_in"]) -> dict[str, float]:
    """How well the first-order model about `start` predicts what `end` does, with supports held.

    `ev` is the explained variance of `end`. With the supports held as at the start (`..._start`) and as at
    the end (`..._end`): `held`, the explained variance of the trained parameters on these supports;
    `first_order`, that of the first-order model; `predicted`, the share of the change of output from start
    to end that the first-order model predicts. 1 is lazy, 0 is no better than a model that never moved, and
    below 0 it is worse; NaN when nothing has changed.
    """
    _check_same(start, end)
    first, last = supports(start, x), supports(end, x)
    before, after = held_output(start, x, first), held_output(end, x, last)
    change = float((after - before).double().square().sum())
    found = support_overlap(first, last) | {"ev": float(explained_variance(x, after))}
    for name, support in (("start", first), ("end", last)):
        predicted = first_order(start, end, x, support)
        missed = float((after - predicted).double().square().sum())
        found |= {
            f"predicted_{name}": 1 - missed / change if change > 0 else math.nan,
            f"first_order_{name}": float(explained_variance(x, predicted)),
            f"held_{name}": float(explained_variance(x, held_output(end, x, support))),
        }
    return found


def _check_same(start: Autoencoder, end: Autoencoder) -> None:
    if start.W_dec.shape != end.W_dec.shape:
        raise BadInputError(
            f"the start has a decoder {list(start.W_dec.shape)} and the end {list(end.W_dec.shape)}: "
            "give one run's start and end"
        )
