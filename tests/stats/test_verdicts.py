from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.weightstats import ttost_paired

from sanity.errors import BadInputError
from sanity.stats import (
    equivalence_curve,
    interaction,
    t_interval,
    verdict,
    verdict_all,
    verdict_best_of,
    verdict_within,
)
from sanity.stats.deciding import WORDS, has_range
from sanity.stats.equivalence import tost
from sanity.stats.families import holm
from sanity.stats.intervals import t_test


def test_a_large_difference_goes_to_the_better_arm_in_the_metrics_own_direction() -> None:
    assert verdict([0.3, 0.31, 0.29], margin=0.05).verdict == "trained better"
    assert verdict([-0.3, -0.31, -0.29], margin=0.05).verdict == "baseline better"
    assert verdict([-0.3, -0.31, -0.29], margin=0.05, higher_is_better=False).verdict == "trained better"
    assert verdict([0.3, 0.31, 0.29], margin=0.05).qualifier == "by more than the margin"


def test_a_small_sure_difference_is_equivalent_and_says_so() -> None:
    found = verdict([-0.010, -0.011, -0.009], margin=0.05)
    assert (found.verdict, found.qualifier) == ("equivalent", "detectably worse, within the margin")
    assert verdict([0.001, -0.001, 0.0005], margin=0.05).qualifier == ""


def test_identical_arms_are_equivalent_whatever_the_margin() -> None:
    for margin in (0.0, 0.05):
        found = verdict([0.0, 0.0, 0.0], margin=margin)
        assert (found.verdict, found.qualifier, found.p_difference) == ("equivalent", "identical", 1.0)
    assert verdict([1e-16, -1e-16], margin=0.0).qualifier == "identical"


def test_a_single_seed_decides_nothing_not_even_equality() -> None:
    for value in (0.0, 0.9):
        found = verdict([value], margin=0.05)
        assert (found.verdict, found.qualifier, found.interval) == ("inconclusive", "single seed", None)
        assert found.value == value


def test_equal_differences_decide_from_three_seeds() -> None:
    assert verdict([1.0, 1.0, 1.0], margin=0.05).verdict == "trained better"
    assert verdict([0.01, 0.01, 0.01], margin=0.05).verdict == "equivalent"
    found = verdict([1.0, 1.0], margin=0.05)
    assert (found.verdict, found.qualifier) == ("inconclusive", "no variance over seeds")


def test_a_margin_of_zero_leaves_only_differences_and_identity() -> None:
    assert verdict([0.01, -0.01, 0.002], margin=0.0).verdict == "inconclusive"
    assert verdict([0.01, -0.01, 0.002], margin=0.0).qualifier == "margin of zero"
    assert verdict([0.3, 0.31, 0.29], margin=0.0).verdict == "trained better"


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_a_margin_that_can_judge_nothing_is_refused(margin: float) -> None:
    with pytest.raises(BadInputError, match="margin"):
        verdict([0.1, 0.2], margin=margin)


def test_nan_is_refused_and_no_seeds_are_open() -> None:
    with pytest.raises(BadInputError, match="nan at position 1"):
        verdict([0.1, float("nan")], margin=0.05)
    assert verdict([], margin=0.05).verdict == "open"


def test_a_range_inside_reseed_noise_or_inside_two_margins_gives_no_range() -> None:
    sure = [0.02, 0.021, 0.022]
    assert verdict(sure, margin=0.005, metric_range=0.03, reseed_sd=0.01).verdict == "no range"
    assert verdict(sure, margin=0.02, metric_range=0.03, reseed_sd=0.0001).verdict == "no range"
    assert verdict(sure, margin=0.005, metric_range=0.03, reseed_sd=0.001).verdict == "trained better"
    assert not has_range(0.0, reseed_sd=None, margin=0.0)


def test_a_failed_gate_turns_any_verdict_off_and_keeps_its_number() -> None:
    found = verdict([0.3, 0.31, 0.29], margin=0.05, gate_failure="graded corruption did not lower it")
    assert (found.verdict, found.qualifier) == ("open", "validity gate failed")
    assert found.value == pytest.approx(0.3)
    assert "graded corruption" in found.words


