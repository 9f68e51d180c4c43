"""The validity gate, on metrics of which we know what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from sanity.errors import BadInputError
from sanity.stats import gates
from sanity.stats.validity import gate

Metric = Callable[[float, np.random.Generator], float]


def graded(
    metric: Metric,
    *,
    levels: int = 5,
    seeds: int = 6,
    draw: int = 0,
    floor: float = 0.0,
    ceiling: float = 1.0,
) -> pd.DataFrame:
    """A metric read at evenly spaced levels of corruption, on several seeds."""
    rng = np.random.default_rng(draw)
    rows = [
        {"metric": "some", "level": level, "seed": seed, "value": metric(level, rng), "floor": floor,
         "ceiling": ceiling, "n": 40}
        for seed in range(seeds)
        for level in np.linspace(0, 1, levels)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def perfect(level: float, rng: np.random.Generator) -> float:
    return 1 - level


def good(level: float, rng: np.random.Generator) -> float:
    return 1 - level + rng.normal(0, 0.05)


def flat(level: float, rng: np.random.Generator) -> float:
    return 0.5 + rng.normal(0, 0.01)


def noisy(level: float, rng: np.random.Generator) -> float:
    return 0.6 - 0.2 * level + rng.normal(0, 0.2)


def test_a_perfect_metric_passes_and_its_numbers_are_exact() -> None:
    found = gate(graded(perfect), reference="a line")
    assert (found.passed, found.state, found.reference) == (True, "passed", "a line")
    assert found.monotone == pytest.approx(1.0)
    assert (found.range, found.share) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (found.reseed_noise, found.false_alarm_rate) == (0.0, 0.0)
    assert (found.levels, found.seeds, found.n) == (5, 6, 40)


def test_a_constant_metric_fails_in_words_and_without_warnings() -> None:
    found = gate(graded(lambda _level, _rng: 0.5))
    assert found.passed is False
    assert "does not follow the corruption" in found.reason
    assert "costs 0%" in found.reason
    assert found.monotone == 0.0


def test_a_reversed_metric_is_told_that_it_rises() -> None:
    found = gate(graded(lambda level, rng: 1 - good(level, rng)))
    assert found.passed is False
    assert "it rises as its reference is corrupted" in found.reason
    # ... unless its better side is below, as that of a share of dead latents is
    assert gate(graded(lambda level, rng: 1 - good(level, rng), floor=1.0, ceiling=0.0)).passed


def test_the_declared_direction_wins_over_a_ceiling_below_the_floor() -> None:
    found = gate(graded(good, floor=0.9, ceiling=0.4), higher_is_better=True)
    assert found.passed is False
    assert found.reason == "its ceiling is not better than its floor (by -0.5)"


def test_a_metric_with_a_threshold_passes_in_one_step() -> None:
    found = gate(graded(lambda level, _rng: float(level < 0.4)))
    assert found.passed
    assert found.monotone == pytest.approx(0.866, abs=1e-3)


def test_a_small_range_between_a_far_floor_and_ceiling_fails() -> None:
    found = gate(graded(lambda level, rng: 0.5 - 0.1 * level + rng.normal(0, 1e-3)))
    assert (found.passed, found.monotone) == (False, pytest.approx(1.0, abs=0.02))
    assert found.reason == "full corruption costs 10% of the way from floor to ceiling, wanted 20%"


def test_a_metric_in_order_whose_range_is_within_noise_fails() -> None:
    found = gate(graded(lambda level, rng: 1 - level + rng.normal(0, 0.26), seeds=12, draw=6))
    assert found.monotone is not None
    assert found.monotone >= 0.8
    assert found.reason == "its range of 1.02 is within 4 reseed SDs of 0.26"


def test_how_often_good_flat_and_noisy_metrics_pass() -> None:
    """The gate's own error rates, over many draws."""
    rates = {
        metric.__name__: np.mean([gate(graded(metric, draw=draw), draws=40).passed for draw in range(30)])
        for metric in (good, flat, noisy)
    }
    assert rates["good"] == 1.0
    assert rates["flat"] == 0.0
    assert rates["noisy"] == 0.0


@pytest.mark.parametrize("seeds", [5, 6, 9])
def test_false_alarms_of_ordinary_noise_are_at_the_nominal_rate(seeds: int) -> None:
    rates = [
        gate(graded(good, seeds=seeds, draw=draw), draws=100).false_alarm_rate or 0.0 for draw in range(40)
    ]
    error = np.std(rates) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - 0.05) < 3.5 * error
    assert np.quantile(rates, 0.99) < 0.15


