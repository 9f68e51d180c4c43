"""Harder worlds as cells: what is planned, measured, compared, and said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from sanity.experiments.harder_worlds import HarderTables

from sanity.data.worlds import HarderWorld
from sanity.engine.store import LocalStore
from sanity.experiments import harder_worlds
from sanity.experiments import harder_worlds_findings as findings
from sanity.profiles import Profile, load


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Cells this small are done before a second process has started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sanity.engine.computing.places", lambda **_: 1)
        yield


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Smoke's worlds, smaller still."""
    grid = load("smoke").worlds.model_dump()
    changes: dict[str, object] = {"d_in": 12, "d_sae": 40, "l0": 2, "steps": 20, "batch_size": 128}
    grid["worlds"] = [world for world in grid["worlds"] if world["name"] != "Zipf"]
    changes["arms"] = [*grid["arms"], {"constraint": "soft_frozen_decoder"}]
    return load("smoke", worlds=grid | changes | {"misfits": [{"name": "double", "l0": 4}]})


@pytest.fixture(scope="module")
def tables(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> HarderTables:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harder_worlds, "sae_lens_version", lambda: None)
        return harder_worlds.tables(profile, LocalStore(tmp_path_factory.mktemp("worlds")))


def test_every_world_has_every_arm_and_metric(profile: Profile, tables: HarderTables) -> None:
    grid = profile.worlds
    assert set(tables.scores["world_or_hook"]) == {world.name for world in grid.worlds}
    by_arm = tables.scores.groupby(["world_or_hook", "constraint", "init", "seed"])["metric"].nunique()
    assert len(by_arm) == len(grid.worlds) * len(grid.arms) * len(grid.seeds)
    assert by_arm.min() >= 10
    assert set(tables.misfits["l0_target"]) == {4}
    assert tables.comparison.empty


def test_worlds_differ_and_the_name_is_not_part_of_the_key(profile: Profile) -> None:
    cells = harder_worlds.cells(profile)
    assert len({cell.key for cell in cells}) == len(cells)
    renamed = profile.worlds.model_dump()
    renamed["worlds"] = [{**world, "name": f"other {i}"} for i, world in enumerate(renamed["worlds"])]
    again = harder_worlds.cells(load("smoke", worlds=renamed))
    assert [cell.key for cell in again] == [cell.key for cell in cells]


def test_prose_names_the_numbers(tables: HarderTables) -> None:
    assert f"Over {tables.scores['world_or_hook'].nunique()} worlds" in findings.order_words(tables.scores)
    assert "independent" in findings.match_words(tables.scores)
    assert "double" in findings.misfit_words(tables.scores, tables.misfits)
    assert findings.absorption_words(tables.absorption)
    assert "fitting" in findings.misfit_table(tables.scores, tables.misfits).index.get_level_values(0)


def test_noise_is_taken_off_what_exact_features_explain(profile: Profile) -> None:
    words = findings.noise_words(profile.worlds)
    (loud,) = {world.noise for world in profile.worlds.worlds if world.noise}
    spec = next(harder_worlds.spec_of(profile, world) for world in profile.worlds.worlds if world.noise)
    world = HarderWorld.from_spec(spec)
    batch = world.sample(20_000, generator=torch.Generator().manual_seed(0))
    noise = batch.x - batch.dense_coefficients() @ world.features
    left = 1 - float(noise.square().sum() / (batch.x - batch.x.mean(0)).square().sum())
    assert left == pytest.approx(1 / (1 + loud), abs=0.01)
    assert f"exact features alone explain {1 / (1 + loud):.2f}" in words
    silent = [world for world in profile.worlds.worlds if not world.noise]
    assert findings.noise_words(profile.worlds.model_copy(update={"worlds": tuple(silent)})) == ""


def made(world: str, arms: dict[str, tuple[float, float]]) -> pd.DataFrame:
    rows = [
        {
            "world_or_hook": world,
            "constraint": arm,
            "init": "iso",
            "seed": 0,
            "metric": metric,
            "value": value,
        }
        for arm, values in arms.items()
        for metric, value in zip(("explained_variance", "recovery"), values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_orders_count_what_explained_variance_gets_wrong() -> None:
    agreeing = made("a", {"trained": (0.7, 0.9), "frozen_decoder": (0.6, 0.4), "untrained": (0.5, 0.0)})
    reversed_ = made("b", {"trained": (0.7, 0.1), "frozen_decoder": (0.6, 0.4), "untrained": (0.5, 0.1)})
    table = findings.orders(pd.concat([agreeing, reversed_]))
    assert table.loc["a", ["tau", "told apart", "wrong", "blind"]].tolist() == [1.0, 3, 0, 0]
    assert table.loc["b", ["told apart", "wrong", "blind"]].tolist() == [2, 1, 1]
    words = findings.order_words(pd.concat([agreeing, reversed_]))
    assert "tells 5 pairs of arms apart; explained variance has 1 of them the wrong way round" in words
    assert "reversed in: b." in words
    gap = findings.match_words(agreeing, judged="frozen_decoder")
    assert "a +0.100 and +50.0 points" in gap
    assert "the same variance" not in gap
    near = made("c", {"trained": (0.61, 0.9), "frozen_decoder": (0.6, 0.4)})
    assert "In c the two explain the same variance" in findings.match_words(near, judged="frozen_decoder")


def test_misfits_tell_which_dictionary_either_score_would_choose() -> None:
    other_seed = made("independent", {"trained": (0.1, 0.1)}).assign(seed=1)
    fitting = pd.concat([made("independent", {"trained": (0.7, 0.8)}), other_seed])
    misfits = pd.concat([made("less", {"trained": (0.5, 0.9)}), made("more", {"trained": (0.8, 0.4)})])
    words = findings.misfit_words(fitting, misfits)
    assert "less -0.200 and +10.0 points; more +0.100 and -40.0 points" in words
    assert "recovered by *less*; explained variance would choose *more*" in words
    assert "tau of the two orders is -1.00" in words


@pytest.mark.slow
def test_sae_lens_agrees_on_every_score_by_its_own_reading(profile: Profile, tmp_path: Path) -> None:
    pytest.importorskip("sae_lens")
    worlds = [
        world for world in profile.worlds.model_dump()["worlds"] if world["name"] in ("noisy", "hierarchy")
    ]
    arms = [{"constraint": "trained"}, {"constraint": "untrained"}]
    small = load(
        "smoke", worlds=profile.worlds.model_dump() | {"worlds": worlds, "arms": arms, "misfits": []}
    )
    compared = harder_worlds.tables(small, LocalStore(tmp_path)).comparison
    assert len(compared) == 2 * 2 * 6
    table = findings.comparison_table(compared)
    assert float(table["largest difference, same reading"].max()) < 1e-5
    assert float(table.loc["F1", "largest difference, our reading"]) > 1e-3
