"""Several comparisons at once: Holm's correction, and the best of several baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from sanity.errors import BadInputError
from sanity.stats.intervals import EXACT_SEEDS, Interval, t_interval, t_test
from sanity.stats.pairing import vector


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm-adjusted p-values: any of them below alpha may be called a difference.

    >>> holm({"ev": 0.01, "probing": 0.04})
    {'ev': 0.02, 'probing': 0.04}
    """
    for name, p_value in p_values.items():
        if not 0 <= p_value <= 1:
            raise BadInputError(f"the p-value of {name} is {p_value}: it must lie between 0 and 1")
    adjusted = multipletests(list(p_values.values()), method="holm")[1] if p_values else []
    return dict(zip(p_values, map(float, adjusted), strict=True))


@dataclass(frozen=True)
class LeadOverBest:
    """The judged arm against the best of several baselines.

    Attributes
    ----------
    best
        The baseline that came nearest to (or furthest above) the judged arm.
    gap
        Judged arm minus that baseline: the smallest mean difference.
    optimism
        By how much that gap would shrink by noise alone if all baselines were equal: what taking the best
        of several buys a baseline for nothing.
    interval
        For the gap to the truly best baseline. Its upper limit is corrected for the choice
        (Bonferroni over the baselines), its lower limit needs no correction.
    tight
        The same at confidence 1 - 2 alpha, against which a margin is held.
    p_better, p_worse
        One-sided p-values that the judged arm is better than every baseline (intersection-union), and that
        at least one baseline is better (Bonferroni).
    p_sign_flip
        Max-statistic sign-flip p-value (Westfall and Young) that at least one baseline differs.
    """

    best: str
    gap: float
    optimism: float
    interval: Interval
    tight: Interval
    p_better: float
    p_worse: float
    p_sign_flip: float

    def p_equivalence(self, differences: pd.DataFrame, margin: float) -> float:
        """p-value that the best baseline lies within `margin` of the judged arm.

        None may be better by the margin (intersection-union), and at least one must not be worse by it
        (Bonferroni).
        """
        columns = [differences[name].to_numpy(dtype=np.float64) for name in differences.columns]
        none_better = max(t_test(column, bound=-margin, alternative="greater") for column in columns)
        one_near = min(t_test(column, bound=margin, alternative="less") for column in columns)
        return max(none_better, min(1.0, len(columns) * one_near))


def best_of(
    differences: pd.DataFrame, *, alpha: float = 0.05, draws: int = 9_999, seed: int = 0
) -> LeadOverBest:
    """Compare the judged arm with the best of several baselines, corrected for having chosen it.

    Parameters
    ----------
    differences
        One row per seed, one column per baseline: judged arm minus baseline, positive where the judged arm
        is better.
    """
    if differences.shape[0] < 2 or differences.shape[1] < 1:
        raise BadInputError(
            f"wanted at least 2 seeds and 1 baseline, not a table of shape {differences.shape}"
        )
    columns = {str(name): vector(differences[name], what=f"differences to {name}") for name in differences}
    means = {name: float(column.mean()) for name, column in columns.items()}
    best = min(means, key=lambda name: means[name])
    several = len(columns)

    def limits(tail: float) -> Interval:
        low = min(t_interval(column, confidence=1 - 2 * tail).low for column in columns.values())
        high = min(t_interval(column, confidence=1 - 2 * tail / several).high for column in columns.values())
        return Interval(low, high)

    table = np.stack(list(columns.values()), axis=1)
    scale = np.sqrt(np.mean(np.square(table), axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    extreme = np.abs(_flipped_means(table, draws, seed) / scale).max(1)
    observed = max(abs(mean) / size for mean, size in zip(means.values(), scale, strict=True))
    centred = np.stack([column - column.mean() for column in columns.values()], axis=1)
    return LeadOverBest(
        best=best,
        gap=means[best],
        optimism=float(-_flipped_means(centred, draws, seed).min(1).mean()),
        interval=limits(alpha / 2),
        tight=limits(alpha),
        p_better=max(t_test(column, alternative="greater") for column in columns.values()),
        p_worse=min(1.0, several * min(t_test(column, alternative="less") for column in columns.values())),
        p_sign_flip=float((extreme >= observed * (1 - 1e-12)).mean()),
    )


def _flipped_means(
    columns: Float[np.ndarray, "seeds baselines"], draws: int, seed: int
) -> Float[np.ndarray, "flips baselines"]:
    """Means of all columns under the same sign flips of whole seeds: every pattern, or `draws` of them."""
    n_seeds = columns.shape[0]
    if n_seeds <= EXACT_SEEDS:
        patterns = (np.arange(2**n_seeds)[:, None] >> np.arange(n_seeds)) & 1
    else:
        patterns = np.random.default_rng(seed).integers(0, 2, size=(draws, n_seeds))
        patterns = np.vstack([np.zeros((1, n_seeds), dtype=patterns.dtype), patterns])
    return np.asarray((1 - 2 * patterns) @ columns / n_seeds)
