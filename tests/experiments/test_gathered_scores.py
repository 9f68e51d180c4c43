"""All that chapters leave, on a tiny model and tiny worlds: every run has one value of a metric."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sanity.experiments.lazy_training_sources import EXPERIMENT as LAZY
from sanity.experiments.synthetic_recovery import planning

from sanity import claims
from sanity.data.synthetic import SyntheticSpec
from sanity.engine.store import LocalStore
from sanity.experiments import (
    harder_worlds,
    lazy_training,
    lazy_training_findings,
    objectives,
    real_activations,
    synthetic_recovery,
    verdicts,
)
from sanity.experiments.lazy_training import NOISE
from sanity.profiles import Profile, load
from sanity.publishing import open_chapter

EDGE = "soft-frozen-ends-on-the-edge"
ARMS = [{"constraint": name} for name in ("trained", "soft_frozen_decoder", "frozen_decoder")]
TINY = {"d_sae": 48, "l0": 3, "steps": 20, "batch_size": 64, "arms": ARMS}


@pytest.fixture(scope="module")
def profile(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profile]:
    text = tmp_path_factory.mktemp("text")
    for i in range(40):
        (text / f"{i:02}.txt").write_text(
            f"story {i}. " + " ".join("abcdefgh"[(i * j) % 7 :] for j in range(60))
        )
    smoke = load("smoke")
    place = smoke.models[0].model_dump() | {
        "subject": str(tiny_llama), "hook": "blocks.1.hook_resid_post", "d_model": 32, "context": 16,
        "sources": [str(text)], "train_tokens": 1600, "heldout_tokens": 480, "shard_tokens": 400,
    }  # fmt: skip
    real = smoke.real.model_dump() | TINY | {"loss_tokens": 160}
    real["widths"][0]["d_sae"] = 24
    real["sweeps"][0]["l0"] = [3]
    world = {"d_in": 12, "n_features": 48, "expected_l0": 3.0}
    toy = smoke.toy.model_dump() | TINY | {"reference_steps": 10, "architectures": ["topk", "batchtopk"]}
    toy["worlds"] = [one | world for one in toy["worlds"]]
    worlds = smoke.worlds.model_dump() | {"d_in": 12, "d_sae": 40, "l0": 2, "steps": 20, "batch_size": 128}
    worlds |= {"worlds": [{"name": "independent"}, {"name": "noisy", "noise": 0.2}]}
    worlds |= {"misfits": [{"name": "double the L0", "l0": 4}, {"name": "double the latents", "d_sae": 80}]}
    aims = smoke.objectives.model_dump() | {"d_in": 12, "d_sae": 40, "l0": 2, "steps": 20, "batch_size": 128}
    aims |= {"aims": {"batchtopk": ["auxiliary", "topk_first"]}, "seeds": [0]}
    lazy = smoke.lazy.model_dump() | {"real_steps": 10, "scaling_steps": 4, "output_scales": [1.0]}
    lazy |= {"loss_tokens": None}
    spec = SyntheticSpec(d_in=12, n_features=48, expected_l0=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sanity.engine.computing.places", lambda **_: 1)
        patch.setattr(planning, "PAPER_WORLDS", (spec,))
        patch.setattr(planning, "PAPER_L0", 3)
        patch.setattr(harder_worlds, "sae_lens_version", lambda: None)
        patch.setattr(verdicts, "SCORED", (harder_worlds, objectives, lazy_training))
        yield load("smoke", models=[place], real=real, toy=toy, worlds=worlds, objectives=aims, lazy=lazy)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("gathered"))


@pytest.fixture(scope="module")
def gathered(profile: Profile, store: LocalStore) -> pd.DataFrame:
    return verdicts.gather(profile, store).scores


def test_every_run_has_one_value_of_a_metric(
    profile: Profile, store: LocalStore, gathered: pd.DataFrame
) -> None:
    experiments = {"synthetic_recovery", "synthetic_recovery_early", "real_activations", verdicts.WIDTHS}
    assert set(gathered["experiment"]) > experiments | {LAZY, NOISE}
    assert claims.repeated(gathered).empty
    # Nor do the other tables that chapters leave give a run of the claims another value.
    toy, place = synthetic_recovery.tables(profile, store), real_activations.tables(profile, store)[0]
    assert len(toy.auxiliary)
    parts = [toy.scores, toy.rates, toy.auxiliary, toy.references, place.scores, place.sweep, place.pilots]
    left = pd.concat(
        [
            *(part.assign(subject=None) for part in parts[:4]),
            *(part.assign(subject=profile.models[0].subject) for part in parts[4:]),
            gathered,
        ]
    )
    assert claims.repeated(left[verdicts.KEPT]).empty


def test_the_front_page_judges_the_very_rows_that_the_verdicts_are_about(
    profile: Profile,
    gathered: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
) -> None:
    monkeypatch.setenv("SANITY_HOME", str(tmp_path))
    (tmp_path / "book").symlink_to(repository / "book")
    open_chapter("verdicts", "smoke").publish(gathered, claims.SCORE_TABLE)
    open_chapter("other", "smoke").publish(gathered.assign(value=0.5), "looks_like_scores")
    stored = claims.stored_scores("smoke")
    assert len(stored) == len(gathered)
    front, own = (
        [result.to_json() for result in claims.judge(profile, scores)] for scores in (stored, gathered)
    )
    assert front == own
    found = {row["id"]: row for row in front}
    assert not [row["id"] for row in front if row["qualifier"] == "refused"]
    for claim in (EDGE, "real-soft-frozen-ev"):
        assert found[claim]["n_seeds"] == len(profile.real.seeds), claim


def test_chapters_publish_and_read_the_table_by_its_one_name(repository: Path) -> None:
    source = (repository / "book" / "verdicts.py").read_text()
    calls = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    assert "page.publish(gathered.scores, claims.SCORE_TABLE)" in calls
    assert "claims.stored_scores(profile)" in (repository / "book" / "intro.py").read_text()


def test_noise_has_the_budget_and_the_seeds_of_what_it_is_held_against(
    profile: Profile, store: LocalStore, gathered: pd.DataFrame
) -> None:
    cones = lazy_training.plan_lazy(profile).cones
    runs = {name: [cell.config for cell in cones[name]] for name in ("edge", "noise")}
    for mine, noise in zip(runs["edge"], runs["noise"], strict=True):
        assert (mine.arm, mine.steps, mine.batch_size, mine.l0) == (
            noise.arm, noise.steps, noise.batch_size, noise.l0,
        )  # fmt: skip
        assert mine.steps == profile.real.steps
        assert (mine.source.gaussian, noise.source.gaussian) == (False, True)
    rows = gathered[gathered["metric"] == "share_on_edge"]
    assert {name: set(part["seed"]) for name, part in rows.groupby("experiment")} == {
        LAZY: set(profile.real.seeds), NOISE: set(profile.real.seeds),
    }  # fmt: skip
    tables = lazy_training.tables(profile, store)
    words = lazy_training_findings.primary_words(tables.primary, profile.real.steps)
    for experiment in (LAZY, NOISE):
        share = rows[rows["experiment"] == experiment]["value"].mean()
        assert f"{share:.0%} o" in words
    assert "nan" not in words


@pytest.mark.parametrize(("noise", "stands"), [([0.50, 0.51, 0.49], True), ([0.985, 0.99, 0.995], False)])
def test_the_claim_about_the_edge_falls_where_noise_does_the_same(noise: list[float], stands: bool) -> None:
    usual: dict[str, Any] = {
        "world_or_hook": "hook", "architecture": "topk", "constraint": "soft_frozen_decoder", "init": "iso",
        "metric": "share_on_edge", "floor": 0.0, "ceiling": 1.0, "n": 100, "unit": "latent",
        "learning_rate": 1e-3, "l0_target": 32,
    }  # fmt: skip
    frame = pd.concat(
        pd.DataFrame({"value": values, "seed": range(3)}).assign(experiment=name, **usual)
        for name, values in ((LAZY, [0.99, 0.985, 0.995]), (NOISE, noise))
    )
    quick = load("quick")
    (found,) = [one for one in claims.judge(quick, frame) if one.claim.id == EDGE]
    assert found.verdict.verdict == ("trained better" if stands else "equivalent")
    assert found.supported is stands
