"""Equivalence: the two one-sided tests against a margin, and the verdict as a function of that margin."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
from statsmodels.stats.weightstats import DescrStatsW

from sanity.errors import BadInputError
from sanity.stats.intervals import t_interval, t_test
from sanity.stats.pairing import Numbers, constant, vector


def check_margin(margin: float) -> float:
    """`margin` if it can judge anything: a finite number, zero or above."""
    if not math.isfinite(margin) or margin < 0:
        raise BadInputError(
            f"the margin is {margin}: it must be a finite number of at least 0, in the metric's units"
        )
    return margin


def tost(differences: Numbers, *, margin: float) -> float:
    """p-value of TOST: small where the mean difference lies inside (-margin, margin).

    This is statsmodels' `ttost_mean` on the differences (what `ttost_paired` calls). With a margin of zero
    nothing lies inside, so the p-value is 1. Where all differences are one number TOST is undefined; the
    rule is 0 inside the margin and 1 outside.

    Parameters
    ----------
    differences : shape [seeds]
        Paired differences, at least two.
    margin
        In the metric's units, fixed before the scores were seen.
    """
    check_margin(margin)
    return tost_between(differences, low=-margin, high=margin)


def tost_between(values: Numbers, *, low: float, high: float) -> float:
    """p-value of TOST that the mean lies between `low` and `high`, either of which may be infinite."""
    numbers = vector(values, what="the values", for_test="an equivalence test")
    if low >= high:
        return 1.0
    if constant(numbers) or math.isinf(low) or math.isinf(high):
        above = 0.0 if math.isinf(low) else t_test(numbers, bound=low, alternative="greater")
        below = 0.0 if math.isinf(high) else t_test(numbers, bound=high, alternative="less")
        return max(above, below)
    p_value, _, _ = DescrStatsW(numbers).ttost_mean(low, high)
    return float(p_value)


def equivalence_curve(differences: Numbers, *, margins: Iterable[float], alpha: float = 0.05) -> pd.DataFrame:
    """For every margin, whether the arms would be called equivalent: what a sceptic with another margin sees.

    Returns one row per margin: `margin`, `p_equivalence`, `equivalent`, and `smallest_margin`, the same in
    every row: the largest absolute limit of the (1 - 2 alpha) interval, below which equivalence fails.
    """
    low, high = t_interval(differences, confidence=1 - 2 * alpha)
    smallest = max(abs(low), abs(high))
    rows = []
    for margin in margins:
        p_value = tost(differences, margin=float(margin))
        rows.append((float(margin), p_value, p_value < alpha, smallest))
    return pd.DataFrame(rows, columns=["margin", "p_equivalence", "equivalent", "smallest_margin"])
