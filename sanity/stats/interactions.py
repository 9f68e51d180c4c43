"""Does the gap between two arms differ by layer, L0 or width?

A test per level that succeeds at one level and fails at another does not show a difference between the
levels. Here the paired difference of each seed is compared *between* levels, seeds again being the unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from sanity.errors import BadInputError
from sanity.stats.intervals import Interval, t_interval, t_test
from sanity.stats.pairing import constant, vector


@dataclass(frozen=True)
class Interaction:
    """Whether a gap changes with a factor.

    Attributes
    ----------
    p_value
        That the gap is the same at every level: repeated-measures F with the lower-bound correction of its
        degrees of freedom (1, n - 1), which needs no sphericity and is conservative for three levels or
        more; for two levels it is the paired t-test.
    slope, slope_interval, slope_p
        Change of the gap per unit of a numeric factor: the mean of the seeds' own regression slopes, with
        its t-interval and test. None where the levels are names.
    """

    n_seeds: int
    p_value: float
    slope: float | None = None
    slope_interval: Interval | None = None
    slope_p: float | None = None


def interaction(
    differences: pd.DataFrame, *, numeric: bool = False, log: bool = False, confidence: float = 0.95
) -> Interaction:
    """Test whether the paired difference depends on the level of a factor.

    Parameters
    ----------
    differences
        One row per seed, one column per level (layer, L0 or width): judged arm minus baseline.
    numeric
        Whether the columns' names are numbers, so that a slope makes sense.
    log
        Take the slope per doubling instead of per unit (levels must be above zero).
    """
    n_seeds, n_levels = differences.shape
    if n_seeds < 2 or n_levels < 2:
        raise BadInputError(
            f"an interaction needs at least 2 seeds at 2 levels, not {n_seeds} seeds at {n_levels} levels"
        )
    for level in differences.columns:
        vector(differences[level], what=f"the differences at {level}")
    p_value = _same_everywhere(differences)
    if not numeric:
        return Interaction(n_seeds, p_value)
    position = vector(np.asarray(differences.columns, dtype=np.float64), what="the levels")
    if log:
        if position.min() <= 0:
            raise BadInputError(f"a slope per doubling needs levels above 0, not {position.min()}")
        position = np.log2(position)
    centred = position - position.mean()
    slopes = differences.to_numpy(dtype=np.float64) @ centred / (centred @ centred)
    return Interaction(
        n_seeds,
        p_value,
        float(slopes.mean()),
        t_interval(slopes, confidence=confidence),
        t_test(slopes),
    )


def _same_everywhere(differences: pd.DataFrame) -> float:
    """The F-test of `Interaction.p_value`."""
    table = differences.to_numpy(dtype=np.float64)
    steps = table - table[:, :1]
    if all(constant(column) for column in steps.T):
        # no noise between the levels: they differ or they do not
        return 1.0 if constant(table.mean(0)) else 0.0
    named = differences.rename_axis(index="seed", columns="level")
    rows = named.reset_index().melt(id_vars="seed", value_name="gap")
    ratio = float(AnovaRM(rows, "gap", "seed", within=["level"]).fit().anova_table["F Value"].iloc[0])
    return float(stats.f.sf(ratio, 1, len(table) - 1))