def test_a_metric_that_falls_into_two_states_gives_false_alarms() -> None:
    frame = graded(lambda level, rng: 1 - level + rng.normal(0, 1e-5), seeds=5)
    jumping = frame.assign(value=frame["value"] - 0.1 * (frame["seed"] % 2))
    assert gate(frame).passed
    found = gate(jumping)
    # two pairs of reseeds agree on a difference whenever one state lies on either side
    assert found.false_alarm_rate == pytest.approx(0.2, abs=0.04)
    assert found.reason.endswith("of comparisons of a level with itself are called different")


def test_the_alarms_are_those_of_scipys_paired_test() -> None:
    """Ten reseeds of one level, every comparison made again by hand."""
    frame = graded(good, seeds=10, draw=3)
    found = gate(frame, draws=50)
    rng = np.random.default_rng(0)
    alarms = []
    for _, part in frame.groupby("level"):
        values = part["value"].to_numpy()
        for row in rng.permuted(np.tile(values, (50, 1)), axis=1):
            alarms.append(scipy_stats.ttest_rel(row[:5], row[5:]).pvalue < 0.05)
    assert found.comparisons == len(alarms) == 250
    assert found.false_alarm_rate == pytest.approx(np.mean(alarms))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50), st.booleans())
def test_units_and_the_order_of_rows_change_nothing(
    draw: int, scale: float, shift: float, turn: bool
) -> None:
    frame = graded(good, draw=draw, levels=4)
    factor = -scale if turn else scale
    columns = ["value", "floor", "ceiling"]
    other = frame.assign(**{name: frame[name] * factor + shift for name in columns}).sample(
        frac=1.0, random_state=draw
    )
    one, two = gate(frame), gate(other)
    assert one.passed == two.passed
    for name, size in {"monotone": 1, "share": 1, "range": scale, "reseed_noise": scale}.items():
        assert getattr(two, name) == pytest.approx(size * getattr(one, name), rel=1e-6)
    assert one.false_alarm_rate == pytest.approx(two.false_alarm_rate, abs=0.02)


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (graded(good)[lambda f: f["level"] == 0], "levels 0, wanted are 3 or more from 0 to 1"),
        (graded(good)[lambda f: f["level"] < 0.9], "from 0 to 1"),
        (graded(good, levels=2), "levels 0, 1, wanted"),
        (graded(good, seeds=1), "read on 1 seed, wanted are 2 or more"),
        (graded(good).assign(ceiling=np.nan), "no floor or no ceiling"),
        (graded(good).assign(ceiling=None), "no floor or no ceiling"),
    ],
)
def test_too_little_is_not_available_and_says_why(frame: pd.DataFrame, words: str) -> None:
    found = gate(frame)
    assert (found.passed, found.state) == (None, "not available")
    assert found.reason.startswith("gate not available: ")
    assert words in found.reason


def test_what_cannot_be_read_is_refused_in_words() -> None:
    frame = graded(good)
    with pytest.raises(BadInputError, match=r"lack the columns:? floor, n"):
        gate(frame.drop(columns=["floor", "n"]))
    broken = frame.assign(value=frame["value"].where(frame.index != 3))
    with pytest.raises(BadInputError, match="1 of 30 rows of some have a value that is not a finite number"):
        gate(broken)
    with pytest.raises(BadInputError, match="levels of corruption run from 0 to 1; some has 2"):
        gate(frame.assign(level=frame["level"] * 2))
    with pytest.raises(BadInputError, match="two rows for level 0 and seed 0"):
        gate(pd.concat([frame, frame.head(1)]))
    with pytest.raises(BadInputError, match="one metric at a time, not 2: some, other"):
        gate(pd.concat([frame, frame.assign(metric="other")]))


def test_one_broken_metric_does_not_hide_the_others() -> None:
    frame = graded(good)
    other = frame.assign(metric="broken", value=np.nan)
    found = gates(pd.concat([other, frame, graded(flat).assign(metric="flat")]))
    assert {name: one.state for name, one in found.items()} == {
        "broken": "not available", "some": "passed", "flat": "failed"
    }  # fmt: skip
    assert "30 of 30 rows" in found["broken"].reason


def test_without_five_seeds_false_alarms_are_not_measured_and_that_is_said() -> None:
    found = gate(graded(good, seeds=4))
    assert (found.passed, found.false_alarm_rate, found.comparisons) == (True, None, 0)
    assert "false alarms not measured, which takes 5 seeds" in found.reason
    assert found.row()["state"] == "passed"
