"""The toy's cells: arms, pairing, references, and results that do not depend on their company."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from sanity.experiments.synthetic_recovery import SignedBasis, ToyTables, TrueFeatures, planning

from sanity.data.synthetic import SyntheticSpec, SyntheticWorld
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.experiments import findings, synthetic_findings, synthetic_recovery
from sanity.profiles import Profile, load

TINY = tuple(
    SyntheticSpec(d_in=12, n_features=48, expected_l0=3.0, probabilities=p) for p in ("constant", "variable")
)


@pytest.fixture(scope="module")
def profile() -> Iterator[Profile]:
    """Smoke's toy, smaller still, and the paper's worlds as small."""
    grid = load("smoke").toy.model_dump()
    worlds = [w | {"d_in": 12, "n_features": 48, "expected_l0": 3.0} for w in grid["worlds"]]
    small = {"worlds": worlds, "d_sae": 48, "l0": 3, "steps": 30, "batch_size": 128, "reference_steps": 10}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "PAPER_WORLDS", TINY)
        patch.setattr(planning, "PAPER_L0", 3)
        yield load("smoke", toy=grid | small)


@pytest.fixture(scope="module")
def tables(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> ToyTables:
    return synthetic_recovery.tables(profile, LocalStore(tmp_path_factory.mktemp("toy")))


def test_every_arm_and_architecture_is_there(tables: ToyTables) -> None:
    scores = tables.scores
    assert set(scores["world_or_hook"]) == {"constant", "variable"}
    topk = scores[scores["architecture"] == "topk"]
    assert len(topk[["constraint", "init"]].drop_duplicates()) == 7
    trained = scores[scores["constraint"] == "trained"]
    assert set(trained["architecture"]) == {"topk", "batchtopk", "jumprelu", "matryoshka"}
    assert (
        scores.groupby(["world_or_hook", "architecture", "constraint", "init", "metric"]).size().eq(1).all()
    )
    asked = {"mean_matched_cosine", "detection_f1", "uniqueness", "cosine_to_init", "dead_latents"}
    assert asked <= set(scores["metric"])


def test_the_grid_holds_one_learning_rate_and_the_variants_stand_apart(
    tables: ToyTables, profile: Profile
) -> None:
    assert set(tables.scores["learning_rate"]) == {profile.toy.learning_rate}
    assert set(tables.rates["learning_rate"]) == set(profile.toy.other_learning_rates)
    assert set(tables.auxiliary["architecture"]) == {"batchtopk"}
    assert set(tables.references["init"]) == {"truth", "signed_basis"}
    assert set(tables.untrained["rule"]) == {"topk", "batchtopk", "pursuit", "pca"}


def test_what_is_frozen_stayed_and_the_cone_holds(tables: ToyTables) -> None:
    for constraint in ("frozen_decoder", "untrained"):
        assert findings.mean_of(tables.scores, "cosine_to_init", constraint=constraint) == pytest.approx(1)
    moved = findings.mean_of(tables.scores, "cosine_to_init", constraint="trained")
    assert moved < 1 - 1e-4


def test_the_course_of_the_cosine_to_init_ends_where_the_score_is(tables: ToyTables) -> None:
    curve = tables.curves.dropna(subset=["cosine_to_init_mean"])
    run = ["world_or_hook", "architecture", "constraint", "init"]
    assert (curve[curve["samples"] == 0]["cosine_to_init_q05"] > 1 - 1e-6).all()
    ends = curve.sort_values("samples").groupby(run)["cosine_to_init_mean"].last()
    final = tables.scores[tables.scores["metric"] == "cosine_to_init"].set_index(run)["value"]
    assert (ends - final).abs().max() < 1e-6


def test_arms_of_a_seed_are_paired(tables: ToyTables) -> None:
    """Before the first step trained, soft-frozen and frozen arms of one init are the same SAE."""
    first = tables.curves[(tables.curves["samples"] == 0) & (tables.curves["architecture"] == "topk")]
    start = first[first["init"] == "iso"].groupby("world_or_hook")["explained_variance_held_out"]
    assert start.nunique().eq(1).all()
    assert start.size().eq(5).all()


def test_company_changes_nothing(profile: Profile, tables: ToyTables, tmp_path: Path) -> None:
    grid = synthetic_recovery.grid_cells(profile)
    alone = next(c for c in grid if c.config.arm.label.startswith("jumprelu"))
    store = compute([alone], LocalStore(tmp_path))
    together = next(r for r in tables.found if r.key == alone.key)
    assert require(alone, store).files == together.files


def test_the_truth_is_recovered_until_something_learns(tables: ToyTables) -> None:
    truth = tables.references[tables.references["init"] == "truth"]
    for constraint in ("untrained", "frozen_decoder"):
        fixed = truth[truth["constraint"] == constraint]
        for metric in ("recovery", "mean_matched_cosine", "uniqueness"):
            assert findings.mean_of(fixed, metric) == pytest.approx(1.0)
    left = truth[truth["constraint"] == "trained"]
    assert findings.mean_of(left, "mean_max_cosine") < 1 - 1e-5


def test_features_and_latents_tell_what_was_seen(tables: ToyTables, profile: Profile) -> None:
    samples = profile.toy.steps * profile.toy.batch_size
    seen = tables.features.groupby("world_or_hook")[["times_seen", "probability"]].mean()
    assert seen["times_seen"].to_numpy() == pytest.approx(seen["probability"] * samples, rel=0.1)
    latents = tables.latents[tables.latents["architecture"] == "topk"]
    l0 = latents.groupby(["world_or_hook", "constraint", "init"])["frequency"].sum()
    assert l0.max() <= profile.toy.l0 + 1e-9
    assert latents["antipode"].notna().eq(latents["frequency"] > 0).all()


def test_directions_that_do_not_fit_are_refused() -> None:
    gaussian = torch.randn(40, 12)
    with pytest.raises(BadInputError, match=r"the features \[48, 12\]"):
        TrueFeatures(TINY[0]).directions(gaussian, lambda: torch.eye(12))
    with pytest.raises(BadInputError, match="has 24 latents, not 40"):
        SignedBasis().directions(gaussian, lambda: torch.eye(12))
    basis = SignedBasis().directions(gaussian[:24], lambda: torch.eye(12))
    torch.testing.assert_close(basis[:12] @ basis[:12].T, torch.eye(12), atol=1e-5, rtol=0)
    assert torch.equal(basis[:12], -basis[12:])


def test_a_signed_basis_explains_of_gaussian_data_what_the_formula_says() -> None:
    z = torch.randn(200_000, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    threshold = z.abs().flatten().quantile(1 - 4 / 20) if z.numel() < 2**24 else z.abs().median()
    kept = z * (z.abs() > threshold)
    explained = 1 - float((z - kept).square().sum() / z.square().sum())
    assert synthetic_recovery.signed_basis_explained_variance(20, 4) == pytest.approx(explained, abs=2e-3)


def test_principal_components_explain_what_scikit_learn_finds() -> None:
    from sklearn.decomposition import PCA

    world = SyntheticWorld.from_spec(TINY[1])
    x = world.sample(60_000, generator=torch.Generator().manual_seed(1)).x
    theirs = PCA(3).fit(x.numpy()).explained_variance_ratio_.sum()
    assert synthetic_recovery.pca_explained_variance(world, 3) == pytest.approx(theirs, abs=5e-3)


def test_a_run_can_be_exported_and_read_again(tables: ToyTables, tmp_path: Path) -> None:
    assert synthetic_recovery.imported(tmp_path) is None
    folder = synthetic_recovery.export(tables.found, tmp_path / "night", about="A test.")
    again = synthetic_recovery.imported(folder)
    assert again is not None
    index = ["world_or_hook", "architecture", "constraint", "init", "metric", "learning_rate"]
    ours = pd.concat([tables.scores, tables.rates]).set_index(index)["value"]
    theirs = again.scores.assign(learning_rate=again.scores["learning_rate"].astype(float).round(6))
    theirs = theirs.set_index(index)["value"].astype(float)
    assert len(theirs) == len(ours)
    assert (theirs - ours).abs().max() < 1e-4
    assert set(again.latents["constraint"]) == {"trained"}
    assert "A test. 28 runs" in synthetic_findings.provenance_words(again.provenance)
    (folder / "curves.parquet").write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"curves\.parquet is missing or is not the file"):
        synthetic_recovery.imported(folder)
    with pytest.raises(BadInputError, match="nothing to export"):
        synthetic_recovery.export([], tmp_path / "empty")


def test_prose_names_the_numbers(tables: ToyTables) -> None:
    table = findings.paper_against_ours(tables.scores)
    assert table.loc[("variable", "BatchTopK"), "recovered, paper"] == pytest.approx(0.09)
    assert "explained variance of" in findings.recovery_words(tables.scores)
    trained = tables.curves[tables.curves["constraint"] == "trained"]
    assert findings.transition_words(trained)
    assert "untrained" in findings.baseline_words(tables.scores)


def test_tables_of_the_findings_hold_the_scores(tables: ToyTables) -> None:
    ev = synthetic_findings.reference_table(tables.scores, tables.references, "explained_variance")
    assert ev.notna().all().all()
    trained = findings.mean_of(
        tables.scores, "explained_variance", constraint="trained", architecture="jumprelu",
        world_or_hook="variable",
    )  # fmt: skip
    assert ev.loc["trained from random directions", ("variable", "JumpReLU")] == trained
    tied = ev.loc["truth, tied encoder"]
    assert tied["constant", "BatchTopK"] == tied["constant", "Matryoshka"]
    collapse = synthetic_findings.collapse_table(tables.geometry)
    assert (collapse["per dimension"] * 12).to_numpy() == pytest.approx(collapse["latents that fire"])
    variants = synthetic_findings.variant_table(
        tables.scores, tables.rates, tables.auxiliary, ["explained_variance", "recovery"]
    )
    runs = variants.loc[("constant", "BatchTopK")].index
    assert list(runs) == ["lr 0.0003", "lr 0.003", "lr 0.003, auxiliary loss"]
    assert "BatchTopK, variable: at best" in synthetic_findings.variant_words(variants)
    variable = tables.features[tables.features["world_or_hook"] == "variable"]
    seen = synthetic_findings.frequency_table(variable)
    total = (seen["times_seen"] * seen["features"]).groupby(seen["architecture"]).sum()
    assert (total - variable.groupby("architecture")["times_seen"].sum()).abs().max() < 1e-6
    assert (seen.groupby("architecture")["times_seen"].diff().dropna() >= 0).all()
