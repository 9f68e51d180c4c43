"""What a dictionary's directions span, and how they lie to each other.

An SAE that reconstructs without holding the features holds something else. These measures tell what: how
many independent directions the latents in use amount to, whether they come in antipodal pairs, and whether
the axes of these pairs stand at right angles, as those of a signed basis would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.feature_recovery import RECOVERED, max_cosines
from sanity.evals.inputs import require_finite, require_width, unit_rows
from sanity.evals.pursuit import orthogonal_matching_pursuit
from sanity.evals.score import Score

# cos(angle) to the exact opposite within which two latents are a pair: 25.8 degrees.
ANTIPODAL = 0.9


@dataclass(frozen=True)
class Geometry:
    """How directions lie to each other; `directions_geometry` measures it."""

    directions: int
    """How many there are."""
    rank: int
    """Dimension of their span."""
    participation_ratio: float
    """Effective number of dimensions, (sum of eigenvalues)^2 / sum of their squares, of the second moment."""
    antipodal_share: float
    """Share of the directions that have an opposite one: a cosine below -0.9 with some other."""
    axes: int
    """Directions left when antipodal ones are counted once."""
    axis_cosine: float
    """Mean |cosine| between different axes; 0 for an orthogonal basis, NaN for fewer than two."""
    random_axis_cosine: float
    """The same for independent random directions, exactly: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))."""


@checked
@torch.no_grad()
def directions_geometry(rows: Float[Tensor, "n d"]) -> Geometry:
    """How directions [n, d] of any length lie to each other.

    >>> basis = torch.eye(3)
    >>> found = directions_geometry(torch.cat([basis, -basis]))
    >>> found.rank, found.axes, found.antipodal_share, found.axis_cosine
    (3, 3, 1.0, 0.0)
    """
    n, d = rows.shape
    if not n:
        raise BadInputError("the geometry of 0 directions was asked for: give at least one")
    unit = unit_rows("the directions", rows.detach()).double()
    eigenvalues = torch.linalg.eigvalsh(unit.T @ unit).clamp(min=0)
    rank = int((eigenvalues > 1e-9 * eigenvalues.max()).sum())
    ratio = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    paired = antipodes(unit) < -ANTIPODAL
    axes = _axes(unit)
    off = (axes @ axes.T).abs_()
    count = len(axes)
    between = float((off.sum() - off.diagonal().sum()) / (count * (count - 1))) if count > 1 else math.nan
    random = math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)
    return Geometry(n, rank, ratio, float(paired.double().mean()), count, between, random)


@checked
@torch.no_grad()
def antipodes(rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """For each direction its smallest cosine to another one: -1 for one with an exact opposite.

    A single direction has no other; it is given 1.
    """
    if len(rows) < 2:
        return torch.ones(len(rows), dtype=rows.dtype, device=rows.device)
    return -max_cosines(-rows, rows)


@checked
@torch.no_grad()
def span_cosines(
    targets: Float[Tensor, "n d"], directions: Float[Tensor, "m d_directions"], size: int
) -> Float[Tensor, " n"]:
    """Cosine of each target to the best-fitting point in the span of `size` directions chosen by pursuit.

    With size 1 the largest |cosine| to a direction. A feature that is split over two latents, or lies in the
    plane of two, is found with size 2; so is many a target by chance: compare with a random dictionary.
    """
    pursued = orthogonal_matching_pursuit(unit_rows("the targets", targets), directions, size)
    cosines: Tensor = torch.linalg.vector_norm(pursued.reconstruction, dim=1).clamp(max=1.0)
    return cosines


@checked
def span_recovery(
    features: Float[Tensor, "n_features d_in"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    size: int = 2,
    threshold: float = RECOVERED,
) -> Score:
    """Share of the features within cosine `threshold` of the plane (`size` = 2) of some latents.

    A weaker question than `recovery`: a feature may be split over `size` latents. Floor: the share that a
    random dictionary of the same size reaches for random features (one seeded draw, remembered).
    """
    value = float((span_cosines(features, W_dec, size) > threshold).double().mean())
    floor = _span_by_chance(len(features), *W_dec.shape, size, threshold)
    metric = f"span_recovery_{size}"
    return Score(metric, value, floor, 1.0, True, n=len(features), unit="feature", version="1")


@checked
def subspace_overlap(a: Float[Tensor, "d k_a"], b: Float[Tensor, "d_b k_b"]) -> Score:
    """Mean squared cosine of the principal angles between the column spans of `a` and `b`.

    The share of the smaller subspace that lies in the larger. Floor: the expectation for a random subspace
    of the same dimension, that of the larger over d. Columns need not be orthonormal, but independent.
    """
    require_width("b's columns", b.shape[0], a.shape[0], "a's columns")
    for name, columns in (("a", a), ("b", b)):
        require_finite(name, columns)
        if not columns.shape[1] or torch.linalg.matrix_rank(columns.double()) < columns.shape[1]:
            raise BadInputError(
                f"{name} of shape {list(columns.shape)} does not span {columns.shape[1]} dimensions: "
                "give independent columns"
            )
    qa, qb = (torch.linalg.qr(columns.double()).Q for columns in (a, b.to(a.device)))
    smaller, larger = sorted((a.shape[1], b.shape[1]))
    value = float((qa.T @ qb).square().sum()) / smaller
    floor = larger / a.shape[0]
    return Score(
        "subspace_overlap", min(value, 1.0), floor, 1.0, True, n=smaller, unit="dimension", version="1"
    )


def leading_directions(moment: Float[Tensor, "d d_b"], size: int) -> Float[Tensor, "d size"]:
    """The `size` eigenvectors of a symmetric matrix with the largest eigenvalues, as columns, in float64."""
    found: Tensor = torch.linalg.eigh(moment.double().cpu()).eigenvectors[:, -size:]
    return found


def written_moment(
    W_dec: Float[Tensor, "d_sae d_in"], mean_square: Float[Tensor, " d_sae"]
) -> Float[Tensor, "d_in d_in"]:
    """Second moment of what latents write, each by itself: their directions times their mean squares."""
    rows = W_dec.double().cpu()
    moment: Tensor = rows.T @ (mean_square[:, None] * rows)
    return moment


def _axes(unit: Float[Tensor, "n d"]) -> Float[Tensor, "axes d"]:
    """One of each antipodal pair: a direction is dropped when an earlier one kept points the other way."""
    opposite = unit @ unit.T < -ANTIPODAL
    keep = torch.ones(len(unit), dtype=torch.bool, device=unit.device)
    for i in opposite.any(1).nonzero().flatten().tolist():
        if keep[i]:
            keep[i + 1 :] &= ~opposite[i, i + 1 :]
    kept: Tensor = unit[keep]
    return kept


@lru_cache(maxsize=64)
def _span_by_chance(n_features: int, d_sae: int, d_in: int, size: int, threshold: float) -> float:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n_features, d_in, generator=generator)
    W_dec = torch.randn(d_sae, d_in, generator=generator)
    return float((span_cosines(features, W_dec, size) > threshold).double().mean())
