"""One SAE among the seeds of a null, and two arms without pairs: and how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sanity.stats import Spread, place, pooled_spread, verdict_unpaired


def test_the_interval_is_that_of_a_further_seed() -> None:
    """By hand: mean lead 0.2, SD 0.1 over three seeds, t(2) at 95 % is 4.3027."""
    leads = [0.1, 0.2, 0.3]
    found = place(leads, spread=pooled_spread({"null": leads}), margin=0.05)
    half = 4.302653 * 0.1 * math.sqrt(1 + 1 / 3)
    assert found.verdict.value == pytest.approx(0.2)
    assert found.verdict.interval == pytest.approx((0.2 - half, 0.2 + half), abs=1e-5)
    assert (found.rank, found.of, found.p_rank, found.spread.df) == (1, 4, 0.25, 2)
    assert found.verdict.verdict == "inconclusive"
    assert "prediction interval" in found.verdict.qualifier


def test_pooling_over_nulls_adds_degrees_of_freedom_and_not_their_differences() -> None:
    spread = pooled_spread({"a": [1.0, 1.2], "b": [-5.0, -4.8], "one seed": [9.0]})
    assert spread.df == 2
    assert spread.sd == pytest.approx(math.sqrt(0.02))
    assert math.isnan(pooled_spread({"one seed": [9.0]}).sd)


@pytest.mark.parametrize(
    ("leads", "higher", "word", "rank"),
    [
        ([0.5, 0.51, 0.49], True, "trained better", 1),
        ([0.5, 0.51, 0.49], False, "baseline better", 4),
        ([-0.5, -0.51, -0.49], True, "baseline better", 4),
        ([0.001, -0.001, 0.0], True, "equivalent", 3),
        ([0.3, -0.3, 0.0], True, "inconclusive", 3),
    ],
)
def test_the_words(leads: list[float], higher: bool, word: str, rank: int) -> None:
    found = place(leads, spread=pooled_spread({"n": leads}), margin=0.1, higher_is_better=higher)
    assert (found.verdict.verdict, found.rank) == (word, rank)
    assert found.smallest_margin is not None
    assert (found.smallest_margin < 0.1) == (word == "equivalent")


def test_one_seed_of_a_null_a_failed_gate_and_a_range_within_noise_decide_nothing() -> None:
    alone = place([0.4], spread=pooled_spread({"n": [0.4]}), margin=0.1)
    assert (alone.verdict.verdict, alone.p_rank, alone.smallest_margin) == ("inconclusive", 0.5, None)
    leads = [0.4, 0.41]
    gated = place(leads, spread=pooled_spread({"n": leads}), margin=0.1, gate_failure="it rises")
    assert gated.verdict.verdict == "open"
    noisy = place(leads, spread=Spread(0.5, 4), margin=0.1, metric_range=1.0)
    assert noisy.verdict.verdict == "no range"
    same = place([0.2, 0.2], spread=pooled_spread({"n": [0.2, 0.2]}), margin=0.1)
    assert same.verdict.verdict == "trained better"


def test_a_further_seed_of_the_null_is_called_different_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(0)
    wrong = better = 0
    for _ in range(800):
        nulls, sae = rng.normal(size=4), rng.normal()
        leads = sae - nulls
        found = place(leads, spread=pooled_spread({"n": leads}), margin=0.0)
        wrong += found.verdict.verdict in ("trained better", "baseline better")
        better += found.rank == 1
    assert 0.03 < wrong / 800 < 0.075
    assert abs(better / 800 - 0.2) < 0.04


def test_welch_is_scipys_and_tost_follows_it() -> None:
    ours, theirs = [0.8, 0.82, 0.81], [0.5, 0.6]
    found = verdict_unpaired(ours, theirs, margin=0.05)
    known = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.p_difference == pytest.approx(known.pvalue)
    assert found.interval == pytest.approx(tuple(known.confidence_interval(0.95)))
    close = verdict_unpaired([0.5, 0.501, 0.499], [0.5, 0.502, 0.499], margin=0.05)
    assert close.verdict == "equivalent"
    assert verdict_unpaired([0.5, 0.501], [0.9, 0.902], margin=0.05).verdict == "baseline better"
    assert verdict_unpaired([0.5, 0.501], [0.9, 0.902], margin=0.05, higher_is_better=False).verdict == (
        "trained better"
    )
    assert verdict_unpaired([0.5], [0.9, 0.902], margin=0.05).qualifier == "single seed"


def test_scores_without_variance_follow_the_rules_of_pairs_and_no_range_keeps_welchs_interval() -> None:
    found = verdict_unpaired([0.0] * 3, [0.0] * 4, margin=0.05)
    assert (found.verdict, found.qualifier) == ("equivalent", "identical")
    assert verdict_unpaired([0.5] * 3, [0.2] * 3, margin=0.05).verdict == "trained better"
    assert verdict_unpaired([0.5] * 2, [0.2] * 3, margin=0.05).verdict == "inconclusive"
    ours, theirs = [0.8, 0.82, 0.81], [0.5, 0.6]
    narrow = verdict_unpaired(ours, theirs, margin=0.05, metric_range=0.05)
    assert narrow.verdict == "no range"
    assert narrow.interval == verdict_unpaired(ours, theirs, margin=0.05).interval
