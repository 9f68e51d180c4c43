"""Equivalences against controls, leads that still rise, and claims that hold at one scale only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sanity.claims import (
    GATE_TABLE_COLUMNS,
    Finding,
    Ledger,
    choices_of,
    chosen,
    claims_table,
    comparisons,
    evaluate,
    evaluate_with,
    flat_metrics,
    sensitivity_table,
    trajectory,
)
from sanity.experiments.verdicts import book_ledger
from sanity.stats import ALIKE_RANDOM, HOLLOW

USUAL: dict[str, Any] = {
    "world_or_hook": "hook", "architecture": "topk", "init": "iso", "constraint": "trained", "floor": 0.5,
    "ceiling": 1.0, "n": 100, "unit": "text", "learning_rate": 1e-3, "l0_target": 32, "objective": "plain",
}  # fmt: skip
PROBING = {"experiment": "sparse_probing", "metric": "sparse_probing_top1"}
EV = {"experiment": "real_activations", "metric": "explained_variance", "floor": 0.0}
SOFT = "probing-frozen-decoder"
TRAINED = [0.80, 0.82, 0.81]
GATES = pd.DataFrame(columns=[*GATE_TABLE_COLUMNS])
FROZEN = [0.79, 0.82, 0.80]


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return book_ledger(repository / "book" / "claims.yml")


def rows(values: list[float], **more: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"value": values, "seed": range(len(values))})
    return frame.assign(**{**USUAL, **PROBING, **more})


def judge(ledger: Ledger, claim: str, *frames: pd.DataFrame) -> Finding:
    return evaluate(ledger.claim(claim), pd.concat(frames, ignore_index=True), ledger)


def probed(ledger: Ledger, *controls: pd.DataFrame) -> Finding:
    frozen = rows(FROZEN, constraint="frozen_decoder", init="cov")
    return judge(ledger, SOFT, rows(TRAINED), frozen, *controls)


@pytest.mark.parametrize(
    ("untrained", "word"),
    [
        ([0.68, 0.70, 0.69], "equivalent"),  # ahead by .12, the margin is .05
        ([0.72, 0.74, 0.73], HOLLOW),  # ahead by .08
        ([0.70, 0.74, 0.65], HOLLOW),  # ahead by .113, which three seeds do not show
        (TRAINED, HOLLOW),
        ([0.9, 0.92, 0.91], HOLLOW),
    ],
)
def test_an_equivalence_stands_where_training_is_shown_to_add_two_margins(
    ledger: Ledger, untrained: list[float], word: str
) -> None:
    found = probed(ledger, rows(untrained, constraint="untrained"))
    assert found.verdict.verdict == word
    assert found.supported is (True if word == "equivalent" else None)
    row = claims_table([found]).iloc[0]
    assert row["stands"].startswith("yes" if word == "equivalent" else "undecided")
    assert "control not run: an SAE of a random transformer" in row["in detail"]


def test_without_an_untrained_dictionary_on_the_same_seeds_nothing_is_equivalent(ledger: Ledger) -> None:
    for controls in ([], [rows([0.6], constraint="untrained")]):
        found = probed(ledger, *controls)
        assert (found.verdict.verdict, found.supported) == ("inconclusive", None)
        assert "control not run: an untrained dictionary" in found.verdict.qualifier


@pytest.mark.parametrize(
    ("random", "word"), [([0.66, 0.68, 0.67], "equivalent"), ([0.76, 0.77, 0.75], ALIKE_RANDOM)]
)
def test_an_sae_of_a_random_transformer_is_a_control_like_any_other(
    ledger: Ledger, random: list[float], word: str
) -> None:
    untrained = rows([0.6, 0.62, 0.61], constraint="untrained")
    found = probed(ledger, untrained, rows(random, experiment="random_transformer"))
    assert found.verdict.verdict == word
    assert "not run" not in found.verdict.qualifier
    assert ("random transformer" in found.verdict.qualifier) is (word == ALIKE_RANDOM)


def test_a_control_that_does_not_decide_is_shown_and_takes_nothing_away(ledger: Ledger) -> None:
    untrained = rows([0.6, 0.62, 0.61], constraint="untrained")
    noise = rows(TRAINED, experiment="trained_on_noise")
    assert probed(ledger, untrained, noise).verdict.verdict == "equivalent"
    frozen = rows(FROZEN, constraint="frozen_decoder", init="cov")
    choice = chosen(pd.concat([rows(TRAINED), frozen, untrained, noise]), ledger)
    table = sensitivity_table(comparisons({"": choice}, {}))
    lead = table.set_index("control").loc["an SAE trained on noise of the same covariance"]
    assert (lead["lead"], bool(lead["shown"])) == (0.0, False)


def test_only_equivalences_are_held_against_controls_and_none_with_a_control(ledger: Ledger) -> None:
    better = judge(
        ledger, SOFT, rows(TRAINED), rows([0.6, 0.62, 0.6], constraint="frozen_decoder", init="cov")
    )
    assert better.verdict.verdict == "trained better"
    auroc = {"experiment": "interpretability", "metric": "autointerp_auroc"}
    same = judge(
        ledger, "auroc-untrained", rows(TRAINED, **auroc), rows(FROZEN, constraint="untrained", **auroc)
    )
    assert same.verdict.verdict == "equivalent"


def test_a_metric_where_less_is_better_is_read_in_its_direction(ledger: Ledger) -> None:
    claim = ledger.claim(SOFT).model_copy(update={"metric": "dead_latents"})
    frozen = rows([0.10, 0.12, 0.11], metric="dead_latents", constraint="frozen_decoder", init="cov")
    for untrained, word in (([0.9, 0.8, 0.85], "equivalent"), ([0.0, 0.01, 0.0], HOLLOW)):
        frames = [rows([0.1, 0.11, 0.1], metric="dead_latents"), frozen]
        frames.append(rows(untrained, metric="dead_latents", constraint="untrained"))
        found = evaluate(claim, pd.concat(frames).assign(floor=1.0, ceiling=0.0), ledger)
        assert found.verdict.verdict == word


def test_equivalences_print_the_interval_that_decides_them(ledger: Ledger) -> None:
    found = probed(ledger, rows([0.6, 0.62, 0.61], constraint="untrained"))
    assert found.verdict.tight is not None
    assert found.to_json()["interval"] == [found.verdict.tight.low, found.verdict.tight.high]
    assert claims_table([found])["ours"].iloc[0].endswith("(90 %)")
    other = judge(
        ledger, SOFT, rows(TRAINED), rows([0.6, 0.62, 0.6], constraint="frozen_decoder", init="cov")
    )
    assert other.verdict.interval is not None
    assert other.to_json()["interval"][0] == other.verdict.interval.low
    assert "(90 %)" not in claims_table([other])["ours"].iloc[0]


# ------------------------------------------------------------------------------------- the course of training


def course(half: list[float], end: list[float], metric: str = "explained_variance") -> list[pd.DataFrame]:
    """A trained arm at 0.7 and a soft-frozen one behind it by `half` and then by `end`."""
    frames = []
    for experiment, leads in (("real_activations_half", half), ("real_activations_end", end)):
        about = EV | {"experiment": experiment}
        frames.append(rows([0.7] * 3, **about))
        frames.append(rows([0.7 - lead for lead in leads], constraint="soft_frozen_decoder", **about))
    about = EV | {"metric": metric}
    frames += [rows([0.7, 0.71, 0.7], **about), rows([0.3, 0.31, 0.3], constraint="untrained", **about)]
    return [*frames, rows([0.65, 0.66, 0.66], constraint="soft_frozen_decoder", **about)]


@pytest.mark.parametrize("claim", ["real-soft-frozen-ev", "real-soft-frozen-ce"])
def test_a_lead_that_grew_until_the_end_is_said_to_be_rising(ledger: Ledger, claim: str) -> None:
    metric = ledger.claim(claim).metric
    rising = judge(ledger, claim, *course([0.02, 0.022, 0.021], [0.045, 0.046, 0.046], metric)).verdict
    assert "lead still rising: in explained variance by 0.025 [0.02" in rising.qualifier
    ended = judge(ledger, claim, *course([0.05, 0.04, 0.045], [0.045, 0.046, 0.044], metric)).verdict
    assert "rising" not in ended.qualifier
    assert rising.verdict == ended.verdict == "equivalent"


def test_a_claim_about_the_course_of_training_is_open_at_another_scale(ledger: Ledger) -> None:
    lazy = {**EV, "experiment": "lazy_training"}
    frames = [rows([0.86, 0.87, 0.86], **lazy), rows([0.3, 0.31, 0.3], constraint="untrained", **lazy)]
    frames.append(rows([0.82, 0.83, 0.82], **lazy | {"experiment": "lazy_training_tenth"}))
    small = judge(ledger, "lazy-ev-is-early", *frames)
    assert (small.verdict.verdict, small.verdict.qualifier) == ("open", "another scale")
    size = {"subject": "gemma-2-2b", "d_in": 2304, "d_sae": 73728, "samples": 500_000_000}
    full = judge(ledger, "lazy-ev-is-early", *(frame.assign(**size) for frame in frames))
    assert (full.verdict.verdict, full.supported) == ("equivalent", True)


def snapshots(*gains: float, d_sae: int = 64) -> pd.DataFrame:
    """A metric at 5 % and at the end of training, a seed for each gain."""
    frames = [
        rows([0.6] * len(gains), experiment="trajectory", samples=5, d_sae=d_sae),
        rows([0.6 + one for one in gains], experiment="trajectory", samples=100, d_sae=d_sae),
    ]
    return pd.concat(frames, ignore_index=True)


def test_a_metric_that_does_not_rise_along_training_decides_nothing(ledger: Ledger) -> None:
    own = pd.concat([rows(TRAINED), rows(FROZEN, constraint="frozen_decoder", init="cov")])
    for along, flat in (
        (snapshots(0.1, 0.11, 0.12), False),
        (snapshots(0.02, -0.02, 0.01), True),
        (snapshots(0.0), False),  # one seed cannot tell
    ):
        choice = choices_of(pd.concat([own, along]), GATES, ledger, {}, [])[""]
        (found,) = [one for one in evaluate_with(choice) if one.claim.id == SOFT]
        assert (found.verdict.verdict == "no range") is flat
        assert ("does not rise along training" in found.verdict.qualifier) is flat
        assert "imported" not in found.verdict.qualifier


def test_snapshots_of_another_run_are_said_to_be_imported() -> None:
    assert flat_metrics(snapshots(0.02, -0.02, 0.01), "controls")["sparse_probing_top1"].endswith(
        "3 seeds; imported: controls), so it cannot rank arms"
    )


def test_snapshots_of_most_seeds_count_where_they_are_of_the_same_saes() -> None:
    own, more, wider = snapshots(0.1), snapshots(0.1, 0.2), snapshots(0.1, 0.2, 0.3, d_sae=128)
    assert trajectory(own, {"more": more, "wider": wider})[1] == "more"
    assert trajectory(more, {"own": own})[1] == ""
    assert trajectory(rows(TRAINED), {"more": more})[0].empty, "another run's say nothing of this one's arms"
