"""Exact laws of random directions: what chance alone gives for a cosine, a largest cosine, a cone.

In R^d the angle theta between a fixed and a uniformly random unit vector has P(angle < theta) =
I_{sin^2(theta/2)}((d-1)/2, (d-1)/2), the regularised incomplete beta function. Caps of practical interest
are far below what a float can hold (10^-513 for d = 2304 and cosine 0.8), so everything here is in logs.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betaln

from sanity.engine.arguments import checked
from sanity.errors import BadInputError

# Below this, logs are taken of the series and not of the sum, which would underflow.
_SMALL = 1e-280
# Where the survival function of the smallest of m angles is 1, and 0, to more digits than a float has.
_LOG_NEVER, _LOG_ALWAYS = math.log(1e-18), -50.0

Array = NDArray[np.float64]


@checked
def log_cap_probability(d: int, cosine: float) -> float:
    """log P(a random unit vector in R^d has at least this cosine to a fixed one).

    >>> round(math.exp(log_cap_probability(3, 0.5)), 6)  # Archimedes: (1 - 0.5) / 2
    0.25
    >>> round(log_cap_probability(2304, 0.8) / math.log(10), 1)
    -512.9
    """
    _check(d, 1)
    return float(_log_cap(d, np.array([math.acos(_cosine(cosine))]))[0])


@checked
def log_cone_bound(d: int, m: int, tau: float) -> float:
    """log of the paper's bound m exp(-d tau^2 / 2) on P(some of m cones contains a given direction).

    The exact probability for one cone is `log_cap_probability`; this bound is much larger, and neither says
    how near to a direction the cones come: that is `reachable_cosine` (Appendix D of the paper).
    """
    _check(d, m)
    return math.log(m) - d * _cosine(tau) ** 2 / 2


@checked
def log_any_above(d: int, m: int, cosine: float) -> float:
    """log P(the largest of m cosines to random unit vectors in R^d is at least `cosine`)."""
    _check(d, m)
    survival = m * float(_log_survival(d, np.array([math.acos(_cosine(cosine))]))[0])
    if survival > -1e-12:  # 1 - exp(survival) is m P(cap) to all digits
        return math.log(m) + log_cap_probability(d, cosine)
    return math.log(-math.expm1(survival))


@checked
def expected_max_cosine(d: int, m: int) -> float:
    """Expected largest cosine of a fixed unit vector in R^d to m random ones: the isotropic null.

    Exact up to about 1e-12, by numerical integration over the smallest angle.

    >>> round(expected_max_cosine(100, 3200), 3)
    0.347
    """
    return reachable_cosine(d, m, 1.0)


@lru_cache(maxsize=4096)
def reachable_cosine(d: int, m: int, tau: float) -> float:
    """Expected best cosine to any given direction within m cones of cosine `tau` about random anchors.

    A latent that must keep cosine `tau` to its anchor can turn by arccos(tau) towards the direction. With
    tau = 1 nothing turns (`expected_max_cosine`); with tau = -1 everything is reached.

    >>> round(reachable_cosine(100, 3200, 0.8), 2), round(reachable_cosine(2304, 73_728, 0.8), 2)
    (0.84, 0.67)
    """
    _check(d, m)
    turn = math.acos(_cosine(tau))
    low, high = _smallest_angle_range(d, m)
    start = max(low, turn)
    if start >= high:
        return 1.0
    # E g(angle) = g(start) + integral of g' times the survival function, for g(angle) = cos(angle - turn).
    nodes, weights = _quadrature()
    angles = start + (high - start) * (nodes + 1) / 2
    survival = np.exp(m * _log_survival(d, angles))
    integral = float(weights @ (survival * np.sin(angles - turn))) * (high - start) / 2
    return math.cos(start - turn) - integral


@cache
def _quadrature() -> tuple[Array, Array]:
    """Nodes and weights for integrals over [-1, 1]; not made where the module is only loaded."""
    return np.polynomial.legendre.leggauss(400)


def _smallest_angle_range(d: int, m: int) -> tuple[float, float]:
    """Angles between which the smallest of m random angles lies, but for a probability below 1e-17."""
    ends = 1e-12, math.pi - 1e-12

    def bracketed(log_probability: float, *, above: bool) -> float:
        def excess(angle: float) -> float:
            law = _log_survival if above else _log_cap
            return float(law(d, np.array([angle]))[0]) - log_probability

        inside = excess(ends[0]) * excess(ends[1]) < 0
        return float(brentq(excess, *ends, xtol=1e-14)) if inside else ends[int(above)]

    return bracketed(_LOG_NEVER - math.log(m), above=False), bracketed(_LOG_ALWAYS / m, above=True)


def _log_survival(d: int, angles: Array) -> Array:
    """log P(angle > `angles`): the cap of the opposite pole."""
    return _log_cap(d, math.pi - angles)


def _log_cap(d: int, angles: Array) -> Array:
    """log P(angle < `angles`), precise near 0 (tiny caps) and near pi (all but a tiny cap)."""
    a = (d - 1) / 2
    near, far = betainc(a, a, np.sin(angles / 2) ** 2), betainc(a, a, np.cos(angles / 2) ** 2)
    with np.errstate(divide="ignore"):
        out: Array = np.where(near < 0.5, np.log(near), np.log1p(-np.minimum(far, 0.5)))
    for k in np.flatnonzero(near < _SMALL):
        out[k] = _log_small_cap(a, math.sin(float(angles[k])))
    return out


def _log_small_cap(a: float, sine: float) -> float:
    """log of I_z(a, 1/2) / 2, z = sine^2, by the series of positive terms of the hypergeometric function."""
    if sine == 0.0:
        return -math.inf
    z = sine * sine
    terms = max(2, math.ceil(40 / -math.log(z)))
    n = np.arange(terms)
    series = 1.0 + float(np.cumprod((a + 0.5 + n) / (a + 1 + n) * z).sum())
    lead = a * math.log(z) + 0.5 * math.log1p(-z) - math.log(a) - float(betaln(a, 0.5))
    return lead + math.log(series) - math.log(2)


def _check(d: int, m: int) -> None:
    if d < 2 or m < 1:
        raise BadInputError(
            f"a null of {m} random directions in {d} dimensions was asked for: it needs m >= 1 and d >= 2"
        )


def _cosine(value: float) -> float:
    if not -1 <= value <= 1:
        raise BadInputError(f"the cosine {value} was given: cosines lie between -1 and 1")
    return value
