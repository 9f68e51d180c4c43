"""Shared latents and subspaces between seeds: by properties, against chance, and through the planner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sanity.baselines import FrozenDecoder
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import AcrossSeeds, Grades, Recovery
from sanity.evals.across_seeds import agreement_scores
from sanity.experiments.planner import plan_runs
from sanity.experiments.reading import Reader
from sanity.models import Arm, TopK, Trained
from sanity.sources import Budget, RunSpec
from sanity.stats import gates
from sanity.testing.contract import SMALL_WORLD

ONE = AcrossSeeds(grades=Grades(size=128))


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def values(a: torch.Tensor, b: torch.Tensor) -> dict[str, float]:
    return {one.metric: one.value for one in agreement_scores(a, b, seed=0)[0]}


def test_a_dictionary_in_another_order_is_the_same_and_its_opposite_is_not() -> None:
    a = rows(60, 20, 0)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    same, opposite = values(a, 3 * a[order]), values(a, -a)
    assert same["seed_mcc"] == pytest.approx(1)
    assert same["seed_shared"] == 1
    assert opposite["seed_shared"] < 0.1
    scores, table = agreement_scores(a, a[order], seed=0)
    assert torch.equal(order[torch.tensor(table["partner"].to_numpy())], torch.arange(60))
    assert scores[1].value == pytest.approx(1 - scores[0].floor)


def test_matching_is_that_of_scipy_on_plain_cosines() -> None:
    a, b = rows(40, 12, 2), rows(50, 12, 3)
    cosines = (a / a.norm(dim=1, keepdim=True)).double() @ (b / b.norm(dim=1, keepdim=True)).double().T
    i, j = linear_sum_assignment(-cosines.numpy())
    assert values(a, b)["seed_mcc"] == pytest.approx(float(cosines[i, j].mean()), abs=1e-6)


def test_what_anisotropy_alone_gives_is_the_floor() -> None:
    """Two draws of one anisotropic law share nothing, and agree as the null does."""
    spread = torch.logspace(0, -2, 24)
    a, b = rows(200, 24, 4) * spread, rows(200, 24, 5) * spread
    mcc, beyond = agreement_scores(a, b, seed=0)[0][:2]
    assert mcc.value > values(rows(200, 24, 4), rows(200, 24, 5))["seed_mcc"] + 0.1
    assert abs(beyond.value) < 0.02


def test_latents_without_partner_are_not_counted() -> None:
    scores, table = agreement_scores(rows(30, 8, 0), rows(10, 8, 1), seed=0)
    assert scores[0].n == 10
    assert int(table["matched"].isna().sum()) == 20


def runs(seeds: list[int]) -> list[RunSpec]:
    return [
        RunSpec(Arm(TopK(3), 48, constraint, seed=seed), SMALL_WORLD, Budget(steps=40, batch_size=128))
        for constraint in (Trained(), FrozenDecoder())
        for seed in seeds
    ]


def test_every_seed_is_compared_with_the_next_and_alone_as_in_company(tmp_path: Path) -> None:
    plan = plan_runs(runs([0, 1, 2]), {"across_seeds": ONE})
    reader = Reader(plan, LocalStore(tmp_path / "all"))
    scores = reader.scores("runs")
    assert scores.groupby("metric").size().eq(6).all()
    mcc = scores[scores["metric"] == "seed_mcc"].set_index(["constraint", "seed"])["value"]
    saes = {(run.run.arm.constraint.name, run.run.arm.seed): sae for run, sae in reader.saes("runs")}
    wanted = values(saes["trained", 2].W_dec, saes["trained", 0].W_dec)["seed_mcc"]
    assert mcc["trained", 2] == pytest.approx(wanted, abs=1e-9)
    # Frozen decoders of different seeds are random directions, at chance by construction.
    frozen = scores[(scores["constraint"] == "frozen_decoder") & (scores["metric"] == "seed_mcc_beyond_null")]
    assert frozen["value"].abs().max() < 0.05
    pairs = reader.table("pairs", "runs")
    assert {"latent", "matched", "frequency", "feature_cosine"} <= set(pairs)
    later = Reader(plan_runs(runs([0, 1, 2])[2:3] + runs([0, 1, 2])[:2], {"across_seeds": ONE}), reader.store)
    assert {run.scored["across_seeds"].key for run in later.plan.runs} <= {
        run.scored["across_seeds"].key for run in plan.runs
    }


def test_two_seeds_are_one_pair_and_one_seed_is_none() -> None:
    planned = plan_runs(runs([0, 1]), {"across_seeds": ONE}).runs
    assert [list(run.scored) for run in planned] == [["across_seeds"], []] * 2
    with pytest.raises(BadInputError, match="two seeds or more"):
        plan_runs(runs([3]), {"across_seeds": ONE})
    plan_runs(runs([3]), {"recovery": Recovery(grades=None)})


def test_it_sees_its_own_reference_corrupted(tmp_path: Path) -> None:
    reader = Reader(plan_runs(runs([0, 1]), {"across_seeds": ONE}), LocalStore(tmp_path))
    found = gates(reader.graded(), higher_is_better=dict.fromkeys(ONE.metrics, True))
    assert set(found) == set(ONE.metrics)
    assert {name: one.reason for name, one in found.items() if not one.passed} == {}