@given(st.lists(st.floats(-0.5, 0.5).map(lambda x: round(x, 2)), min_size=0, max_size=6), st.floats(0, 0.4))
@settings(deadline=None, max_examples=60)
def test_every_verdict_is_one_of_six_and_agrees_with_its_own_interval(
    values: list[float], margin: float
) -> None:
    found = verdict(values, margin=margin)
    assert found.verdict in WORDS
    mirrored = verdict([-value for value in values], margin=margin)
    swap = {"trained better": "baseline better", "baseline better": "trained better"}
    assert mirrored.verdict == swap.get(found.verdict, found.verdict)
    if found.verdict == "equivalent" and found.qualifier != "identical" and found.tight is not None:
        assert max(abs(found.tight.low), abs(found.tight.high)) <= margin + 1e-9
    if found.verdict == "trained better" and found.interval is not None:
        assert found.interval.low > 0


def test_tost_is_statsmodels_and_the_tight_interval_says_the_same() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.normal(0, 0.1, size=(2, 5))
        margin = rng.uniform(0.01, 0.3)
        p_value = tost(a - b, margin=margin)
        assert p_value == pytest.approx(ttost_paired(a, b, -margin, margin)[0])
        low, high = t_interval(a - b, confidence=0.9)
        assert (p_value < 0.05) == (-margin < low and high < margin)


def test_the_equivalence_curve_turns_at_its_smallest_margin() -> None:
    values = [0.01, 0.03, -0.01, 0.02]
    smallest = equivalence_curve(values, margins=[0.1])["smallest_margin"].iloc[0]
    curve = equivalence_curve(values, margins=[0.0, 0.99 * smallest, 1.01 * smallest, 1.0])
    assert curve["equivalent"].tolist() == [False, False, True, True]
    assert curve["p_equivalence"].is_monotonic_decreasing


def test_holm() -> None:
    adjusted = holm({"a": 0.01, "b": 0.02, "c": 0.5})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.5})
    with pytest.raises(BadInputError, match="b is nan"):
        holm({"a": 0.1, "b": float("nan")})


def test_best_of_judges_the_best_baseline_and_names_it() -> None:
    noise = np.random.default_rng(3).normal(0, 0.004, size=(5, 3))
    table = pd.DataFrame(noise + np.array([0.3, 0.01, 0.2]), columns=["fd", "sfd", "fe"])
    found = verdict_best_of(table, margin=0.05)
    assert found.verdict == "equivalent"
    assert "best of 3: sfd" in found.qualifier
    assert verdict_best_of(table + 0.2, margin=0.05).verdict == "trained better"
    assert verdict_best_of(table - 0.2, margin=0.05).verdict == "baseline better"
    mirrored = verdict_best_of(-table, margin=0.05, higher_is_better=False)
    assert (mirrored.verdict, mirrored.value) == ("equivalent", pytest.approx(-(found.value or 0)))
    assert verdict_best_of(table * 0, margin=0.0).verdict == "equivalent"


def test_equivalence_to_the_best_holds_exactly_where_its_tight_interval_fits() -> None:
    rng = np.random.default_rng(9)
    decided = []
    for _ in range(40):
        table = pd.DataFrame(rng.normal(0.02, 0.05, size=(5, 4)), columns=list("abcd"))
        found = verdict_best_of(table, margin=0.06)
        assert found.tight is not None
        assert found.p_equivalence is not None
        fits = found.tight.low > -0.06 and found.tight.high < 0.06
        assert fits == (found.p_equivalence < 0.05)
        near = min(t_interval(table[name], confidence=0.9).high for name in table)
        decided.append((fits, found.tight.low > -0.06 and near < 0.06))
    # uncorrected, the choice of the best would have passed more often
    assert 0 < sum(with_correction for with_correction, _ in decided) < sum(plain for _, plain in decided)


def test_the_best_of_one_is_the_plain_comparison() -> None:
    values = np.random.default_rng(4).normal(0.05, 0.1, size=6)
    plain = verdict(values, margin=0.05)
    found = verdict_best_of(pd.DataFrame({"only": values}), margin=0.05)
    assert found.verdict == plain.verdict
    assert found.value == pytest.approx(plain.value)
    assert found.interval == pytest.approx(plain.interval)
    assert found.p_difference == pytest.approx(plain.p_difference)
    assert found.p_equivalence == pytest.approx(plain.p_equivalence)
    assert found.p_sign_flip == pytest.approx(plain.p_sign_flip)


