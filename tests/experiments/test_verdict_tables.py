"""What the chapter on verdicts shows, on scores whose truth is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sanity.experiments.synthetic_recovery import ToyTables

from sanity import claims, figures
from sanity.claims import Ledger, Paired
from sanity.experiments import verdict_sentences, verdicts
from sanity.profiles import Profile, load

FIVE = [("frozen_decoder", "iso"), ("frozen_decoder", "cov"), ("soft_frozen_decoder", "iso"),
        ("frozen_encoder", "iso"), ("frozen_encoder", "cov")]  # fmt: skip


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load("quick")


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return claims.read_ledger(repository / "book" / "claims.yml")


def rows(
    profile: Profile, values: list[float], constraint: str = "trained", init: str = "iso", **more: Any
) -> Any:
    """Scores of one arm on the primary grid, one seed each."""
    grid, model = profile.real, profile.models[0]
    usual = {
        "experiment": "real_activations", "subject": model.subject, "world_or_hook": model.hook,
        "architecture": grid.architecture, "constraint": constraint, "init": init,
        "metric": "explained_variance",
        "floor": 0.0, "ceiling": 1.0, "n": 100, "unit": "sample", "learning_rate": grid.learning_rate,
        "l0_target": grid.l0, "d_sae": grid.d_sae,
    }  # fmt: skip
    return pd.DataFrame({"value": values, "seed": range(len(values))}).assign(**{**usual, **more})


def five(profile: Profile, seeds: int = 5, **more: Any) -> pd.DataFrame:
    """A trained arm and five baselines that are equal to each other, a little below it."""
    rng = np.random.default_rng(3)
    shared = rng.normal(0.7, 0.02, seeds)
    frames = [rows(profile, list(shared), **more)]
    frames += [rows(profile, list(shared - 0.05 + rng.normal(0, 0.01, seeds)), *arm, **more) for arm in FIVE]
    return pd.concat(frames, ignore_index=True)


def compared(profile: Profile, ledger: Ledger, frame: pd.DataFrame) -> dict[str, Paired]:
    choice = claims.chosen(frame, ledger, primary=claims.primary_grid(profile))
    return {one.claim.id: one for one in claims.comparisons(choice)}


def test_places_lie_between_floor_and_ceiling_with_an_interval_over_seeds(
    profile: Profile, ledger: Ledger
) -> None:
    frame = pd.concat(
        [rows(profile, [0.6, 0.7, 0.8], floor=0.5, ceiling=0.9),
         rows(profile, [0.55], "untrained", floor=0.5, ceiling=0.9),
         rows(profile, [0.9] * 3, l0_target=999), rows(profile, [0.5] * 3, metric="cosine_to_init")]
    )  # fmt: skip
    found = verdicts.shares(frame, ledger, profile).set_index("constraint")
    assert list(found.index) == ["trained", "untrained"]
    assert found.loc["trained", "share"] == pytest.approx(0.5)
    assert (found.loc["trained", "high"] - 0.5) == pytest.approx(4.3027 * 0.25 / np.sqrt(3), rel=1e-4)
    assert np.isnan(found.loc["untrained", "low"])
    figure = figures.places_between(found.reset_index(), metrics={"explained_variance": "explained variance"})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == ["TopK", "trained", "untrained (iso)"]


def test_pilot_seeds_and_other_widths_are_no_part_of_the_places(profile: Profile, ledger: Ledger) -> None:
    judged = rows(profile, [0.6, 0.7, 0.8])
    pilot = rows(profile, [0.1]).assign(seed=min(ledger.pilot_seeds))
    narrow = rows(profile, [0.2, 0.2], experiment=verdicts.WIDTHS, d_sae=profile.real.d_sae // 2)
    frame = pd.concat([judged, pilot, narrow])
    found = verdicts.shares(frame, ledger, profile)
    assert found["share"].to_list() == pytest.approx([0.7])
    assert found["seeds"].to_list() == [3]
    # a claim of the primary grid reads neither
    other = rows(profile, [0.4, 0.5, 0.6], "frozen_decoder", "cov")
    one = compared(profile, ledger, pd.concat([frame, other]))["real-frozen-decoder-ev"]
    assert one.differences.to_numpy().ravel() == pytest.approx([0.2] * 3)
    # and a lead is compared between widths
    less = rows(profile, [0.15, 0.1], "frozen_decoder", experiment=verdicts.WIDTHS, d_sae=1152)
    more = rows(profile, [0.3, 0.35, 0.4], "frozen_decoder")
    along = verdicts.along(pd.concat([frame, less, more]), "width", profile)
    (table,) = verdicts.gaps(along, "width").values()
    usable = verdicts.usable(table)
    assert usable is not None
    assert usable.to_numpy().ravel() == pytest.approx([0.05, 0.3, 0.1, 0.35])


def test_a_failed_gate_leaves_no_margin_at_which_anything_is_concluded(
    profile: Profile, ledger: Ledger
) -> None:
    failed = {"explained_variance": "it is broken"}
    choice = claims.chosen(five(profile), ledger, primary=claims.primary_grid(profile), failed_gates=failed)
    found = claims.comparisons(choice)
    assert {one.gate_failure for one in found} == {"it is broken"}
    sweep = verdicts.margin_sweep(found)
    assert set(sweep["verdict"]) == {"open"}
    assert figures.verdict_strips(sweep).axes
    assert "FAILED" in verdict_sentences.label("explained_variance", ledger, failed)
    assert verdict_sentences.label("explained_variance", ledger, {}) == "explained variance"


def test_the_verdict_changes_where_the_interval_ends(profile: Profile, ledger: Ledger) -> None:
    one = compared(profile, ledger, five(profile))["real-soft-frozen-ev"]
    sweep = verdicts.margin_sweep([one])
    smallest = sweep["smallest"].iloc[0]
    assert 0.05 < smallest < 0.1
    assert (sweep["verdict"].eq("equivalent") == (sweep["margin"] > smallest)).all()
    assert set(sweep.loc[sweep["margin"] < 0.04, "verdict"]) == {"trained better"}
    assert sweep["declared"].eq(0.1).all()
    assert "`real-soft-frozen-ev`: trained better, equivalent from" in verdict_sentences.strips(sweep)
    strips = figures.verdict_strips(sweep)
    assert [label.get_text() for label in strips.axes[0].get_yticklabels()] == ["real-soft-frozen-ev"]


def test_power_is_of_the_paired_differences_and_needs_two_seeds(profile: Profile, ledger: Ledger) -> None:
    several = compared(profile, ledger, five(profile))
    table = verdicts.power_table(several.values()).set_index("claim")
    row = table.loc["real-soft-frozen-ev"]
    differences = several["real-soft-frozen-ev"].differences.iloc[:, 0]
    assert row["sd"] == pytest.approx(differences.std())
    assert 1.2 < row["sd_high"] / row["sd"] < 2
    assert row["smallest_margin"] < row["smallest_margin_high"]
    assert row["seeds_needed"] <= row["seeds_needed_high"]
    assert "comparisons have the seeds" in verdict_sentences.needs(table.reset_index())
    figure = figures.smallest_margins(table.reset_index())
    assert len(figure.axes[0].get_yticklabels()) == len(table)
    single = verdicts.power_table(compared(profile, ledger, five(profile, seeds=1)).values())
    assert single["smallest_margin"].isna().all()
    assert "two seeds that it takes" in verdict_sentences.needs(single)


def test_the_best_of_five_equal_baselines_is_not_as_good_as_it_looks(
    profile: Profile, ledger: Ledger
) -> None:
    found = compared(profile, ledger, five(profile))
    table = verdicts.best_of_table(found.values())
    assert table["claim"].tolist() == ["real-best-frozen-ev"]
    row = table.iloc[0]
    assert row["baselines"] == 5
    assert row["gap"] < 0.05
    assert row["gap"] + row["optimism"] == pytest.approx(0.05, abs=0.01)
    assert row["high"] > row["plain_high"]
    words = verdict_sentences.best_of_several(table, ledger)
    assert "the best of 5 is the" in words
    single = verdicts.best_of_table(compared(profile, ledger, five(profile, seeds=1)).values())
    assert "on a single seed" in verdict_sentences.best_of_several(single, ledger)


# -------------------------------------------------------------------------- does the lead depend on a factor?


def swept(profile: Profile, slope: float, seeds: int) -> pd.DataFrame:
    """Trained and soft-frozen arms at three values of L0, the lead growing by `slope` per doubling."""
    rng = np.random.default_rng(1)
    frames = []
    for doubling, l0 in enumerate((16, 32, 64)):
        n = seeds if l0 != profile.real.l0 else 3
        for constraint, lead in (("trained", 0.05 + slope * doubling), ("soft_frozen_decoder", 0.0)):
            values = list(0.6 + lead + rng.normal(0, 0.002, n))
            frames.append(rows(profile, values, constraint, l0_target=l0))
    return pd.concat(frames, ignore_index=True)


def test_a_lead_that_grows_with_l0_is_found_to_grow(profile: Profile) -> None:
    words = verdict_sentences.dependence("L0", swept(profile, 0.03, 3), profile)
    assert "(3 seeds; p = 0.0" in words
    assert "per doubling" in words
    same = verdict_sentences.dependence("L0", swept(profile, 0.0, 3), profile)
    assert "p = 0.0" not in same


def test_one_seed_per_level_is_shown_and_not_tested(profile: Profile) -> None:
    words = verdict_sentences.dependence("L0", swept(profile, 0.03, 1), profile)
    assert "cannot be tested at this profile: there are 3 values, but 1 seed at some of them" in words
    assert "at 16" in words
    width = verdict_sentences.dependence("width", swept(profile, 0.03, 1), profile)
    assert "the primary grid has one number of latents" in width


def test_where_a_factor_can_be_tested_is_read_off_the_profiles() -> None:
    everything = [load(name) for name in ("smoke", "quick", "paper")]
    assert verdicts.profiles_that_test("layer", everything) == ["paper"]
    quick = everything[1]
    sweep = quick.real.sweeps[0].model_copy(update={"seeds": (0, 1)})
    more = quick.model_copy(
        update={"name": "more", "real": quick.real.model_copy(update={"sweeps": (sweep,)})}
    )
    single = quick.model_copy(
        update={"real": quick.real.model_copy(update={"sweeps": (quick.real.sweeps[0],)})}
    )
    assert verdicts.profiles_that_test("L0", [single, more]) == ["more"]


# ------------------------------------------------------------------------------------------- what is gathered


def test_early_scores_are_the_curves_at_half_of_the_samples() -> None:
    about = {
        "experiment": "synthetic_recovery", "world_or_hook": "constant", "architecture": "topk",
        "constraint": "trained", "init": "iso", "seed": 0, "learning_rate": 1e-3, "l0_target": 4, "d_sae": 8,
    }  # fmt: skip
    curve = pd.DataFrame(
        {
            "samples": [0, 50, 90, 200],
            "recovery": [0.0, np.nan, 0.2, 0.9],
            "explained_variance_held_out": [0.1, np.nan, 0.6, 0.7],
        }
    ).assign(**about)
    scores = pd.DataFrame(
        {"metric": ["recovery", "explained_variance", "l0"], "value": [0.9, 0.7, 4.0],
         "floor": [0.01, 0.0, 8.0], "ceiling": [1.0, 1.0, np.nan], "n": 100, "unit": "feature"}
    ).assign(**about)  # fmt: skip
    early = verdicts.early_scores(ToyTables(scores, curve, pd.DataFrame(), []))
    assert early.set_index("metric")["value"].to_dict() == {"recovery": 0.2, "explained_variance": 0.6}
    assert early.set_index("metric").loc["recovery", "floor"] == 0.01
    assert set(early["experiment"]) == {"synthetic_recovery_early"}


def test_few_seeds_are_spoken_of_calmly(profile: Profile, ledger: Ledger) -> None:
    noisy = pd.concat(
        [rows(profile, [0.5, 0.7]), rows(profile, [0.6, 0.55], "soft_frozen_decoder")], ignore_index=True
    )
    judged = claims.evaluate_all(ledger, noisy, primary=claims.primary_grid(profile))
    words = verdict_sentences.overall(judged, profile)
    assert words.startswith("1 comparison of the ledger has scores at the profile `quick`: 1 *inconclusive*.")
    assert "*inconclusive*" in words
    assert "neither a match nor a difference" in words
    nothing = claims.evaluate_all(ledger, noisy.iloc[:0], primary=claims.primary_grid(profile))
    assert "No comparison has a result" in verdict_sentences.overall(nothing, profile)
