"""Coverage and false-positive rates at the numbers of seeds that the book uses.

Every rate is held to its nominal level within three standard errors of the simulation itself.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sanity.stats import best_of, t_interval, verdict_best_of
from sanity.stats.equivalence import tost
from sanity.stats.intervals import sign_flip, t_test

SEEDS = (3, 5, 8, 20)
ROUNDS = 2000


def slack(rate: float, rounds: int = ROUNDS) -> float:
    return 3 * float(np.sqrt(rate * (1 - rate) / rounds))


def draws(n_seeds: int, rounds: int, *, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(100 + n_seeds).normal(mean, 1.0, size=(rounds, n_seeds))


@pytest.mark.parametrize("n_seeds", SEEDS)
def test_t_covers_and_errs_at_its_nominal_level(n_seeds: int) -> None:
    intervals = np.array([t_interval(row) for row in draws(n_seeds, ROUNDS, mean=0.4)])
    covered = ((intervals[:, 0] < 0.4) & (intervals[:, 1] > 0.4)).mean()
    assert covered == pytest.approx(0.95, abs=slack(0.95))
    errors = np.mean([t_test(row) < 0.05 for row in draws(n_seeds, ROUNDS)])
    assert errors == pytest.approx(0.05, abs=slack(0.05))


@pytest.mark.parametrize("n_seeds", SEEDS)
def test_sign_flip_errs_at_most_at_its_nominal_level(n_seeds: int) -> None:
    rounds = 1000
    errors = np.mean([sign_flip(row, draws=399) <= 0.05 for row in draws(n_seeds, rounds)])
    assert errors <= 0.05 + slack(0.05, rounds)
    if n_seeds <= 5:
        assert errors == 0.0


@pytest.mark.parametrize("n_seeds", SEEDS)
def test_tost_errs_at_most_at_alpha_on_the_edge_of_the_margin(n_seeds: int) -> None:
    margin = 2.0
    errors = np.mean([tost(row, margin=margin) < 0.05 for row in draws(n_seeds, ROUNDS, mean=margin)])
    assert errors <= 0.05 + slack(0.05)
    # with this margin the test is not idle: equal arms are found equal the more often, the more seeds
    found = np.mean([tost(row, margin=margin) < 0.05 for row in draws(n_seeds, 500)])
    assert found > {3: 0.5, 5: 0.9, 8: 0.99, 20: 0.999}[n_seeds]


def test_treating_latents_as_replicates_would_have_failed() -> None:
    """Same data, true difference zero: seeds as units err at 5 %, latents as units many times as often."""
    rng = np.random.default_rng(7)
    rounds, n_seeds, latents = 1000, 5, 200
    seeds = rng.normal(0, 0.2, size=(rounds, n_seeds, 1))
    scores = seeds + rng.normal(0, 1.0, size=(rounds, n_seeds, latents))
    over_latents = stats.ttest_1samp(scores.reshape(rounds, -1), 0.0, axis=1).pvalue
    over_seeds = np.array([t_test(row) for row in scores.mean(2)])
    assert (over_seeds < 0.05).mean() == pytest.approx(0.05, abs=slack(0.05, rounds))
    assert (over_latents < 0.05).mean() > 0.4


def test_the_best_of_five_equal_baselines_wins_too_often_unless_corrected() -> None:
    """Five baselines equal to the judged arm: uncorrected, one of them "wins" in far more than 2.5 %."""
    rng = np.random.default_rng(11)
    rounds, n_seeds = 200, 8
    names = [f"baseline {index}" for index in range(5)]
    plain, corrected, covered, optimism, gaps = [], [], [], [], []
    for _ in range(rounds):
        trained = rng.normal(size=(n_seeds, 1))
        table = pd.DataFrame(trained - rng.normal(size=(n_seeds, 5)), columns=names)
        plain.append(min(t_test(table[name], alternative="less") for name in names) < 0.025)
        found = best_of(table)
        corrected.append(found.p_worse < 0.025)
        covered.append(found.interval.low <= 0.0 <= found.interval.high)
        optimism.append(found.optimism)
        gaps.append(found.gap)
    assert np.mean(plain) > 0.06
    assert np.mean(corrected) <= 0.025 + slack(0.025, rounds)
    assert np.mean(covered) >= 0.95 - slack(0.95, rounds)
    assert np.mean(optimism) == pytest.approx(-np.mean(gaps), rel=0.2)


def test_no_baseline_is_called_better_when_all_are_worse() -> None:
    rng = np.random.default_rng(12)
    wins = 0
    for _ in range(40):
        table = pd.DataFrame(rng.normal(1.0, 0.3, size=(5, 5)), columns=list("abcde"))
        wins += verdict_best_of(table, margin=0.1).verdict == "trained better"
    assert wins > 32