@pytest.mark.parametrize(
    ("values", "low", "high", "wanted"),
    [
        ([0.66, 0.67, 0.665], 0.62, 0.72, "equivalent"),
        ([0.80, 0.81, 0.805], 0.62, 0.72, "trained better"),
        ([0.50, 0.51, 0.505], 0.62, 0.72, "baseline better"),
        ([0.60, 0.67, 0.73], 0.62, 0.72, "inconclusive"),
        ([0.66], 0.62, 0.72, "inconclusive"),
        ([0.0, 0.0, 0.0], 0.0, 0.01, "equivalent"),
        ([0.0, 0.0003, 0.0], -np.inf, 0.01, "equivalent"),
        ([0.0, 0.0], 0.0, 0.01, "inconclusive"),
    ],
)
def test_values_against_an_expected_range(values: list[float], low: float, high: float, wanted: str) -> None:
    assert verdict_within(values, low=low, high=high).verdict == wanted


def test_a_baseline_above_its_expected_range_is_the_baseline_being_better() -> None:
    found = verdict_within([0.8, 0.81, 0.79], low=0.6, high=0.7, judged_is_baseline=True)
    assert (found.verdict, found.qualifier) == ("baseline better", "above the expected range")


def test_all_metrics_match_only_if_each_does() -> None:
    same = verdict([0.001, -0.001, 0.0005], margin=0.05)
    unsure = verdict([0.3, -0.2, 0.1], margin=0.05)
    better = verdict([0.3, 0.31, 0.29], margin=0.05)
    worse = verdict([-0.3, -0.31, -0.29], margin=0.05)
    ranges = {"a": 1.0, "b": 0.5}
    assert verdict_all({"a": same, "b": same}, ranges=ranges).verdict == "equivalent"
    assert verdict_all({"a": same, "b": unsure}, ranges=ranges).qualifier == "not decided on b"
    found = verdict_all({"a": same, "b": better}, ranges=ranges)
    assert (found.verdict, found.qualifier) == ("trained better", "on b")
    assert found.value == pytest.approx(0.6)
    assert found.margin == pytest.approx(0.1)
    assert verdict_all({"a": worse, "b": better}, ranges=ranges).verdict == "inconclusive"
    assert verdict_all({"a": same, "b": verdict([], margin=0.1)}, ranges=ranges).verdict == "open"
    identical = verdict([0.0, 0.0], margin=0.1)
    assert verdict_all({"a": identical, "b": identical}, ranges=ranges).qualifier == "identical"


def test_a_difference_that_does_not_survive_holm_does_not_refute() -> None:
    edge = verdict([0.2, 0.3, 0.4], margin=0.05)
    assert edge.verdict == "trained better"
    others = {f"m{index}": verdict([0.2, -0.1, 0.0], margin=0.05) for index in range(4)}
    found = verdict_all({"edge": edge, **others}, ranges=dict.fromkeys(["edge", *others], 1.0))
    assert found.verdict == "inconclusive"


def test_interaction_of_two_levels_is_the_paired_t_test_between_them() -> None:
    rng = np.random.default_rng(5)
    table = pd.DataFrame(rng.normal(0, 0.1, size=(6, 2)), columns=[10, 20])
    found = interaction(table, numeric=True)
    assert found.p_value == pytest.approx(t_test(table[20] - table[10]))
    assert found.slope == pytest.approx(float((table[20] - table[10]).mean() / 10))


def test_interaction_sees_a_gap_that_grows_and_not_one_that_stays() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 0.01, size=(5, 4)) + rng.normal(0, 0.2, size=(5, 1))
    levels = [1, 2, 4, 8]
    flat = interaction(pd.DataFrame(noise + 0.3, columns=levels), numeric=True, log=True)
    grows = interaction(pd.DataFrame(noise + 0.1 * np.arange(4), columns=levels), numeric=True, log=True)
    assert flat.p_value > 0.1
    assert grows.p_value < 0.001
    assert grows.slope == pytest.approx(0.1, abs=0.02)
    assert flat.slope_p is not None
    assert flat.slope_p > 0.05


def test_interaction_errs_at_most_at_its_nominal_level_without_sphericity() -> None:
    rng = np.random.default_rng(8)
    spread = np.array([0.1, 0.1, 1.0])
    errors = [
        interaction(pd.DataFrame(rng.normal(0, 1, size=(5, 3)) * spread)).p_value < 0.05 for _ in range(200)
    ]
    assert np.mean(errors) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_interaction_without_noise_or_without_levels() -> None:
    constant = pd.DataFrame([[0.1, 0.2]] * 3, columns=["a", "b"])
    assert interaction(constant).p_value == 0.0
    assert interaction(constant * 0).p_value == 1.0
    with pytest.raises(BadInputError, match="at least 2 seeds at 2 levels"):
        interaction(constant[["a"]])
