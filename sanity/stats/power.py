"""How much a number of seeds can see: power, smallest visible difference, and seeds for a wanted margin.

Everything is in the units of the metric, with `sd` the standard deviation *of the paired differences*.
Both powers are exact up to quadrature: given the sample SD, the mean must fall inside (TOST) or outside
(t-test) an interval whose probability is normal, and that is integrated over the chi distribution of the SD.
scipy and statsmodels have no power for TOST. Their noncentral t is NaN for the large effects that few seeds
need (`TTestPower.solve_power` then answers wrongly, without a word); where it is a number, the tests compare
ours with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import integrate, optimize, stats

from sanity.errors import BadInputError

MOST_SEEDS = 100_000


def difference_power(n_seeds: int, *, difference: float, sd: float, alpha: float = 0.05) -> float:
    """Probability that the two-sided paired t-test sees a true `difference`."""
    _check(n_seeds=n_seeds, sd=sd, alpha=alpha)
    shift = difference / sd * math.sqrt(n_seeds)
    quantile = float(stats.t.ppf(1 - alpha / 2, n_seeds - 1))

    def outside(spread: float) -> float:
        return float(stats.norm.sf(quantile * spread - shift) + stats.norm.cdf(-quantile * spread - shift))

    return _over_spread(outside, n_seeds, math.inf)


def minimum_detectable_difference(
    n_seeds: int, *, sd: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest true difference that the two-sided paired t-test sees with probability `power`."""
    _check(n_seeds=n_seeds, sd=sd, alpha=alpha, power=power)

    def shortfall(effect: float) -> float:
        return difference_power(n_seeds, difference=effect, sd=1.0, alpha=alpha) - power

    return sd * _root(shortfall)


def equivalence_power(
    n_seeds: int, *, margin: float, sd: float, difference: float = 0.0, alpha: float = 0.05
) -> float:
    """Probability that TOST calls arms equivalent whose true difference is `difference`."""
    _check(n_seeds=n_seeds, sd=sd, alpha=alpha)
    reach, shift = margin / sd * math.sqrt(n_seeds), difference / sd * math.sqrt(n_seeds)
    quantile = float(stats.t.ppf(1 - alpha, n_seeds - 1))

    def inside(spread: float) -> float:
        room = reach - quantile * spread
        return float(stats.norm.cdf(room - shift) - stats.norm.cdf(-room - shift))

    return _over_spread(inside, n_seeds, reach / quantile)


def minimum_margin(
    n_seeds: int, *, sd: float, difference: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest margin against which TOST succeeds with probability `power`."""
    _check(n_seeds=n_seeds, sd=sd, alpha=alpha, power=power)

    def shortfall(margin: float) -> float:
        return (
            equivalence_power(n_seeds, margin=margin, sd=1.0, difference=difference / sd, alpha=alpha) - power
        )

    return sd * _root(shortfall)


def seeds_for_margin(
    margin: float, *, sd: float, difference: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> int:
    """The fewest seeds with which TOST against `margin` succeeds with probability `power`.

    >>> seeds_for_margin(1.0, sd=1.0), seeds_for_margin(2.0, sd=1.0, power=0.95)
    (11, 6)
    """
    if margin <= abs(difference):
        raise BadInputError(
            f"no number of seeds shows a true difference of {difference} to lie within a margin of {margin}"
        )
    _check(sd=sd, alpha=alpha, power=power)
    return _fewest(
        lambda n: equivalence_power(n, margin=margin, sd=sd, difference=difference, alpha=alpha), power
    )


def sd_upper_limit(sd: float, *, n_seeds: int, confidence: float = 0.8) -> float:
    """One-sided upper confidence limit of a standard deviation estimated from `n_seeds` differences.

    Seeds planned on the estimate itself are too few about half of the time; on this limit, with the chance
    1 - `confidence` only (Browne 1995, who proposes 0.8).
    """
    _check(n_seeds=n_seeds, sd=sd, alpha=0.05)
    if not 0 < confidence < 1:
        raise BadInputError(f"confidence must lie between 0 and 1, not {confidence}")
    df = n_seeds - 1
    return sd * math.sqrt(df / float(stats.chi2.ppf(1 - confidence, df)))


def _over_spread(chance: Callable[[float], float], n_seeds: int, largest: float) -> float:
    """`chance` averaged over the sample SD (in units of `sd`) up to `largest`."""
    df = n_seeds - 1
    scale = math.sqrt(df)
    # the SD's density is all within these limits; between wider ones the quadrature may step over it
    low, high = (stats.chi.ppf([1e-12, 1 - 1e-12], df) / scale).tolist()
    if largest <= low:
        return 0.0
    value, _ = integrate.quad(
        lambda spread: chance(spread) * float(stats.chi.pdf(spread * scale, df)) * scale,
        low,
        min(largest, high),
        limit=200,
    )
    return float(np.clip(value, 0.0, 1.0))


def _root(shortfall: Callable[[float], float]) -> float:
    """Where an increasing function of an effect in SDs crosses zero."""
    high = 1.0
    while shortfall(high) < 0:
        high *= 2
    return float(optimize.brentq(shortfall, 1e-9, high, xtol=1e-6))


def _fewest(reached: Callable[[int], float], power: float) -> int:
    """The smallest number of seeds from 2 with at least `power`, by doubling and halving."""
    high = 2
    while reached(high) < power:
        high *= 2
        if high > MOST_SEEDS:
            raise BadInputError(f"more than {MOST_SEEDS} seeds are needed: ask for a larger margin")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def _check(*, sd: float, alpha: float, n_seeds: int = 2, power: float = 0.5) -> None:
    if n_seeds < 2:
        raise BadInputError(f"power over seeds needs at least 2 seeds, not {n_seeds}")
    if not (math.isfinite(sd) and sd > 0):
        raise BadInputError(f"the SD of the paired differences is {sd}: it must be a number above 0")
    if not 0 < alpha < 1 or not alpha < power < 1:
        raise BadInputError(f"wanted 0 < alpha < power < 1, not alpha {alpha} and power {power}")
