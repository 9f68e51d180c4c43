"""What cones allow: formula, simulation, and the projection itself must say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from sanity.baselines import project_to_cone
from sanity.errors import BadInputError
from sanity.evals import expected_max_cosine, log_any_above, reach_of_anchors, reachable_cosine
from sanity.evals.alignment import row_cosines
from sanity.evals.cone import log_reachable, reach, share_on_edge, simulated_nearest

TAUS = st.sampled_from([-1.0, -0.3, 0.0, 0.4, 0.8, 0.99, 1.0])


def directions(n: int, d: int, seed: int) -> torch.Tensor:
    gaussian = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.normalize(gaussian, dim=1)


@given(seed=st.integers(0, 2**31), d=st.integers(2, 30), tau=TAUS)
def test_the_reach_is_where_the_projection_ends(seed: int, d: int, tau: float) -> None:
    """A target projected into a cone is the cone's nearest point to it."""
    targets, anchors = directions(20, d, seed), directions(20, d, seed + 1)
    nearest = project_to_cone(targets, anchors, tau)
    expected = row_cosines(nearest, targets)
    assert torch.allclose(reach((targets * anchors).sum(1), tau), expected, atol=1e-6)
    best = reach_of_anchors(targets, anchors, tau)
    every = torch.stack([project_to_cone(targets, a.expand(20, d), tau) for a in anchors])
    assert torch.allclose(best, (every * targets).sum(2).amax(0), atol=1e-6)


@pytest.mark.parametrize(("d", "m"), [(3, 7), (40, 640), (2304, 5000)])
def test_simulation_follows_the_exact_law(d: int, m: int) -> None:
    found = simulated_nearest(d, m, draws=2000, seed=0)
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - expected_max_cosine(d, m)) < 4 * error
    for q in (0.1, 0.5, 0.9):
        above = math.exp(log_any_above(d, m, float(np.quantile(found, q))))
        assert abs(1 - above - q) < 4 * math.sqrt(q * (1 - q) / len(found))
    for tau in (0.8, 0.3):
        reached = reach(torch.from_numpy(found), tau)
        assert abs(float(reached.mean()) - reachable_cosine(d, m, tau)) < 4 * error
        bar = float(reached.quantile(0.7))
        share = 0.3 if bar < 1 else float((reached == 1).double().mean())
        assert math.exp(log_reachable(d, m, tau, bar)) == pytest.approx(share, abs=0.05)
    assert np.array_equal(found, simulated_nearest(d, m, draws=2000, seed=0))


def test_the_reach_of_true_vectors_follows_the_law_too() -> None:
    d, m, tau = 40, 640, 0.8
    found = reach_of_anchors(directions(500, d, 1), directions(m, d, 2), tau)
    assert float(found.mean()) == pytest.approx(reachable_cosine(d, m, tau), abs=0.005)
    assert float((found > 0.9).double().mean()) == pytest.approx(
        math.exp(log_reachable(d, m, tau, 0.9)), abs=0.07
    )


def test_ends_of_the_scale() -> None:
    assert log_reachable(50, 10, -1.0, 0.8) == 0.0
    assert log_reachable(50, 10, 0.0, -0.5) == 0.0
    assert math.exp(log_reachable(2, 1, 0.0, 0.0)) == pytest.approx(1.0, abs=1e-6)


@given(seed=st.integers(0, 2**31), tau=st.sampled_from([0.0, 0.4, 0.8]))
def test_who_is_projected_stands_on_the_edge(seed: int, tau: float) -> None:
    vectors, anchors = directions(60, 8, seed).float(), directions(60, 8, seed + 1).float()
    outside = float((row_cosines(vectors, anchors) < tau).double().mean())
    projected = project_to_cone(vectors, anchors, tau)
    assert float(share_on_edge(projected, anchors, tau)) == pytest.approx(outside, abs=1 / 60)
    assert float(share_on_edge(projected, anchors, -1.0)) == 0


def test_what_is_no_cone_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"cosine 1\.2"):
        share_on_edge(torch.eye(3), torch.eye(3), 1.2)
    with pytest.raises(BadInputError, match=r"cosine -2"):
        log_reachable(10, 10, 0.5, -2.0)
    with pytest.raises(BadInputError, match="at least 2 dimensions"):
        simulated_nearest(1, 10, draws=5, seed=0)
