"""Random directions: against known values, closed forms, high-precision arithmetic and simulation."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sanity.errors import BadInputError
from sanity.evals import expected_max_cosine, log_any_above, reachable_cosine
from sanity.evals.sphere import log_cap_probability, log_cone_bound


def log_cap_by_mpmath(d: int, cosine: float) -> float:
    with mpmath.workdps(40):
        z = 1 - mpmath.mpf(cosine) ** 2
        cap = mpmath.betainc(mpmath.mpf(d - 1) / 2, mpmath.mpf(1) / 2, 0, z, regularized=True) / 2
        return float(mpmath.log(cap if cosine >= 0 else 1 - cap))


def simulated_max_cosines(d: int, m: int, repeats: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(d + m)
    # The first coordinate of a random unit vector is its cosine to the first axis.
    return torch.stack(
        [(v[:, 0] / v.norm(dim=1)).max() for v in (torch.randn(m, d, generator=g) for _ in range(repeats))]
    )


@pytest.mark.parametrize(
    ("d", "m", "known"),
    [(100, 3200, 0.347), (768, 16_384, 0.143), (2304, 73_728, 0.090), (4096, 131_072, 0.069)],
)
def test_largest_cosine_has_its_known_expectations(d: int, m: int, known: float) -> None:
    assert expected_max_cosine(d, m) == pytest.approx(known, abs=5e-4)


@pytest.mark.parametrize(("d", "m"), [(3, 1), (3, 4), (3, 1000)])
def test_in_three_dimensions_cosines_are_uniform(d: int, m: int) -> None:
    assert expected_max_cosine(d, m) == pytest.approx((m - 1) / (m + 1), abs=1e-12)
    assert math.exp(log_any_above(d, m, 0.5)) == pytest.approx(1 - 0.75**m, abs=1e-12)


@pytest.mark.parametrize(("d", "m", "repeats"), [(2, 3, 4000), (10, 50, 2000), (100, 400, 400)])
def test_nulls_agree_with_simulation(d: int, m: int, repeats: int) -> None:
    cosines = simulated_max_cosines(d, m, repeats)
    error = float(cosines.std()) / math.sqrt(repeats)
    assert abs(float(cosines.mean()) - expected_max_cosine(d, m)) < 4 * error
    tau = 0.8
    reached = (cosines.clamp(max=1).acos() - math.acos(tau)).clamp(min=0).cos()
    assert (
        abs(float(reached.mean()) - reachable_cosine(d, m, tau))
        < 4 * float(reached.std()) / math.sqrt(repeats) + 1e-6
    )
    for q in (0.1, 0.5, 0.9):
        above = math.exp(log_any_above(d, m, float(cosines.quantile(q))))
        assert abs(1 - above - q) < 4 * math.sqrt(q * (1 - q) / repeats)


@pytest.mark.parametrize(
    ("d", "cosine"),
    [(3, 0.5), (100, 0.8), (100, -0.3), (2304, 0.8), (4096, 0.05), (4096, 0.99), (10, 1 - 1e-9), (50, 0.0)],
)
def test_caps_agree_with_forty_digit_arithmetic(d: int, cosine: float) -> None:
    assert log_cap_probability(d, cosine) == pytest.approx(log_cap_by_mpmath(d, cosine), rel=1e-9)


@given(d=st.integers(2, 5000), m=st.integers(1, 200_000), tau=st.floats(-1, 1))
def test_cones_reach_further_when_wider_or_more(d: int, m: int, tau: float) -> None:
    chance, reached = expected_max_cosine(d, m), reachable_cosine(d, m, tau)
    assert -1e-9 <= chance <= reached + 1e-9
    assert reached <= 1 + 1e-9
    assert reachable_cosine(d, 2 * m, tau) >= reached - 1e-9
    assert reachable_cosine(d, m, -1.0) == pytest.approx(1.0)


@given(d=st.integers(2, 5000), m=st.integers(1, 200_000), cosine=st.floats(-1, 1))
def test_probabilities_keep_their_order(d: int, m: int, cosine: float) -> None:
    one, any_of_m = log_cap_probability(d, cosine), log_any_above(d, m, cosine)
    assert one - 1e-9 <= any_of_m <= min(0.0, one + math.log(m)) + 1e-9
    if cosine > 0:
        assert any_of_m <= log_cone_bound(d, m, cosine) + 1e-9


def test_the_papers_numbers_about_cones() -> None:
    # Below what a float holds: about 4.7e-316 in total, and far less exactly.
    assert log_cone_bound(2304, 73_728, 0.8) / math.log(10) == pytest.approx(math.log10(4.7) - 316, abs=0.01)
    assert log_any_above(2304, 73_728, 0.8) / math.log(10) < -500
    assert log_cap_probability(100, 1.0) == -math.inf
    assert reachable_cosine(2304, 73_728, 0.8) == pytest.approx(0.67, abs=0.005)
    assert reachable_cosine(100, 3200, 0.8) == pytest.approx(0.84, abs=0.005)
    # A cone turned towards an orthogonal direction comes to within sin(arccos 0.8) = 0.6 of it.
    assert reachable_cosine(10**6, 1, 0.8) == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: expected_max_cosine(1, 5), "1 dimensions"),
        (lambda: expected_max_cosine(5, 0), "0 random directions"),
        (lambda: reachable_cosine(5, 5, 1.5), "cosine 1.5"),
        (lambda: log_cap_probability(5, math.nan), "cosine.nan"),
    ],
)
def test_impossible_nulls_are_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(BadInputError, match=words):
        call()
