"""Aims as cells: pairing with plain training, equal explained variance, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
from sanity.experiments.objectives import AimTables, gains

from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.experiments import objectives
from sanity.experiments import objectives_findings as findings
from sanity.profiles import Profile, load


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Cells this small are done before a second process has started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sanity.engine.computing.places", lambda **_: 1)
        yield


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Three aims on one architecture."""
    grid = load("smoke").objectives.model_dump()
    changes = {"d_in": 12, "d_sae": 40, "l0": 2, "steps": 40, "batch_size": 128, "dead_after_tokens": 1000}
    return load("smoke", objectives=grid | changes | {"aims": {"batchtopk": ["auxiliary", "topk_first"]}})


@pytest.fixture(scope="module")
def tables(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> AimTables:
    return objectives.tables(profile, LocalStore(tmp_path_factory.mktemp("aims")))


def test_plain_training_is_always_there_and_gains_nothing(profile: Profile, tables: AimTables) -> None:
    assert set(tables.scores["aim"]) == {"plain", "auxiliary loss", "TopK first"}
    assert len(tables.gains) == 3 * len(profile.objectives.seeds)
    plain = tables.gains[tables.gains["aim"] == "plain"]
    assert (plain["recovery_gain"] == 0).all()
    assert plain["recovery_at_equal_ev"].equals(plain["plain_at_equal_ev"])


def test_claims_get_a_place_per_aim(profile: Profile, tables: AimTables) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives, "results", lambda *_: tables.found)
        rows, found = objectives.scores(profile)
    assert set(rows["world_or_hook"]) == {"constant", "constant, auxiliary loss", "constant, TopK first"}
    assert found == tables.found


def test_dead_latents_are_dead_after_what_the_profile_says(profile: Profile) -> None:
    aims = {cell.config.aim.name: cell.config.aim for cell in objectives.cells(profile)}
    assert aims["auxiliary loss"].dead_after_tokens == 1000
    with pytest.raises(BadInputError, match="no aim is called 'alignment'; there are: plain,"):
        objectives.aim_of(profile, "alignment")


def run(aim: str, ev: list[float], found: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    about = {"architecture": "batchtopk", "aim": aim, "seed": 0}
    metrics = {"explained_variance": ev[-1], "recovery": found[-1], "dead_latents": 0.0, "l0": 2.0}
    ends = pd.DataFrame([{**about, "metric": name, "value": value} for name, value in metrics.items()])
    course = pd.DataFrame(
        {"samples": range(len(ev)), "explained_variance_held_out": ev, "recovery": found}
    ).assign(**about)
    return ends, course


def test_recovery_at_equal_explained_variance_is_read_from_the_courses() -> None:
    plain = run("plain", [0.2, 0.4, 0.6, 0.7], [0.0, 0.1, 0.3, 0.5])
    aimed = run("TopK first", [0.5, 0.3, 0.65], [0.6, 0.6, 0.9])
    scores, curves = (pd.concat(parts, ignore_index=True) for parts in zip(plain, aimed, strict=True))
    row = gains(scores, curves).set_index("aim").loc["TopK first"]
    assert row["equal_ev"] == pytest.approx(0.65)
    assert row["recovery_at_equal_ev"] == pytest.approx(0.9)
    assert row["plain_at_equal_ev"] == pytest.approx(0.4)
    assert row["recovery_gain"] == pytest.approx(0.4)
    assert row["ev_gain"] == pytest.approx(-0.05)


def test_prose_names_what_helps_and_what_harms() -> None:
    rows = [
        {"architecture": "batchtopk", "aim": aim, "seed": seed, "explained_variance": ev, "recovery": found}
        | {"ev_gain": ev - 0.6, "recovery_gain": found - 0.1, "dead_latents": 0.5, "equal_ev": ev}
        | {"recovery_at_equal_ev": found, "plain_at_equal_ev": 0.1}
        for aim, ev, found in [
            ("plain", 0.6, 0.1),
            ("TopK first", 0.601, 0.5),
            ("resampling", 0.6, 0.11),
            ("learning-rate restarts", 0.5, 0.0),
        ]
        for seed in (0, 1)
    ]
    words = findings.gain_words(pd.DataFrame(rows))
    assert "Clearly more on every seed: TopK first +40.0 points with +0.001 in EV." in words
    assert "Clearly fewer on every seed: learning-rate restarts -10.0 points" in words
    assert "resampling, +1.0 points" in words
    assert "Explained variance moves by less than 0.005 under: TopK first." in words


def test_agreement_is_told_beside_chance(tables: AimTables) -> None:
    assert set(tables.agreement["seeds"]) == {"0, 1"}
    assert tables.agreement["chance"].between(0, 1).all()
    shared = pd.DataFrame(
        [{"architecture": "topk", "shared": 0.5, "chance": 1e-9, "true_if_shared": 1.0, "true_if_not": 0.2}]
    )
    assert "100.0% of these are true features, and 20.0% of the others" in findings.agreement_words(shared)
    assert "no latent is shared" in findings.agreement_words(shared.assign(shared=0.0))
