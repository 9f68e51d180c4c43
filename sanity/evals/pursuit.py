"""Orthogonal matching pursuit: how well a dictionary can represent samples, whatever its own encoder does.

An SAE's encoder is one matrix product and a threshold. Pursuit chooses the latents of each sample one after
the other, fits all chosen ones again every time, and so separates what a dictionary could do from what an
encoder gets out of it (Pati, Rezaiifar and Krishnaprasad 1993; Rubinstein et al. 2008).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.inputs import CHUNK_ELEMENTS, require_finite, require_width, unit_rows
from sanity.evals.reconstruction import explained_variance
from sanity.evals.score import Score

# A chosen row whose part orthogonal to the earlier ones is shorter than this adds no direction.
_DEPENDENT = 1e-6


@dataclass(frozen=True, eq=False)
class Pursuit:
    """What pursuit chose for each sample; a choice that adds no direction has index -1 and coefficient 0."""

    indices: Int[Tensor, "n k"]
    coefficients: Float[Tensor, "n k"]
    reconstruction: Float[Tensor, "n d"]


@checked
@torch.no_grad()
def orthogonal_matching_pursuit(
    x: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "m d_atoms"],
    k: int,
) -> Pursuit:
    """Represent each row of `x` by at most `k` rows of `dictionary`, chosen greedily and fitted together.

    Parameters
    ----------
    x
        Samples; what they are centred on is the caller's business.
    dictionary
        Directions of any length; the coefficients belong to the rows scaled to length 1.
    k
        Rows per sample, at most d of them.

    Raises `BadInputError` for widths that differ, numbers that are not finite, and a `k` that does not fit.
    """
    d = x.shape[1]
    require_width("the dictionary", dictionary.shape[1], d, "x")
    require_finite("x", x)
    if not 1 <= k <= min(d, len(dictionary)):
        raise BadInputError(
            f"pursuit was asked for {k} of {len(dictionary)} directions in {d} dimensions: "
            "ask for at least 1, and for no more than there are of either"
        )
    atoms = unit_rows("the dictionary", dictionary.detach()).to(torch.float64)
    rows = max(1, CHUNK_ELEMENTS // (2 * max(len(atoms), k * d)))
    parts = [_pursue(part.to(torch.float64), atoms, k) for part in torch.split(x, rows)]
    return Pursuit(
        torch.cat([p.indices for p in parts]),
        torch.cat([p.coefficients for p in parts]).to(x),
        torch.cat([p.reconstruction for p in parts]).to(x),
    )


@checked
def pursuit_explained_variance(
    x: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "m d_atoms"],
    k: int,
    *,
    centre: Float[Tensor, " d_centre"] | None = None,
) -> Score:
    """Explained variance of `x` by pursuit with `k` directions per sample: what the dictionary could do.

    The same scale as `explained_variance`: floor the mean, ceiling the identity. `centre` is subtracted
    first and added back, as an SAE's `b_dec` is. Coefficients may have either sign.
    """
    shift = x.new_zeros(x.shape[1]) if centre is None else centre.detach().to(x)
    k = min(k, len(dictionary), x.shape[1])
    rebuilt = orthogonal_matching_pursuit(x - shift, dictionary, k).reconstruction + shift
    found = explained_variance(x, rebuilt)
    return replace(found, metric="pursuit_explained_variance", version="1")


def _pursue(x: Float[Tensor, "n d"], atoms: Float[Tensor, "m d"], k: int) -> Pursuit:
    """Pursuit for some samples at once: Q [n, k, d] holds an orthonormal basis of the rows chosen so far."""
    n, d = x.shape
    residual = x.clone()
    Q = x.new_zeros(n, k, d)
    R = torch.eye(k, dtype=x.dtype, device=x.device).expand(n, k, k).clone()
    along = x.new_zeros(n, k)
    chosen = torch.full((n, k), -1, dtype=torch.int64, device=x.device)
    each = torch.arange(n, device=x.device)
    for i in range(k):
        score = (residual @ atoms.T).abs_()
        if i:
            score[each[:, None], chosen[:, :i].clamp(min=0)] = -torch.inf
        best, pick = score.max(1)
        atom = atoms[pick]
        parts = torch.einsum("nkd,nd->nk", Q[:, :i], atom)
        new = atom - torch.einsum("nk,nkd->nd", parts, Q[:, :i])
        length = torch.linalg.vector_norm(new, dim=1)
        useful = (length > _DEPENDENT) & (best > 0)
        new = torch.where(useful[:, None], new / length.clamp(min=_DEPENDENT)[:, None], 0.0)
        Q[:, i] = new
        R[:, :i, i] = torch.where(useful[:, None], parts, 0.0)
        R[:, i, i] = torch.where(useful, length, 1.0)
        along[:, i] = (residual * new).sum(1)
        residual -= along[:, i, None] * new
        chosen[:, i] = torch.where(useful, pick, -1)
    coefficients = torch.linalg.solve_triangular(R, along[:, :, None], upper=True)[:, :, 0]
    return Pursuit(chosen, coefficients, x - residual)
