"""From scores to verdicts, on simulated score frames: what the chain must say when the truth is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sanity.claims import SCORE_COLUMNS, Ledger, claims_table, evaluate, evaluate_all, repeated
from sanity.claims.schema import metrics_of
from sanity.errors import BadInputError
from sanity.experiments.verdicts import book_ledger

TOY = {"experiment": "synthetic_recovery", "world_or_hook": "constant", "architecture": "topk"}
SIZES = {"subject": None, "d_in": 100, "n_features": 3200, "d_sae": 3200, "samples": 40_960_000}
"""Those of the ledger's scale `toy`, with an L0 of 20."""
REAL = {
    "experiment": "real_activations",
    "world_or_hook": "blocks.10.hook_resid_post",
    "architecture": "topk",
}
RECOVERY = "soft-frozen-recovers-in-the-toy"
PROBING = "probing-frozen-decoder"


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return book_ledger(repository / "book" / "claims.yml")


def scores(
    values: list[float],
    *,
    constraint: str = "trained",
    init: str = "iso",
    metric: str = "recovery",
    seeds: list[int] | None = None,
    floor: float = 0.0,
    ceiling: float | None = 1.0,
    place: dict[str, Any] = TOY,
    **more: Any,
) -> pd.DataFrame:
    frame = pd.DataFrame({"value": values, "seed": seeds if seeds is not None else list(range(len(values)))})
    fixed = {"constraint": constraint, "init": init, "metric": metric, "floor": floor, "ceiling": ceiling}
    usual = {"n": 100, "unit": "feature", "learning_rate": 3e-4, "l0_target": 20}
    return frame.assign(**{**usual, **SIZES, **fixed, **place, **more})


def pair(judged: list[float], against: list[float], **more: Any) -> pd.DataFrame:
    """Soft-frozen against frozen decoder: the two arms of the claim RECOVERY."""
    return pd.concat(
        [
            scores(judged, constraint="soft_frozen_decoder", **more),
            scores(against, constraint="frozen_decoder", **more),
        ]
    )


def untrained(seeds: int, **more: Any) -> pd.DataFrame:
    """An untrained dictionary far below everything, without which no equivalence stands."""
    floor = float(more.get("floor", 0.0))
    return scores([floor + 0.01 * (seed % 2) for seed in range(seeds)], constraint="untrained", **more)


def judge(ledger: Ledger, frame: pd.DataFrame, claim: str = RECOVERY, **more: Any) -> Any:
    return evaluate(ledger.claim(claim), frame, ledger, **more)


# ------------------------------------------------------------------------- the chain with a planted truth


def test_a_planted_good_sae_is_found_better(ledger: Ledger) -> None:
    rng = np.random.default_rng(0)
    found = judge(ledger, pair(list(rng.normal(0.95, 0.02, 3)), list(rng.normal(0.02, 0.01, 3))))
    assert found.verdict.verdict == "trained better"
    assert found.supported is True


def test_a_planted_oracle_that_is_perfect_on_every_seed_is_found_better(ledger: Ledger) -> None:
    found = judge(ledger, pair([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]))
    assert found.verdict.verdict == "trained better"
    assert "no variance over seeds" in found.verdict.qualifier


def test_a_baseline_that_is_secretly_the_trained_sae_is_equivalent(ledger: Ledger) -> None:
    values = [0.71, 0.68, 0.74]
    found = judge(ledger, pd.concat([pair(values, values), scores(values), untrained(3)]))
    assert (found.verdict.verdict, found.verdict.qualifier) == ("equivalent", "identical")
    assert found.supported is False


def test_a_baseline_that_is_secretly_better_is_found_better(ledger: Ledger) -> None:
    found = judge(ledger, pair([0.1, 0.12, 0.11], [0.6, 0.63, 0.61]))
    assert found.verdict.verdict == "baseline better"


