"""Objectives: what they add, and that they add nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.config import to_json
from sanity.errors import BadInputError
from sanity.models import (
    Arm,
    BatchTopK,
    JumpReLU,
    Learner,
    Objective,
    Plain,
    Run,
    Stream,
    TopK,
    Training,
    calibrated_start,
    train,
)
from sanity.models.gradients import Outcome, Weights
from sanity.models.objectives import (
    Agreement,
    Auxiliary,
    EvenEncoder,
    Incoherence,
    Resampling,
    RestartedTraining,
    Restarts,
    TopKFirst,
    agreed,
    agreed_latents,
)

OBJECTIVES = [
    Auxiliary(dead_after_tokens=300),
    Incoherence(0.1),
    EvenEncoder(),
    Restarts(2),
    Resampling(times=2, dead_after_tokens=300),
    Agreement(share=0.3),
    TopKFirst(),
]


@pytest.fixture(scope="module")
def stream() -> SyntheticStream:
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=8, n_features=40, expected_l0=3.0))
    return SyntheticStream(world, batch_size=64, seed=0)


def pursued(objective: Objective, arm: Arm, stream: Stream, steps: int, **more: Any) -> Run:
    return train([replace(arm, objective=objective)], stream, steps=steps, **more)[0]


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
@pytest.mark.parametrize("architecture", [TopK(3), BatchTopK(3), JumpReLU(3)])
def test_every_objective_trains_every_architecture_and_changes_it(
    stream: SyntheticStream, architecture: TopK, objective: Objective
) -> None:
    if isinstance(architecture, TopK) and not isinstance(
        objective, Incoherence | Restarts | EvenEncoder | Agreement
    ):
        pytest.skip("made for architectures whose latents die")
    arm = Arm(architecture, 40, learning_rate=1e-2)
    first, again = (pursued(objective, arm, stream, 60) for _ in range(2))
    plain = pursued(Plain(), arm, stream, 60)
    assert torch.equal(first.sae.W_dec, again.sae.W_dec)
    assert not torch.equal(first.sae.W_dec, plain.sae.W_dec)
    assert bool(first.sae.W_dec.isfinite().all())
    torch.testing.assert_close(first.sae.W_dec.norm(dim=1), torch.ones(40))
    assert first.curve["step"].iloc[-1] == 60
    assert first.curve["tokens"].iloc[-1] == 60 * 64


def test_every_batch_of_the_budget_is_learned_from_once(
    stream: SyntheticStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[float] = []

    def learn(learner: Learner, x: torch.Tensor, *more: Any) -> Outcome:
        learned.append(float(x.sum()))
        return original(learner, x, *more)

    original = Learner.learn
    monkeypatch.setattr(Learner, "learn", learn)
    for objective in (Plain(), Agreement(share=0.3), TopKFirst()):
        learned.clear()
        pursued(objective, Arm(BatchTopK(3), 40), stream, 20)
        assert learned == [float(stream.batch(step).sum()) for step in range(20)], objective.name


class Interrupted(SyntheticStream):
    """A stream that notes what is drawn from it, and fails at a step."""

    def __init__(self, world: SyntheticWorld, fails_at: int) -> None:
        super().__init__(world, batch_size=64, seed=0)
        self.drawn: list[int] = []
        self.fails_at = fails_at

    def batch(self, step: int) -> torch.Tensor:
        if step == self.fails_at:
            raise InterruptedError
        self.drawn.append(step)
        return super().batch(step)


@pytest.mark.parametrize("objective", [Resampling(times=3, dead_after_tokens=300), Agreement(share=0.3)])
@pytest.mark.parametrize("step", [4, 9, 25])
def test_an_interrupted_run_goes_on_where_it_was_and_company_does_not_change_it(
    stream: SyntheticStream, objective: Objective, step: int, tmp_path: Path
) -> None:
    arms = [Arm(BatchTopK(3), 40, learning_rate=1e-2, seed=seed, objective=objective) for seed in (0, 1)]
    expected = train([*arms, Arm(TopK(3), 40)], stream, steps=30)[1]
    cut = Interrupted(stream.world, step)
    with pytest.raises(InterruptedError):
        pursued(objective, arms[1], cut, 30, folder=tmp_path, checkpoint_every_s=0)
    whole = Interrupted(stream.world, -1)
    found = pursued(objective, arms[1], whole, 30, folder=tmp_path)
    assert torch.equal(found.sae.W_dec, expected.sae.W_dec)
    assert torch.equal(found.sae.W_enc, expected.sae.W_enc)
    assert torch.equal(found.initial_directions, expected.initial_directions)
    assert found.curve.equals(expected.curve)
    assert min(whole.drawn) == step, "what was trained before is not trained again"


@given(seed=st.integers(0, 1000), weight=st.floats(0.01, 10))
def test_the_gradient_of_incoherence_is_autograds(seed: int, weight: float) -> None:
    W_dec = rows(12, 4, seed)
    objective = Incoherence(weight)
    leaf = W_dec.clone().requires_grad_(True)
    objective.loss(leaf).backward()
    gradients = {"W_dec": torch.zeros_like(W_dec)}
    nothing = torch.zeros(12, dtype=torch.float64)
    objective.add_gradient(Weights(W_dec, W_dec, nothing, nothing[:4]), gradients)
    torch.testing.assert_close(gradients["W_dec"], leaf.grad)
    frozen: dict[str, torch.Tensor] = {}
    objective.add_gradient(Weights(W_dec, W_dec, nothing, nothing[:4]), frozen)
    assert not frozen


def test_an_even_encoder_is_even(stream: SyntheticStream) -> None:
    sae = pursued(EvenEncoder(), Arm(BatchTopK(3), 40, learning_rate=1e-2), stream, 30).sae
    lengths = sae.W_enc.norm(dim=0)
    torch.testing.assert_close(lengths, lengths.mean().expand(40))


def test_restarts_fall_to_zero_and_come_back() -> None:
    training = RestartedTraining(cycles=4, warmup=0.0)
    factors = [training.learning_rate_factor(step, 400) for step in range(400)]
    assert [factors[start] for start in (0, 100, 200, 300)] == [1.0] * 4
    assert all(factors[end] < 1e-3 for end in (99, 199, 299, 399))
    assert to_json(Restarts(4).settings(Training(decay=0.1)))["decay"] == 0.1


def test_resampling_points_dead_latents_at_residuals_and_forgets_their_moments(
    stream: SyntheticStream,
) -> None:
    arm = Arm(BatchTopK(3), 40, learning_rate=1e-2)
    x = stream.batch(0)
    start = calibrated_start(arm, functional.normalize(rows(40, 8, 0).float(), dim=1), x)
    learner = Learner(arm, start, steps=10, training=Training(dead_after_tokens=1))
    outcome = learner.learn(x)
    learner.last_fired[:] = learner.tokens
    learner.last_fired[:5] = 0
    before = learner.weights.W_dec.clone()
    Resampling(times=10, until=1.0).after_step(learner, x, outcome)
    residuals = functional.normalize(-outcome.residual, dim=1)
    assert torch.equal(learner.weights.W_dec[5:], before[5:])
    assert float((learner.weights.W_dec[:5] @ residuals.T).max(1).values.min()) > 1 - 1e-5
    lengths = learner.weights.W_enc_t.norm(dim=1)
    torch.testing.assert_close(lengths[:5], lengths[5:].mean().expand(5))
    assert learner.optimiser is not None
    moments = learner.optimiser.state[learner.weights.W_dec]
    assert not moments["exp_avg"][:5].any()
    assert bool(moments["exp_avg"][5:].any())
    assert not learner.dead()[:5].any()


def test_agreement_keeps_what_all_have() -> None:
    first = rows(6, 5, 0)
    other = torch.cat([first[2:4] + 0.05 * rows(2, 5, 1), rows(4, 5, 2)])
    other = functional.normalize(other, dim=1)
    kept = agreed_latents(first, [other], 0.98)
    assert kept.tolist() == [False, False, True, True, False, False]
    means = agreed([first, other], 0.98)
    torch.testing.assert_close(means, functional.normalize(first[2:4] + other[:2], dim=1))
    assert not agreed_latents(first, [other, rows(3, 5, 9)], 0.999).any()


def test_topk_first_ends_as_the_arms_own_architecture(stream: SyntheticStream) -> None:
    arm = Arm(BatchTopK(3), 40, learning_rate=1e-2)
    run = pursued(TopKFirst(0.5), arm, stream, 60)
    assert run.sae.architecture == BatchTopK(3)
    assert run.curve["step"].min() == 30
    alone = train([replace(arm, architecture=TopK(3))], stream, steps=30)[0].sae
    torch.testing.assert_close(run.initial_directions, alone.W_dec)


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("not be negative", lambda: Incoherence(-1)),
        ("give at least 1", lambda: Restarts(0)),
        ("at least once", lambda: Resampling(times=0)),
        ("at least 2 runs", lambda: Agreement(runs=1)),
        ("less than the budget", lambda: Agreement(share=0.5)),
        ("between 0 and 1", lambda: TopKFirst(1.0)),
    ],
)
def test_objectives_that_make_no_sense_are_refused(words: str, make: object) -> None:
    assert callable(make)
    with pytest.raises(BadInputError, match=words):
        make()
