"""The toy's cells: arms, pairing, and results that do not depend on their company."""

from __future__ import annotations

from pathlib import Path

import pytest

from sanity.computing import compute
from sanity.experiments import findings, synthetic_recovery
from sanity.experiments.synthetic_recovery import ToyTables
from sanity.profiles import Profile, load
from sanity.store import LocalStore, require


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Smoke's toy, smaller still."""
    grid = load("smoke").toy.model_dump()
    worlds = [w | {"d_in": 12, "n_features": 48, "expected_l0": 3.0} for w in grid["worlds"]]
    return load("smoke", toy=grid | {"worlds": worlds, "d_sae": 48, "l0": 3, "steps": 30, "batch_size": 128})


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


def test_what_is_frozen_stayed_and_the_cone_holds(tables: ToyTables) -> None:
    for constraint in ("frozen_decoder", "untrained"):
        assert findings.mean_of(tables.scores, "cosine_to_init", constraint=constraint) == pytest.approx(1)
    moved = findings.mean_of(tables.scores, "cosine_to_init", constraint="trained")
    assert moved < 1 - 1e-4


def test_arms_of_a_seed_are_paired(tables: ToyTables) -> None:
    """Before the first step trained, soft-frozen and frozen arms of one init are the same SAE."""
    first = tables.curves[(tables.curves["samples"] == 0) & (tables.curves["architecture"] == "topk")]
    start = first[first["init"] == "iso"].groupby("world_or_hook")["explained_variance_held_out"]
    assert start.nunique().eq(1).all()
    assert start.size().eq(5).all()


def test_company_changes_nothing(profile: Profile, tables: ToyTables, tmp_path: Path) -> None:
    alone = next(c for c in synthetic_recovery.cells(profile) if c.config.arm.label.startswith("jumprelu"))
    store = compute([alone], LocalStore(tmp_path))
    together = next(r for r in tables.found if r.key == alone.key)
    assert require(alone, store).files == together.files


def test_prose_names_the_numbers(tables: ToyTables) -> None:
    table = findings.paper_against_ours(tables.scores)
    assert table.loc[("variable", "BatchTopK"), "recovered, paper"] == pytest.approx(0.09)
    assert "explained variance of" in findings.recovery_words(tables.scores)
    trained = tables.curves[tables.curves["constraint"] == "trained"]
    assert findings.transition_words(trained)
    assert "untrained" in findings.baseline_words(tables.scores)