def test_a_broken_metric_turns_its_verdicts_off_and_no_others(ledger: Ledger) -> None:
    frame = pd.concat(
        [pair([0.95, 0.94, 0.96], [0.02, 0.01, 0.02]),
         scores([0.9, 0.91, 0.9], metric="explained_variance"),
         scores([0.5, 0.52, 0.51], metric="explained_variance", constraint="frozen_decoder")]
    )  # fmt: skip
    gates = {"recovery": "corrupting the oracle did not lower it"}
    results = {r.claim.id: r for r in evaluate_all(ledger, frame, failed_gates=gates)}
    assert results[RECOVERY].verdict.verdict == "open"
    assert results[RECOVERY].verdict.qualifier == "validity gate failed"
    assert results[RECOVERY].verdict.value == pytest.approx(0.9333, abs=1e-3)
    assert results["frozen-decoder-toy-ev"].verdict.verdict == "trained better"
    touched = [r for r in results.values() if "recovery" in metrics_of(r.claim)]
    assert all(r.verdict.verdict == "open" for r in touched)


def edited_facts(trained: list[float], soft: list[float], **more: Any) -> pd.DataFrame:
    about: dict[str, Any] = {
        "metric": "ravel_disentanglement", "place": {**REAL, "experiment": "causal_editing"},
        "floor": 0.5, "ceiling": 0.7,
    }  # fmt: skip
    return pd.concat(
        [
            scores(trained, **{**about, **more}),
            scores(soft, constraint="soft_frozen_decoder", **{**about, **more}),
        ]
    )


