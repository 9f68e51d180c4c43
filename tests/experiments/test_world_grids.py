"""Grids on synthetic worlds: what is planned, what is frozen, what is recovered, and by which keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from tiny_profile import tiny_profile

from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import METRICS
from sanity.experiments import scrambling
from sanity.experiments.objective_gains import agreement
from sanity.experiments.planner import plan_grids
from sanity.experiments.reading import Reader
from sanity.experiments.untrained_dictionaries import pca_explained_variance, signed_basis_explained_variance
from sanity.models import Arm, TopK
from sanity.models.arm import gaussian_matrix
from sanity.sources import SignedBasis, TrueFeatures, World
from sanity.stats import gates


@pytest.fixture(scope="module")
def reader(store: LocalStore) -> Reader:
    return Reader(tiny_profile(), store)


@pytest.fixture(scope="module")
def scores(reader: Reader) -> pd.DataFrame:
    return reader.scores("synthetic_recovery")


def by_arm(scores: pd.DataFrame, metric: str) -> pd.Series:
    rows = scores[(scores["metric"] == metric) & (scores["architecture"] == "topk")]
    return rows.groupby(["constraint", "init"])["value"].mean()


def test_every_arm_and_architecture_is_there_once(scores: pd.DataFrame) -> None:
    run = ["world_or_hook", "architecture", "constraint", "init", "seed"]
    assert scores.groupby(run)["metric"].nunique().nunique() == 1
    assert len(scores.drop_duplicates(run)) == 2 * 2 * (6 + 2 * 2)
    assert not scores.duplicated([*run, "metric"]).any()
    assert {"frozen_both", "soft_frozen_decoder"} <= set(scores["constraint"])
    assert set(scores["world_or_hook"]) == {"constant", "variable"}
    l0 = scores[(scores["metric"] == "l0") & (scores["architecture"] == "topk")]["value"]
    assert l0.between(2.5, 3.0).all()


def test_what_is_frozen_stayed_and_the_cone_holds(scores: pd.DataFrame) -> None:
    turned = by_arm(scores, "cosine_to_init")
    assert turned["frozen_decoder", "iso"] == pytest.approx(1, abs=1e-6)
    assert turned["frozen_both", "iso"] == pytest.approx(1, abs=1e-6)
    assert turned["soft_frozen_decoder", "iso"] >= 0.8 - 1e-6
    assert turned["trained", "iso"] < 1
    encoder = by_arm(scores, "encoder_cosine_to_init")
    assert encoder["frozen_encoder", "cov"] == pytest.approx(1, abs=1e-5)
    assert by_arm(scores, "share_on_edge")["trained", "iso"] == 0


def test_arms_of_a_seed_are_paired(reader: Reader) -> None:
    runs = [run.run.arm for run in reader.runs("synthetic_recovery")]
    assert {arm.seed for arm in runs} == {0, 1}
    assert torch.equal(gaussian_matrix(0, 48, 12), gaussian_matrix(0, 48, 12))
    cells = [run.trained for run in reader.runs("synthetic_recovery") if run.place == "constant"]
    assert len({cell.company for cell in cells}) == 2, "one stream for each seed"


def test_company_changes_nothing(reader: Reader, scores: pd.DataFrame, tmp_path: Path) -> None:
    run = reader.runs("synthetic_recovery")[2]
    (alone,) = results([run.scored["reconstruction"]], LocalStore(tmp_path))
    (together,) = reader.results([run.scored["reconstruction"]])
    assert alone.files["scores.parquet"]["sha256"] == together.files["scores.parquet"]["sha256"]


def test_places_and_grids_are_names_and_no_part_of_a_key() -> None:
    profile = tiny_profile()
    renamed = profile.model_dump()
    first = profile.sources["constant"].made(profile.source_named)
    again = tiny_profile().sources["constant"].made(profile.source_named)
    assert first == again
    assert renamed["grids"].keys() == profile.grids.keys()
    keys = {cell.key for cell in plan_grids(profile).cells}
    assert keys == {cell.key for cell in plan_grids(tiny_profile(about="another")).cells}


def test_the_truth_is_recovered_until_something_learns(reader: Reader) -> None:
    found = by_arm(reader.scores("synthetic_recovery_references"), "recovery")
    assert found["untrained", "truth"] == found["frozen_decoder", "truth"] == 1
    assert found["trained", "truth"] <= 1


def test_features_and_latents_tell_what_was_seen(reader: Reader) -> None:
    features = reader.table("features", "synthetic_recovery")
    latents = reader.table("latents", "synthetic_recovery")
    one = features[(features["seed"] == 0) & (features["world_or_hook"] == "constant")]
    one = one[(one["constraint"] == "trained") & (one["architecture"] == "topk")]
    assert len(one) == 48
    assert one["times_seen"].sum() == pytest.approx(30 * 64 * 3, rel=0.1)
    assert latents["frequency"].between(0, 1).all()
    geometry = reader.table("geometry", "synthetic_recovery")
    assert len(geometry) == len(reader.runs("synthetic_recovery"))


def test_curves_end_where_the_score_is(reader: Reader, scores: pd.DataFrame) -> None:
    curves = reader.curves("synthetic_recovery").dropna(subset=["recovery"])
    run = ["world_or_hook", "architecture", "constraint", "init", "seed"]
    ends = curves.sort_values("samples_seen").groupby(run)["recovery"].last()
    final = scores[scores["metric"] == "recovery"].set_index(run)["value"]
    pd.testing.assert_series_equal(ends.sort_index(), final.sort_index(), check_names=False, atol=1e-9)
    assert {"cosine_to_init_q50", "explained_variance_held_out", "dead_latents_held_out"} <= set(curves)
    assert curves["samples_seen"].max() == 30 * 64


def test_absorption_is_asked_in_a_hierarchy_alone(reader: Reader) -> None:
    scores = reader.scores("harder_worlds")
    asked = set(scores.loc[scores["metric"] == "absorption", "world_or_hook"])
    assert asked <= {"hierarchy"}
    assert "pursuit_explained_variance" not in set(scores["metric"]), "only in detail"


def test_latents_of_plain_training_are_compared_between_seeds(reader: Reader) -> None:
    plain = [
        (r.run.arm.seed, s.W_dec) for r, s in reader.saes("objectives") if r.run.arm.objective.name == "plain"
    ]
    agreed = agreement(plain, SyntheticWorld.from_spec(reader.profile.source_named("constant").spec).features)
    assert list(agreed["seeds"]) == ["0, 1"]
    assert agreed["shared"].between(0, 1).all()


def test_every_metric_of_the_worlds_passes_its_gate(reader: Reader) -> None:
    readings = reader.graded("recovery")
    mixed = readings[(readings["kind"] == "mixed") & (readings["place"] == "constant")]
    found = gates(
        mixed, higher_is_better=dict.fromkeys(("recovery", "mean_max_cosine", "detection_f1"), True)
    )
    assert {found[name].state for name in ("recovery", "mean_max_cosine", "detection_f1")} == {"passed"}
    intact = mixed[(mixed["level"] == 0) & mixed["metric"].isin(["recovery", "cosine_to_init"])]["value"]
    assert np.allclose(intact, 1, atol=1e-6)
    assert set(readings["kind"]) == {"mixed", "replaced", "re-paired", "silenced"}
    assert {METRICS[name].gate for name in ("recovery", "mean_matched_cosine")} == {"mixed"}


def test_scrambles_show_what_is_read(reader: Reader) -> None:
    chosen = scrambling.chosen(reader.plan)
    tables = [r.table("scrambled") for r in reader.results([cell for _, _, cell in chosen])]
    placed = [t.assign(place=run.place) for (run, _, _), t in zip(chosen, tables, strict=True)]
    scrambled = pd.concat(placed, ignore_index=True).drop_duplicates(["place", "sae", "scramble", "metric"])
    changed = scrambling.changes(scrambled)
    reads = scrambling.reads(changed)
    assert reads.loc["recovery", ["encoder", "decoder"]].tolist() == [False, True]
    assert reads.loc["explained_variance", ["encoder", "decoder"]].tolist() == [True, True]
    assert not reads.loc["same_latents", "decoder"]
    assert not reads.loc[["recovery", "explained_variance", "detection_f1"], "order of latents"].any()
    row = changed.set_index(["place", "sae", "metric", "scramble"]).loc[
        ("constant", scrambling.TRUTH, "recovery", "decoder rotated")
    ]
    assert row["change"] == pytest.approx((row["value"] - 1) / (1 - row["floor"]))


def test_directions_that_do_not_fit_are_refused() -> None:
    spec = SyntheticSpec(d_in=12, n_features=48, expected_l0=3.0)
    with pytest.raises(BadInputError, match="as many latents as there are features"):
        TrueFeatures(spec).directions(gaussian_matrix(0, 40, 12), lambda: torch.eye(12))
    with pytest.raises(BadInputError, match="has 24 latents, not 48"):
        SignedBasis().directions(gaussian_matrix(0, 48, 12), lambda: torch.eye(12))
    with pytest.raises(BadInputError, match="has to know its world"):
        Arm(TopK(3), 48, init=TrueFeatures()).init.directions(
            gaussian_matrix(0, 48, 12), lambda: torch.eye(12)
        )
    assert TrueFeatures().on(World(spec)) == TrueFeatures(spec)


def test_a_signed_basis_explains_of_gaussian_data_what_the_formula_says() -> None:
    x = torch.randn(40_000, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    threshold = x.abs().flatten().sort(descending=True).values[40_000 * 4]
    kept = torch.where(x.abs() > threshold, x, 0)
    explained = 1 - float((x - kept).square().sum() / x.square().sum())
    assert explained == pytest.approx(signed_basis_explained_variance(20, 4), abs=0.005)


def test_principal_components_explain_what_scikit_learn_finds() -> None:
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=12, n_features=48, expected_l0=3.0))
    x = SyntheticStream(world, batch_size=40_000, seed=0).batch(0)
    found = PCA(3, svd_solver="full").fit(x.numpy()).explained_variance_ratio_.sum()
    assert pca_explained_variance(world, 3) == pytest.approx(float(found), abs=0.01)
