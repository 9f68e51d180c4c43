"""How much of the trained lead an arm has, and which verdicts hang on their margin."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sanity.claims import chosen, flips_at, lead_table
from sanity.claims.evaluation import evaluate
from sanity.claims.ledger import Ledger, read_ledger
from sanity.claims.shares import Shares
from sanity.errors import BadInputError
from sanity.experiments.analyses import analysis_modules
from sanity.stats import Ratio, Verdict, ratio_of_means, verdict

SEEDS = range(5)


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    analysis_modules()
    return read_ledger()


def test_fieller_holds_the_ratios_that_a_t_test_does_not_refuse() -> None:
    draw = np.random.default_rng(0)
    whole, part = draw.normal(1.0, 0.1, 6), draw.normal(0.7, 0.1, 6)
    found = ratio_of_means(part, whole, confidence=0.90)
    assert found.low < found.value < found.high
    p_of = lambda r: stats.ttest_1samp(part - r * whole, 0.0).pvalue  # noqa: E731
    assert p_of(found.low) == pytest.approx(0.10)
    assert p_of(found.high) == pytest.approx(0.10)


def test_fieller_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    whole, part = draw.normal(1.0, 0.2, (1500, 4)), draw.normal(0.6, 0.2, (1500, 4))
    found = [ratio_of_means(a, b, confidence=0.90) for a, b in zip(part, whole, strict=True)]
    bounded = [one for one in found if not math.isnan(one.low)]
    assert len(bounded) > 1300
    assert np.mean([one.low <= 0.6 <= one.high for one in bounded]) == pytest.approx(0.90, abs=0.03)


def test_nothing_is_divided_by_a_lead_that_is_not_there() -> None:
    found = ratio_of_means([0.1, 0.2, 0.0], [0.1, -0.1, 0.02])
    assert math.isnan(found.low)
    assert math.isnan(ratio_of_means([1.0, 1.0], [0.5, -0.5]).value)
    assert ratio_of_means([0.5], [1.0]).value == 0.5
    with pytest.raises(BadInputError, match="paired by seed"):
        ratio_of_means([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("centre", "side"), [(0.045, None), (0.094, "above"), (0.099, "below"), (0.2, None)])
def test_a_verdict_that_another_margin_nearby_changes_is_fragile(centre: float, side: str | None) -> None:
    differences = np.array([-0.001, 0.0, 0.001, 0.0005, -0.0005]) + centre

    def at(margin: float) -> Verdict:
        return verdict(differences, margin=margin, metric_range=1.0)

    found = flips_at(at, 0.1)
    if side is None:
        assert found is None
        return
    assert found is not None
    assert at(found).verdict != at(0.1).verdict
    assert at(found + math.copysign(1e-4, 0.1 - found)).verdict == at(0.1).verdict
    # equivalent from the end of the 90 % interval on, which is no point of any grid
    end = verdict(differences, margin=0.1).tight
    assert end is not None
    assert found == pytest.approx(end.high, abs=2e-4)


def test_a_share_is_the_same_however_the_metric_points(ledger: Ledger) -> None:
    frame = _scores(trained=0.8, soft=0.7, untrained=0.4)
    found = evaluate(ledger.claim("real-soft-frozen-ev"), frame, ledger)
    assert found.shares is not None
    assert found.shares.over_untrained is not None
    assert found.shares.over_untrained.value == pytest.approx(0.75, abs=0.02)
    assert found.shares.over_floor is not None
    assert found.shares.over_floor.value == pytest.approx(0.875, abs=0.02)
    assert found.shares.words.startswith("75% over untrained, 8")


def test_the_untrained_arm_itself_is_measured_from_the_floor(ledger: Ledger) -> None:
    found = evaluate(ledger.claim("trained-beats-untrained-ev"), _scores(), ledger)
    assert found.shares is not None
    assert found.shares.over_untrained is None
    assert found.shares.over_floor is not None
    assert found.shares.over_floor.value == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("untrained", "tells"), [(0.4, True), (0.75, False)])
def test_a_metric_tells_where_training_adds_two_margins(
    ledger: Ledger, untrained: float, tells: bool
) -> None:
    choice = chosen(_scores(untrained=untrained), ledger)
    table = lead_table({"explained_variance": ("real_activations", choice)}, ARMS)
    assert set(table["over"]) == {"untrained", "floor", "paper"}
    assert set(table["tells"]) == {tells}
    assert bool(table["why_not"].iloc[0]) is not tells
    paper = table.set_index("over").loc["paper", "share"]
    assert 0.9 < paper < 1.0  # .789 / .852, as printed


def test_a_metric_that_failed_its_gate_tells_nothing(ledger: Ledger) -> None:
    choice = chosen(_scores(), ledger, failed_gates={"explained_variance": "broken"})
    table = lead_table({"explained_variance": ("real_activations", choice)}, ARMS)
    assert not table["tells"].any()
    assert set(table["why_not"]) == {"it failed its validity gate"}


def test_a_metric_that_does_not_rise_tells_nothing(ledger: Ledger) -> None:
    choice = chosen(_scores(), ledger, flat={"explained_variance": "does not rise"})
    table = lead_table({"explained_variance": ("real_activations", choice)}, ARMS)
    assert not table["tells"].any()
    assert set(table["why_not"]) == {"does not rise"}


def test_a_share_rests_on_the_seeds_that_both_arms_have(ledger: Ledger) -> None:
    scores = _scores()
    fewer = scores[(scores["constraint"] != "soft_frozen_decoder") | (scores["seed"] < 2)]
    choice = chosen(fewer, ledger, on_shared_seeds=True)
    table = lead_table({"explained_variance": ("real_activations", choice)}, ARMS)
    assert dict(zip(table["over"], table["seeds"], strict=True)) == {"untrained": 2, "floor": 2, "paper": 0}


ARMS = [("soft_frozen_decoder", "iso")]


def _scores(trained: float = 0.8, soft: float = 0.7, untrained: float = 0.4) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    means = {"trained": trained, "soft_frozen_decoder": soft, "untrained": untrained}
    rows = [
        {
            "experiment": "real_activations", "world_or_hook": "hook", "architecture": "topk",
            "constraint": arm, "init": "iso", "seed": seed, "metric": "explained_variance",
            "value": mean + draw.normal(0, 0.002), "floor": 0.0, "ceiling": 1.0, "n": 100, "unit": "token",
            "learning_rate": 1e-3, "l0_target": 20, "objective": "plain",
        }
        for arm, mean in means.items()
        for seed in SEEDS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_no_share_is_minus_nothing() -> None:
    assert Shares(Ratio(-0.003, -0.01, 0.01), None).words == "0% over untrained"
    assert Shares(None, Ratio(-0.02, -0.03, 0.01)).words == "-2% over the floor"