def test_of_arms_that_are_all_worse_than_doing_nothing_none_is_better(ledger: Ledger) -> None:
    claim = "ravel-soft-frozen"
    found = judge(ledger, edited_facts([0.46, 0.47, 0.45], [0.39, 0.40, 0.38]), claim)
    assert (found.verdict.verdict, found.supported) == ("no range", None)
    assert found.verdict.qualifier == "no arm above the floor"
    assert found.verdict.value == pytest.approx(0.07)
    assert "the better of doing nothing and swapping everything" in found.verdict.words
    assert "0.46 (floor 0.5)" in found.verdict.words
    # Neither does sameness count there: two that fail are not found equivalent.
    same = judge(ledger, edited_facts([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), claim)
    assert same.verdict.verdict == "no range"
    # One arm above the floor is enough, and a missing floor says nothing.
    assert judge(ledger, edited_facts([0.56, 0.57, 0.55], [0.39, 0.40, 0.38]), claim).supported is False
    unknown = judge(ledger, edited_facts([0.46, 0.47, 0.45], [0.39, 0.40, 0.38], floor=None), claim)
    assert unknown.verdict.verdict == "trained better"


def test_the_best_of_several_below_the_floor_is_not_better_either(ledger: Ledger) -> None:
    about: dict[str, Any] = {
        "metric": "ravel_disentanglement", "place": {**REAL, "experiment": "causal_editing"}, "floor": 0.5,
        "ceiling": 0.7,
    }  # fmt: skip

    def frame(best: float) -> pd.DataFrame:
        arms = {"frozen_decoder": 0.2, "soft_frozen_decoder": best, "frozen_encoder": 0.25}
        random = [scores([v, v + 0.01, v - 0.01], constraint=name, **about) for name, v in arms.items()]
        return pd.concat([scores([0.46, 0.48, 0.45], **about), *random])

    below = judge(ledger, frame(0.39), "ravel-best-frozen").verdict
    assert (below.verdict, below.qualifier) == ("no range", "no arm above the floor")
    assert judge(ledger, frame(0.6), "ravel-best-frozen").verdict.verdict == "baseline better"


def test_two_seeds_with_noise_are_inconclusive(ledger: Ledger) -> None:
    found = judge(ledger, pair([0.9, 0.5], [0.4, 0.45]))
    assert (found.verdict.verdict, found.supported) == ("inconclusive", None)
    rng = np.random.default_rng(1)
    draws = rng.normal(0.5, 0.2, size=(40, 2, 2))
    words = [judge(ledger, pair(list(a), list(b))).verdict.verdict for a, b in draws]
    assert words.count("inconclusive") > 34


def test_latents_do_not_count_as_replicates(ledger: Ledger) -> None:
    frame = pair([0.6, 0.5], [0.4, 0.45]).assign(n=4608, unit="latent")
    found = judge(ledger, frame)
    assert (found.verdict.n_seeds, found.verdict.verdict) == (2, "inconclusive")


def test_a_metric_whose_range_is_reseed_noise_has_no_range(ledger: Ledger) -> None:
    place = {**REAL, "experiment": "sparse_probing"}
    frame = pd.concat(
        [scores([0.52, 0.51, 0.53], metric="sparse_probing_top1", floor=0.5, ceiling=0.53, place=place),
         scores([0.51, 0.50, 0.52], metric="sparse_probing_top1", floor=0.5, ceiling=0.53, place=place,
                constraint="frozen_decoder", init="cov")]
    )  # fmt: skip
    assert judge(ledger, frame, PROBING).verdict.verdict == "no range"


def test_reseed_noise_as_wide_as_the_range_leaves_no_range(ledger: Ledger) -> None:
    place = {**REAL, "experiment": "sparse_probing"}
    about: dict[str, Any] = {"metric": "sparse_probing_top1", "floor": 0.5, "place": place}
    noisy = np.array([0.55, 0.72, 0.63])
    for ceiling, wanted in ((0.75, "no range"), (1.0, "trained better")):
        frame = pd.concat(
            [
                scores(list(noisy), ceiling=ceiling, **about),
                scores(
                    list(noisy - [0.08, 0.081, 0.079]),
                    ceiling=ceiling,
                    constraint="frozen_decoder",
                    init="cov",
                    **about,
                ),
            ]
        )
        assert judge(ledger, frame, PROBING).verdict.verdict == wanted


# ------------------------------------------------------------------------------------------- bad input


def test_nothing_measured_is_open_and_says_what_there_is(ledger: Ledger) -> None:
    found = judge(ledger, scores([0.9, 0.9, 0.91], architecture="relu"))
    assert found.verdict.verdict == "open"
    assert "architecture = topk" in found.verdict.words
    assert "relu" in found.verdict.words


def test_unpaired_seeds_nan_and_double_cells_are_refused_in_words(ledger: Ledger) -> None:
    unpaired = pair([0.9, 0.91], [0.1, 0.12]).iloc[:-1]
    with pytest.raises(BadInputError, match=rf"claim '{RECOVERY}', recovery: the scores are not paired"):
        judge(ledger, unpaired)
    with pytest.raises(BadInputError, match="hold nan for seed 1 of frozen decoder"):
        judge(ledger, pair([0.9, 0.91], [0.1, np.nan]))
    double = pd.concat([pair([0.9], [0.1]), pair([0.8], [0.1], learning_rate=1e-3)])
    with pytest.raises(BadInputError, match="learning_rate"):
        judge(ledger, double)
    with pytest.raises(BadInputError, match=r"lack the columns:? floor"):
        judge(ledger, double.drop(columns="floor"))


def test_one_broken_cell_leaves_the_other_claims_standing(ledger: Ledger) -> None:
    frame = pd.concat(
        [pair([0.9, 0.91], [0.1, np.nan]),
         scores([0.7, 0.71, 0.7], metric="frequency_weighted_recovery", world_or_hook="variable"),
         scores([0.94, 0.95, 0.94], metric="dead_latents", architecture="batchtopk", floor=1.0, ceiling=0.0)]
    )  # fmt: skip
    results = {r.claim.id: r.verdict for r in evaluate_all(ledger, frame)}
    assert results[RECOVERY].qualifier == "refused"
    assert "nan" in results[RECOVERY].words
    assert results["topk-recovers-what-fires"].verdict == "baseline better"
    assert results["batchtopk-collapses"].verdict == "equivalent"


def test_a_single_seed_is_inconclusive_and_shows_its_value(ledger: Ledger) -> None:
    found = judge(ledger, pair([0.9], [0.1]))
    assert (found.verdict.verdict, found.verdict.qualifier) == ("inconclusive", "single seed")
    assert found.verdict.value == pytest.approx(0.8)


# ---------------------------------------------------------------------------- ranges, scopes and kinds


def test_pilot_seeds_set_the_range_and_are_not_judged(ledger: Ledger) -> None:
    place = {**REAL, "experiment": "sparse_probing"}
    pilots = sorted(ledger.pilot_seeds)
    frames = []
    for constraint, shift in (("trained", 0.0), ("frozen_decoder", -0.025)):
        init = "cov" if constraint == "frozen_decoder" else "iso"
        about: dict[str, Any] = {"constraint": constraint, "init": init, "metric": "sparse_probing_top1"}
        judged = [0.700 + shift, 0.701 + shift, 0.7005 + shift]
        frames.append(scores(judged, floor=0.5, ceiling=1.0, place=place, **about))
        pilot = [0.70, 0.71, 0.705] if constraint == "trained" else [0.1, 0.2, 0.9]
        frames.append(scores(pilot, seeds=pilots, floor=0.5, ceiling=0.7, place=place, **about))
    about = {"metric": "sparse_probing_top1", "floor": 0.5, "ceiling": 1.0, "place": place}
    frame = pd.concat([*frames, untrained(3, **about)])
    with_pilots = judge(ledger, frame, PROBING).verdict
    assert with_pilots.margin == pytest.approx(0.1 * 0.2)
    assert with_pilots.n_seeds == 3
    without = judge(ledger, frame[~frame["seed"].isin(pilots)], PROBING).verdict
    assert without.margin == pytest.approx(0.1 * 0.5)
    assert (with_pilots.verdict, without.verdict) == ("trained better", "equivalent")


def test_the_primary_grid_fills_what_a_claim_leaves_out(ledger: Ledger) -> None:
    frame = pd.concat(
        [scores(values, metric="explained_variance", place=REAL, constraint=arm, learning_rate=rate)
         for arm, values, rate in (
             ("trained", [0.76, 0.77, 0.75], 3e-4), ("soft_frozen_decoder", [0.74, 0.75, 0.73], 3e-4),
             ("trained", [0.5], 1e-3), ("soft_frozen_decoder", [0.74], 1e-3))]
    )  # fmt: skip
    with pytest.raises(BadInputError, match="learning_rate"):
        judge(ledger, frame, "real-soft-frozen-ev")
    primary = {"real_activations": {"learning_rate": 3e-4}}
    frame = pd.concat([frame, untrained(3, metric="explained_variance", place=REAL)])
    found = judge(ledger, frame, "real-soft-frozen-ev", primary=primary)
    assert found.verdict.verdict == "equivalent"
    assert found.verdict.value == pytest.approx(0.02)


def test_the_best_of_five_and_the_joint_headline(ledger: Ledger) -> None:
    rng = np.random.default_rng(5)
    downstream = {
        "autointerp_judge": "judged_interpretability",
        "sparse_probing_top1": "sparse_probing",
        "ravel_disentanglement": "causal_editing",
    }
    frames = []
    for metric, experiment in downstream.items():
        noise = rng.normal(0.7, 0.02, size=5)
        for constraint, init, shift in (
            ("trained", "iso", 0.0), ("frozen_decoder", "iso", -0.2), ("frozen_decoder", "cov", -0.1),
            ("soft_frozen_decoder", "iso", -0.01), ("frozen_encoder", "iso", -0.15),
            ("frozen_encoder", "cov", -0.25),
        ):  # fmt: skip
            values = list(noise + shift + rng.normal(0, 0.004, size=5))
            place = {**REAL, "experiment": experiment}
            frames.append(
                scores(values, constraint=constraint, init=init, metric=metric, floor=0.5, place=place)
            )
        frames.append(untrained(5, metric=metric, floor=0.5, place=place))
    frame = pd.concat(frames)
    best = judge(ledger, frame, "probing-best-frozen")
    assert best.verdict.verdict == "equivalent"
    assert "best of 5: soft-frozen decoder" in best.verdict.qualifier
    assert judge(ledger, frame, "headline-soft-frozen-matches-everywhere").supported is True
    literal = judge(ledger, frame, "headline-frozen-decoder-matches-everywhere")
    assert literal.verdict.verdict == "trained better"
    assert literal.supported is False
    partly = frame[frame["metric"] != "autointerp_judge"]
    assert judge(ledger, partly, "headline-soft-frozen-matches-everywhere").verdict.verdict == "open"


def test_a_baseline_above_its_expected_range_is_the_better_one(ledger: Ledger) -> None:
    frame = scores([0.3, 0.32, 0.31], constraint="frozen_decoder")
    found = judge(ledger, frame, "frozen-decoder-recovers-nothing")
    assert (found.verdict.verdict, found.verdict.qualifier) == ("baseline better", "above the expected range")
    assert found.supported is False


def test_a_computed_number_needs_one_row_and_no_interval(ledger: Ledger) -> None:
    place = {"experiment": "cone_geometry", "world_or_hook": "gemma-2-2b", "architecture": "topk"}
    about: dict[str, Any] = {
        "metric": "log10_cone_bound",
        "constraint": "soft_frozen_decoder",
        "place": place,
    }
    d, m, tau = 2304, 73_728, 0.8
    bound = float(np.log10(m) - d * tau**2 / 2 / np.log(10))
    assert judge(ledger, scores([bound], **about), "cone-bound").verdict.verdict == "equivalent"
    assert judge(ledger, scores([-300.0], **about), "cone-bound").supported is False


def test_sameness_that_no_constraint_was_needed_for_is_said_to_be_so(ledger: Ledger) -> None:
    about: dict[str, Any] = {"metric": "explained_variance", "place": REAL}
    frame = pd.concat(
        [scores([0.43, 0.44, 0.43], **about),
         scores([0.43, 0.44, 0.431], constraint="soft_frozen_decoder", **about), untrained(3, **about)]
    )  # fmt: skip
    for cosine, said in ((0.9, True), (0.5, False)):
        turned = scores([cosine] * 3, place=REAL, metric="cosine_to_init")
        found = judge(ledger, pd.concat([frame, turned]), "real-soft-frozen-ev").verdict
        assert found.verdict == "equivalent"
        assert ("hardly constrained: trained directions keep a cosine of 0.90" in found.qualifier) == said
    assert "hardly" not in judge(ledger, frame, "real-soft-frozen-ev").verdict.qualifier


# --------------------------------------------------------------------------------------------- scales


def test_an_expected_value_is_judged_at_its_own_scale_only(ledger: Ledger) -> None:
    frame = scores([0.998, 0.999, 0.999])
    claim = "toy-constant-topk-recovery"
    assert judge(ledger, frame, claim).verdict.verdict == "equivalent"
    small = judge(ledger, frame.assign(d_in=40, n_features=640.0), claim)
    assert (small.verdict.verdict, small.verdict.qualifier) == ("open", "another scale")
    assert small.supported is None
    assert small.verdict.value == pytest.approx(0.9987, abs=1e-4)
    assert "d_in 100, n_features 3,200" in small.verdict.words
    assert "measured here at d_in 40, n_features 640" in small.verdict.words
    # a hundredth more or less is the same scale; an unknown size is not
    assert judge(ledger, frame.assign(n_features=3210), claim).verdict.verdict == "equivalent"
    assert judge(ledger, frame.assign(n_features=None), claim).verdict.qualifier == "another scale"
    assert judge(ledger, frame.assign(d_in=[100, 100, 40]), claim).verdict.qualifier == "another scale"
    unknown = judge(ledger, frame.drop(columns=[*SIZES, "l0_target"]).assign(l0_target=np.nan), claim)
    assert "is not known" in unknown.verdict.words


def test_a_comparison_is_judged_at_another_scale_and_says_so(ledger: Ledger) -> None:
    found = judge(ledger, pair([0.95, 0.94, 0.96], [0.02, 0.01, 0.02], d_in=40))
    assert found.verdict.verdict == "trained better"
    assert "measured here at d_in 40" in found.elsewhere
    row = claims_table([found], profile="quick").iloc[0]
    assert row["profile and scale"] == "quick, another scale"
    assert row["stands"] == "yes, at another scale"
    assert found.to_json()["another_scale"] == row["scale"] == found.elsewhere


def test_a_failed_gate_is_the_reason_that_is_given_first(ledger: Ledger) -> None:
    frame = scores([0.998, 0.999, 0.999], d_in=40)
    found = judge(ledger, frame, "toy-constant-topk-recovery", failed_gates={"recovery": "broken"})
    assert found.verdict.qualifier == "validity gate failed"


# ------------------------------------------------------------------------------------------- names of arms


def test_an_arm_at_another_cone_is_an_arm_of_its_own(ledger: Ledger) -> None:
    claim = ledger.claim(RECOVERY)
    wider = claim.model_validate(
        claim.model_dump() | {"judged": {"constraint": "soft_frozen_decoder(cosine=0.6)"}}
    )
    assert wider.judged.label == "soft-frozen decoder 0.6 (iso)"
    frame = pair([0.1, 0.12, 0.11], [0.02, 0.01, 0.02])
    assert evaluate(wider, frame, ledger).verdict.verdict == "open"
    wide = scores([0.9, 0.92, 0.91], constraint="soft_frozen_decoder(cosine=0.6)")
    found = evaluate(wider, pd.concat([frame, wide]), ledger).verdict
    assert (found.verdict, found.value) == ("trained better", pytest.approx(0.8933, abs=1e-4))


def test_runs_with_another_objective_are_no_further_seeds(ledger: Ledger) -> None:
    frame = pair([0.9, 0.92, 0.91], [0.02, 0.01, 0.02], objective="plain")
    other = pair([0.1, 0.1, 0.1], [0.2, 0.2, 0.2], objective="incoherence")
    assert judge(ledger, pd.concat([frame, other])).verdict.value == pytest.approx(0.8933, abs=1e-4)
    claim = ledger.claim(RECOVERY)
    arm = {"constraint": "soft_frozen_decoder", "objective": "incoherence"}
    guided = claim.model_validate(claim.model_dump() | {"judged": arm})
    assert evaluate(guided, pd.concat([frame, other]), ledger).verdict.value == pytest.approx(
        0.0833, abs=1e-4
    )


# -------------------------------------------------------------------------------------------- reports


def test_json_has_what_the_command_promises_and_is_json(ledger: Ledger) -> None:
    rows = [r.to_json() for r in evaluate_all(ledger, pair([0.95, 0.94, 0.96], [0.02, 0.01, 0.02]))]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    row = next(r for r in rows if r["id"] == RECOVERY)
    assert row["verdict"] == "trained better"
    assert row["interval"][0] < row["value"] < row["interval"][1]
    assert next(r for r in rows if r["id"] == PROBING)["interval"] is None


def test_the_front_pages_table_shows_open_claims_and_what_is_not_blind(ledger: Ledger) -> None:
    results = evaluate_all(ledger, pair([0.95, 0.94, 0.96], [0.02, 0.01, 0.02]))
    table = claims_table(results, profile="gpu").set_index("id")
    assert len(table) == len(ledger.claims)
    assert table.loc[RECOVERY, "stands"] == "yes"
    ours = "frozen decoder 0.017, soft-frozen decoder 0.950: difference +0.933 [0.9"
    assert str(table.loc[RECOVERY, "ours"]).startswith(ours)
    assert table.loc[RECOVERY, "profile and scale"] == "gpu, same scale"
    assert table.loc[RECOVERY, "margin or range"] == "0.1 (10% of the range), not blind"
    assert table.loc["toy-constant-topk-recovery", "margin or range"] == "at least 0.95, not blind"
    assert table.loc["toy-constant-jumprelu-ev", "margin or range"] == "0.62 to 0.72, blind"
    assert (table.loc[PROBING, "verdict"], table.loc[PROBING, "in detail"]) == ("open", "no result")
    assert set(table.loc[table["verdict"] == "open", "ours"]) == {""}


def test_scores_of_a_run_that_has_two_values_are_found() -> None:
    frame = pair([0.95, 0.94], [0.02, 0.01]).assign(subject=None, d_sae=96)
    assert repeated(frame).empty
    assert repeated(pd.concat([frame, frame])).empty
    assert repeated(pd.concat([frame, frame.assign(value=0.5, d_sae=48)])).empty
    other = frame[frame["seed"] == 1].assign(value=0.5)
    found = repeated(pd.concat([frame, other]))
    assert len(found) == 4
    assert set(found["seed"]) == {1}


def test_score_columns_are_what_the_contract_of_tidy_frames_says() -> None:
    assert set(SCORE_COLUMNS) <= set(pair([0.1], [0.2]).columns)
