"""Intervals and tests for a handful of paired differences, and for the units nested inside a seed.

Over seeds the t-interval is primary. The sign-flip test needs no normality but is coarse: with n seeds its
smallest two-sided p is 2^(1-n), 0.0625 at five. There is no bootstrap over seeds: over 3 to 5 of them BCa
covers 71 to 84 % where 95 % is claimed.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import special, stats

from sanity.errors import BadInputError
from sanity.stats.pairing import ROUNDING, Numbers, constant, identical, vector

# 2^13 sign patterns take a tenth of a second; with more seeds, draws: a p-value that is valid all the same.
EXACT_SEEDS = 13


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def t_interval(differences: Numbers, *, confidence: float = 0.95) -> Interval:
    """Student's interval for the mean difference; the single number itself where all differences are equal.

    Parameters
    ----------
    differences : shape [seeds]
        Paired differences, at least two.
    """
    values = vector(differences, what="the differences", for_test="an interval over seeds")
    if not 0 < confidence < 1:
        raise BadInputError(f"confidence must lie between 0 and 1, not {confidence}")
    mean = float(values.mean())
    if constant(values):
        return Interval(mean, mean)
    half = float(special.stdtrit(values.size - 1, (1 + confidence) / 2)) * _standard_error(values)
    return Interval(mean - half, mean + half)


def t_test(differences: Numbers, *, bound: float = 0.0, alternative: str = "two-sided") -> float:
    """p-value of the paired t-test that the mean difference is `bound`.

    `alternative` is "two-sided", "greater" or "less". Where all differences are one number the noise is
    zero and the p-value is 0 or 1 (two-sided and equal to `bound`: 1).
    """
    values = vector(differences, what="the differences", for_test="a t-test over seeds")
    if constant(values):
        excess = float(values.mean()) - bound
        above, below = excess > ROUNDING, excess < -ROUNDING
        holds = {"two-sided": above or below, "greater": above, "less": below}[alternative]
        return 0.0 if holds else 1.0
    t = (float(values.mean()) - bound) / _standard_error(values)
    tails = {"two-sided": (-abs(t), 2), "greater": (-t, 1), "less": (t, 1)}
    tail, sides = tails[alternative]
    return sides * float(special.stdtr(values.size - 1, tail))


def _standard_error(values: Float[np.ndarray, " seeds"]) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(values.size)


def sign_flip(differences: Numbers, *, draws: int = 9_999, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip permutation test: at most nominal where differences are symmetric.

    All 2^n sign patterns up to 13 seeds, `draws` random ones beyond (with the observed one counted).
    One seed, or differences that are all zero, give 1.
    """
    values = vector(differences, what="the differences")
    if values.size < 2 or identical(values):
        return 1.0
    return _sign_flip(tuple(values.tolist()), draws, seed)


@functools.lru_cache(maxsize=4096)  # a verdict at sixty margins has one
def _sign_flip(numbers: tuple[float, ...], draws: int, seed: int) -> float:
    values = np.asarray(numbers)
    resamples = 2**values.size if values.size <= EXACT_SEEDS else draws
    test = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=resamples, vectorized=True, rng=seed
    )
    return float(test.pvalue)


def hierarchical_bootstrap(
    rows: pd.DataFrame,
    *,
    levels: tuple[str, ...] = ("seed", "dataset", "latent"),
    value: str = "value",
    confidence: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over nested units, every level redrawn with replacement.

    The mean is that of seeds, each being the mean of its data sets, each the mean of its latents, so a data
    set with more latents does not weigh more. With fewer than about ten seeds a percentile interval is too
    narrow: the t-interval over the seeds' means stays the primary one.

    Parameters
    ----------
    rows
        One row per unit: the columns of `levels`, outermost first, and `value` (a paired difference).
    levels
        Any number of nested levels; the last one is the unit measured.
    """
    missing = [name for name in (*levels, value) if name not in rows.columns]
    if missing:
        raise BadInputError(
            f"the rows lack the columns: {', '.join(missing)}; they have {list(rows.columns)}"
        )
    if rows[levels[0]].nunique() < 2:
        raise BadInputError(f"a bootstrap over {levels[0]} needs at least 2 of them: run more")
    vector(rows[value], what=f"the column {value}")
    means = _draw(rows, levels, value, draws, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _draw(
    rows: pd.DataFrame, levels: tuple[str, ...], value: str, count: int, rng: np.random.Generator
) -> Float[np.ndarray, " count"]:
    """`count` independent bootstrap means of one node of the tree of units."""
    if len(levels) == 1:
        units = rows[value].to_numpy(dtype=np.float64)
        # in blocks, so that thousands of latents times thousands of draws stay small in memory
        blocks = np.array_split(np.arange(count), max(1, count * units.size // 4_000_000))
        return np.concatenate(
            [units[rng.integers(units.size, size=(b.size, units.size))].mean(1) for b in blocks]
        )
    children = [child for _, child in rows.groupby(levels[0], sort=True)]
    picks = rng.integers(len(children), size=(count, len(children)))
    drawn = np.empty(picks.shape)
    for index, child in enumerate(children):
        chosen = picks == index
        drawn[chosen] = _draw(child, levels[1:], value, int(chosen.sum()), rng)
    means: np.ndarray = drawn.mean(1)
    return means
