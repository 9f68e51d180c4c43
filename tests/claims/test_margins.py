"""What another margin, more seeds, another baseline and another layer would say, with the truth planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sanity import claims, figures
from sanity.claims import Ledger, PairedComparison
from sanity.experiments.verdicts import book_ledger
from sanity.stats import HOLLOW, interaction, t_interval

FIVE = [("frozen_decoder", "iso"), ("frozen_decoder", "cov"), ("soft_frozen_decoder", "iso"),
        ("frozen_encoder", "iso"), ("frozen_encoder", "cov")]  # fmt: skip
USUAL: dict[str, Any] = {
    "experiment": "real_activations", "subject": "model", "world_or_hook": "layer 1", "architecture": "topk",
    "metric": "explained_variance", "floor": 0.0, "ceiling": 1.0, "n": 100, "unit": "sample",
    "learning_rate": 1e-3, "l0_target": 32, "d_sae": 256, "d_in": 64, "samples": 1000,
}  # fmt: skip
PRIMARY = {
    "real_activations": {
        name: USUAL[name] for name in ("world_or_hook", "architecture", "l0_target", "learning_rate")
    }
}


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return book_ledger(repository / "book" / "claims.yml")


def rows(values: list[float], constraint: str = "trained", init: str = "iso", **more: Any) -> pd.DataFrame:
    """Scores of one arm, one seed each."""
    frame = pd.DataFrame({"value": values, "seed": range(len(values))})
    return frame.assign(**(USUAL | {"constraint": constraint, "init": init} | more))


def five(seeds: int = 5, untrained: float = 0.1) -> pd.DataFrame:
    """A trained arm and five baselines that are equal to each other, a little below; one left untrained."""
    rng = np.random.default_rng(3)
    shared = rng.normal(0.7, 0.02, seeds)
    frames = [rows(list(shared)), rows(list(shared * 0 + untrained), "untrained")]
    frames += [rows(list(shared - 0.05 + rng.normal(0, 0.01, seeds)), *arm) for arm in FIVE]
    return pd.concat(frames, ignore_index=True)


def compared(ledger: Ledger, frame: pd.DataFrame, **more: Any) -> dict[str, PairedComparison]:
    choice = claims.chosen(frame, ledger, **{"primary": PRIMARY} | more)
    return {one.claim.id: one for one in claims.comparisons({"": choice}, {})}


def test_a_failed_gate_leaves_no_margin_at_which_anything_is_concluded(ledger: Ledger) -> None:
    failed = {"explained_variance": "it is broken"}
    found = compared(ledger, five(), failed_gates=failed).values()
    assert {one.gate_failure for one in found} == {"it is broken"}
    sweep = claims.margin_sweep(found)
    assert set(sweep["verdict"]) == {"open"}
    assert figures.verdict_strips(sweep).axes


def test_the_verdict_changes_where_the_interval_ends(ledger: Ledger) -> None:
    one = compared(ledger, five())["real-soft-frozen-ev"]
    sweep = claims.margin_sweep([one])
    smallest = sweep["smallest"].iloc[0]
    assert 0.05 < smallest < 0.1
    assert (sweep["verdict"].isin(["equivalent", HOLLOW]) == (sweep["margin"] > smallest)).all()
    assert set(sweep.loc[sweep["margin"] < 0.04, "verdict"]) == {"trained better"}
    assert sweep["declared"].eq(0.1).all()
    strips = figures.verdict_strips(sweep)
    assert [label.get_text() for label in strips.axes[0].get_yticklabels()] == ["real-soft-frozen-ev"]


def test_power_is_of_the_paired_differences_and_needs_two_seeds(ledger: Ledger) -> None:
    several = compared(ledger, five())
    table = claims.power_table(several.values()).set_index("claim")
    row = table.loc["real-soft-frozen-ev"]
    differences = several["real-soft-frozen-ev"].differences.iloc[:, 0]
    assert row["sd"] == pytest.approx(differences.std())
    assert 1.2 < row["sd_high"] / row["sd"] < 2
    assert row["smallest_margin"] < row["smallest_margin_high"]
    assert row["seeds_needed"] <= row["seeds_needed_high"]
    figure = figures.smallest_margins(table.reset_index())
    assert len(figure.axes[0].get_yticklabels()) == len(table)
    single = claims.power_table(compared(ledger, five(seeds=1)).values())
    assert single["smallest_margin"].isna().all()


def test_an_equivalence_ends_where_twice_the_margin_exceeds_what_training_adds(ledger: Ledger) -> None:
    frame = five(untrained=0.4)
    one = compared(ledger, frame)["real-soft-frozen-ev"]
    sweep = claims.margin_sweep([one])
    lead = frame.loc[frame["constraint"] == "trained", "value"].to_numpy() - 0.4
    low = t_interval(lead, confidence=0.9).low
    found = sweep[sweep["margin"] > sweep["smallest"]]
    stands = found["margin"] < low / 2
    assert stands.any()
    assert not stands.all()
    assert set(found.loc[stands, "verdict"]) == {"equivalent"}
    assert set(found.loc[~stands, "verdict"]) == {HOLLOW}
    assert figures.verdict_strips(sweep).axes


def test_the_best_of_five_equal_baselines_is_not_as_good_as_it_looks(ledger: Ledger) -> None:
    probing = {"metric": "sparse_probing_top1", "experiment": "sparse_probing"}
    several = compared(
        ledger, five().assign(**probing), primary={"sparse_probing": PRIMARY["real_activations"]}
    )
    table = claims.best_of_table(several.values())
    assert table["claim"].tolist() == ["probing-best-frozen"]
    row = table.iloc[0]
    assert row["baselines"] == 5
    assert row["gap"] < 0.05
    assert row["gap"] + row["optimism"] == pytest.approx(0.05, abs=0.01)
    assert row["high"] > row["plain_high"]
    one = compared(ledger, five(seeds=1).assign(**probing))
    single = claims.best_of_table(one.values())
    assert single["optimism"].isna().all()
    assert single["best"].notna().all()


def test_rows_of_other_widths_and_pilot_seeds_are_not_compared(ledger: Ledger) -> None:
    frame = pd.concat(
        [rows([0.6, 0.7, 0.8]), rows([0.4, 0.5, 0.6], "frozen_decoder", "cov"),
         rows([0.1]).assign(seed=min(ledger.pilot_seeds)),
         rows([0.2, 0.2], experiment="real_activations_widths", d_sae=128)]
    )  # fmt: skip
    one = compared(ledger, frame)["real-frozen-decoder-ev"]
    assert one.differences.to_numpy().ravel() == pytest.approx([0.2] * 3)


# -------------------------------------------------------------------------- does the lead depend on a factor?


def swept(slope: float, seeds: int) -> pd.DataFrame:
    """Trained and soft-frozen arms at three values of L0, the lead growing by `slope` per doubling."""
    rng = np.random.default_rng(1)
    frames = []
    for l0, doubling in ((32, 1), (16, 0), (64, 2)):
        n = 3 if l0 == 32 else seeds
        for constraint, lead in (("trained", 0.05 + slope * doubling), ("soft_frozen_decoder", 0.0)):
            values = list(0.6 + lead + rng.normal(0, 0.002, n))
            frames.append(rows(values, constraint, l0_target=l0))
    return pd.concat(frames, ignore_index=True)


def test_a_lead_that_grows_with_l0_is_found_to_grow() -> None:
    found = {}
    for slope in (0.03, 0.0):
        (lead,) = claims.leads(claims.along(swept(slope, 3), "l0_target"), "l0_target").values()
        part = claims.paired_levels(lead)
        assert part is not None
        assert list(part.columns) == [16, 32, 64]
        found[slope] = interaction(part, numeric=True, log=True)
    assert found[0.03].p_value < 0.05 < found[0.0].p_value
    assert found[0.03].slope == pytest.approx(0.03, abs=0.005)


def test_one_seed_per_level_is_shown_and_not_tested() -> None:
    ((arm, lead),) = claims.leads(claims.along(swept(0.03, 1), "l0_target"), "l0_target").items()
    assert arm == ("soft_frozen_decoder", "iso")
    assert lead.notna().sum().to_dict() == {16: 1, 32: 3, 64: 1}
    assert claims.paired_levels(lead) is None
    assert claims.leads(claims.along(swept(0.03, 3), "d_sae"), "d_sae") == {}


def test_only_rows_that_differ_in_the_factor_alone_are_compared() -> None:
    frame = pd.concat(
        [rows([0.6, 0.7]), rows([0.5, 0.6], "frozen_decoder"), rows([0.3, 0.3], d_sae=128),
         rows([0.25, 0.2], "frozen_decoder", d_sae=128), rows([0.9, 0.9], d_sae=64, l0_target=16)],
        ignore_index=True,
    )  # fmt: skip
    along = claims.along(frame, "d_sae")
    assert set(along["d_sae"]) == {256, 128}
    (lead,) = claims.leads(along, "d_sae").values()
    assert lead.to_numpy().ravel() == pytest.approx([0.05, 0.1, 0.1, 0.1])
    assert claims.along(frame.iloc[:0], "d_sae").empty


def test_what_training_adds_is_told_metric_by_metric(ledger: Ledger) -> None:
    table = claims.sensitivity_table(compared(ledger, five(untrained=0.55)).values())
    row = (
        table.set_index(["metric", "control"])
        .loc[("explained_variance", "an untrained dictionary")]
        .squeeze()
    )
    assert row["seeds"] == 5
    assert row["low"] < row["lead"] < row["high"]
    assert row["wanted"] == pytest.approx(0.2)
    assert not row["shown"]
    assert claims.sensitivity_table(compared(ledger, five(untrained=0.1)).values())["shown"].all()
    assert claims.sensitivity_table([]).empty
