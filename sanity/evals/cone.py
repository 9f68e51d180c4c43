"""What the cones of a soft-frozen decoder leave free: who ends on the edge, and what can be reached.

The paper bounds the probability that some cone *contains* a given direction (Appendix D). A latent need not
contain it to serve it: one that must keep cosine tau to its anchor can turn by arccos(tau) towards any
direction. The exact laws of that are in `sanity.evals.sphere`; here they are simulated, applied to given
anchors, and turned into a ceiling on recovery.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.alignment import row_cosines
from sanity.evals.feature_recovery import max_cosines
from sanity.evals.score import Score
from sanity.evals.sphere import log_any_above

EDGE = 1e-4
"""How near to tau a cosine counts as on the edge: projections leave it there to about 1e-7."""

# Cosines simulated at a time.
_CHUNK = 4_000_000


@checked
def share_on_edge(W: Float[Tensor, "d_sae d_in"], W0: Float[Tensor, "m d_0"], tau: float) -> Score:
    """Share of the latents whose cosine to their anchor is tau: those that the constraint holds back.

    With tau = -1 there is no edge, and the share is 0. Floor: nothing is held back. Ceiling: everything is.
    """
    _check_cosine(tau)
    cosines = row_cosines(W, W0, names=("W", "W0"))
    held = (cosines <= tau + EDGE) if tau > -1 else torch.zeros_like(cosines, dtype=torch.bool)
    value = float(held.double().mean())
    return Score("share_on_edge", value, 0.0, 1.0, True, n=len(cosines), unit="latent", version="1")


@checked
def reach(cosines: Float[Tensor, " n"], tau: float) -> Float[Tensor, " n"]:
    """Largest cosine to a direction within the cone of an anchor that has `cosines` to that direction.

    >>> reach(torch.tensor([0.9, 0.0]), 0.8).round(decimals=2).tolist()  # inside the cone; orthogonal
    [1.0, 0.6]
    """
    _check_cosine(tau)
    turn = math.acos(tau)
    return (cosines.double().clamp(-1, 1).arccos() - turn).clamp_min(0.0).cos()


@checked
def reach_of_anchors(
    features: Float[Tensor, "n_features d_in"], W0: Float[Tensor, "d_sae d_0"], tau: float
) -> Float[Tensor, " n_features"]:
    """For each feature the best cosine within the cones about the anchors `W0`.

    The nearest anchor reaches furthest, since all cones are equally wide. It is what one feature by itself
    could have: one latent cannot serve two features at once.
    """
    return reach(max_cosines(features, W0), tau)


@checked
def log_reachable(d: int, m: int, tau: float, bar: float) -> float:
    """log P(the best of m random cones of cosine `tau` reaches cosine `bar` to a given direction).

    As a share of many random features it is a ceiling on their recovery at that bar (0.8 in the paper).

    >>> round(math.exp(log_reachable(100, 3200, 0.8, 0.8)), 3)
    0.999
    """
    for cosine in (tau, bar):
        _check_cosine(cosine)
    angle = math.acos(tau) + math.acos(bar)
    return log_any_above(d, m, math.cos(angle)) if angle < math.pi else 0.0


@checked
def simulated_nearest(d: int, m: int, *, draws: int, seed: int) -> NDArray[np.float64]:
    """Largest cosine of a fixed direction to m random ones, `draws` times: [draws].

    Exact at any size: the cosine of a random direction to a fixed one is g / sqrt(g^2 + c) with g normal and
    c chi-squared with d - 1 degrees of freedom, so that no vector has to be drawn.
    """
    if d < 2 or m < 1 or draws < 1:
        raise BadInputError(
            f"d={d}, m={m} and draws={draws} were asked for: at least 2 dimensions, 1 direction, 1 draw"
        )
    generator = np.random.default_rng([seed, d, m])
    best = np.full(draws, -1.0)
    rows = max(1, min(draws, _CHUNK // m))
    for first in range(0, draws, rows):
        shape = (min(rows, draws - first), m)
        along = generator.standard_normal(shape)
        across = 2.0 * generator.standard_gamma((d - 1) / 2, shape)
        best[first : first + shape[0]] = (along / np.sqrt(along**2 + across)).max(1)
    return best


def _check_cosine(value: float) -> None:
    if not -1 <= value <= 1:
        raise BadInputError(f"a cone of cosine {value} was asked for: cosines lie between -1 and 1")
