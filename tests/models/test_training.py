"""One stream, many arms: pairing, constraints that hold, curves, and errors that name what is wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from plain_twin import finished_twin_of, twin_of
from torch import Tensor

from sanity.baselines import (
    Cov,
    FrozenBoth,
    FrozenDecoder,
    FrozenEncoder,
    SoftFrozenDecoder,
    Trained,
    Untrained,
)
from sanity.errors import BadInputError, SanityError
from sanity.models import (
    Architecture,
    Arm,
    Autoencoder,
    BatchTopK,
    JumpReLU,
    Learner,
    Matryoshka,
    ReLU,
    Run,
    TopK,
    Training,
    calibrated_start,
    initial_directions,
    train,
)
from sanity.models.training import probe_steps

FAST = Training(curve_points=5, probe_points=4)


def bits(run: Run) -> list[Tensor]:
    sae = run.sae
    tensors = [sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec, run.initial_directions]
    return tensors if sae.threshold is None else [*tensors, sae.threshold]


def same(a: Run, b: Run) -> bool:
    return a.curve.equals(b.curve) and all(torch.equal(p, q) for p, q in zip(bits(a), bits(b), strict=True))


def test_company_does_not_change_an_arm(stream: Any) -> None:
    arms = [
        Arm(TopK(3), 24),
        Arm(BatchTopK(3), 24, SoftFrozenDecoder(), Cov(), seed=1),
        Arm(Matryoshka(3), 40, FrozenEncoder(), learning_rate=1e-3),
        Arm(JumpReLU(3.0), 24, FrozenDecoder()),
        Arm(ReLU(4.0), 24),
        Arm(TopK(2), 24, Untrained(), seed=2),
    ]
    together = train(arms, stream, steps=15, training=FAST)
    for arm, run in zip(arms, together, strict=True):
        assert run.arm is arm
        assert same(train([arm], stream, steps=15, training=FAST)[0], run)


def test_arms_of_a_seed_share_their_start(stream: Any) -> None:
    constraints = [
        Trained(),
        FrozenDecoder(),
        SoftFrozenDecoder(),
        FrozenEncoder(),
        FrozenBoth(),
        Untrained(),
    ]
    runs = train([Arm(TopK(3), 24, constraint) for constraint in constraints], stream, steps=0)
    for run in runs[1:]:
        assert all(torch.equal(p, q) for p, q in zip(bits(run), bits(runs[0]), strict=True))
    other = train([Arm(TopK(3), 24, seed=1)], stream, steps=0)[0]
    assert not torch.equal(other.initial_directions, runs[0].initial_directions)
    batchtopk = train([Arm(BatchTopK(3), 24)], stream, steps=0)[0]
    assert torch.equal(batchtopk.initial_directions, runs[0].initial_directions)


def test_the_start_has_the_best_scale(stream: Any) -> None:
    """Scaling encoder and threshold away from the calibrated start only makes the first batch worse."""
    x = stream.batch(0)
    for architecture in (TopK(3), BatchTopK(3), JumpReLU(3.0), ReLU(3.0)):
        sae = train([Arm(architecture, 24)], stream, steps=0)[0].sae

        def error(scale: float, sae: Autoencoder = sae) -> float:
            threshold = None if sae.threshold is None else sae.threshold * scale
            scaled = dataclasses.replace(
                sae, W_enc=sae.W_enc * scale, b_enc=sae.b_enc * scale, threshold=threshold
            )
            return float((scaled.reconstruct(x) - x).square().sum())

        assert error(1.0) < min(error(0.97), error(1.03))
        assert (sae.encode(x) > 0).sum() / len(x) == pytest.approx(3.0, abs=1e-6)


def test_every_constraint_holds_after_training(architecture: Architecture, stream: Any) -> None:
    constraints = [
        Trained(),
        FrozenDecoder(),
        SoftFrozenDecoder(0.8),
        FrozenEncoder(),
        FrozenBoth(),
        Untrained(),
    ]
    arms = [Arm(architecture, 24, c, learning_rate=0.1) for c in constraints]
    for run, constraint in zip(train(arms, stream, steps=40, training=FAST), constraints, strict=True):
        W0, sae, learns = run.initial_directions, run.sae, constraint.learns
        start = train([run.arm], stream, steps=0)[0].sae
        cosine = torch.nn.functional.cosine_similarity(sae.W_dec.double(), W0.double(), dim=1)
        assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(24), atol=1e-6)
        assert torch.equal(sae.W_dec, W0) == ("W_dec" not in learns)
        assert torch.equal(sae.W_enc, start.W_enc) == ("W_enc" not in learns)
        assert torch.equal(sae.b_enc, start.b_enc) == ("b_enc" not in learns)
        assert torch.equal(sae.b_dec, start.b_dec) == ("b_dec" not in learns)
        if sae.threshold is not None and start.threshold is not None:
            assert torch.equal(sae.threshold, start.threshold) == ("threshold" not in learns)
        if not constraint.encoder_turns:
            lengths = sae.W_enc.norm(dim=0)
            assert float(lengths.std()) > 1e-3, "lengths are free"
            assert float(lengths.min()) > 9e-4, "and never 0, where there is no direction"
            aligned = (sae.W_enc.T * W0).sum(1)
            assert torch.allclose(aligned, lengths, rtol=0, atol=1e-5), "directions are not"
        if isinstance(constraint, SoftFrozenDecoder):
            assert float(cosine.min()) > 0.8 - 1e-6
            assert float(cosine.min()) < 0.81
        elif "W_dec" in learns:
            assert float(cosine.min()) < 0.79


def test_training_is_adam_on_the_plain_loss(architecture: Architecture, stream: Any) -> None:
    """Ten steps against the plain autoencoder, `torch.optim.AdamW` and the unit-norm rule, written out."""
    stream.dtype = torch.float64
    arm = Arm(architecture, 24, learning_rate=1e-2)
    settings = Training(warmup=0.3, decay=0.3, weight_decay=0.1, beta1=0.8, beta2=0.95, gradient_clip=2.0)
    run = train([arm], stream, steps=10, training=settings)[0]

    directions = initial_directions(arm, 8, stream.covariance, torch.float64)
    begun = calibrated_start(arm, directions, stream.batch(0))
    plain, controller = twin_of(architecture, begun.weights, begun.threshold), begun.controller
    rates = {"log_theta": getattr(architecture, "threshold_rate", 0.0)}
    groups: list[dict[str, Any]] = [
        {"params": [value], "weight_decay": 0.1 * (value.ndim == 2), "peak": rates.get(name, 1e-2)}
        for name, value in plain.named_parameters()
    ]
    adam = torch.optim.AdamW(groups, lr=1e-2, betas=(0.8, 0.95), eps=1e-8, foreach=False, fused=False)
    for step in range(10):
        x = stream.batch(step)
        smallest = plain.smallest.clone()
        l0 = float((plain.encode(x) > 0).sum(1).double().mean())
        plain.smallest.copy_(smallest)
        loss = plain.loss(x, controller.coefficient if controller else 0.0)
        loss.backward()  # type: ignore[no-untyped-call]
        plain.only_turn()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 2.0)
        for group in adam.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / 4, (10 - step) / 4)
        adam.step()
        adam.zero_grad()
        plain.make_unit()
        if controller:
            controller.observe(l0)
    expected = finished_twin_of(run.sae)
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, expected.state_dict()[name], rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("kind", [JumpReLU, ReLU])
def test_the_penalty_is_controlled_to_the_target(kind: Any, stream: Any) -> None:
    wide = dataclasses.replace(stream, d_in=16, batch_size=256)
    run = train([Arm(kind(2.0), 64, learning_rate=1e-3)], wide, steps=400, training=FAST)[0]
    x = torch.cat([wide.batch(400 + step) for step in range(8)])
    assert run.sae.encode_sparse(x).latents.numel() / len(x) == pytest.approx(2.0, rel=0.05)
    assert run.curve["ev_batch"].iloc[-1] > run.curve["ev_batch"].iloc[0] + 0.1
    start = train([Arm(kind(2.0), 64)], wide, steps=0)[0]
    assert start.l0 == pytest.approx(2.0, rel=1e-2)


@dataclass(frozen=True)
class Norms:
    """A probe: the largest decoder norm, and the step it was asked at."""

    @property
    def name(self) -> str:
        return "norms"

    def __call__(self, sae: Autoencoder, step: int) -> Mapping[str, float]:
        return {"largest": float(sae.W_dec.norm(dim=1).max()), "step": step}


def test_the_curve_says_what_happened(stream: Any) -> None:
    run = train([Arm(TopK(3), 24, learning_rate=1e-2)], stream, steps=50, training=FAST, probes=[Norms()])[0]
    curve = run.curve
    assert list(curve.columns[:7]) == ["step", "tokens", "loss", "ev_batch", "l0", "dead", "coefficient"]
    assert set(curve["step"]) == {0, 10, 20, 30, 40, 50} | probe_steps(50, 4)
    assert (curve["tokens"] == 32 * curve["step"]).all()
    probed = curve[curve["step"].isin(probe_steps(50, 4))]
    assert (probed["norms.step"] == probed["step"]).all()
    assert curve["norms.largest"].notna().sum() == len(probed)
    x = stream.batch(50)
    error = float((run.sae.reconstruct(x) - x).square().sum())
    assert curve["ev_batch"].iloc[-1] == pytest.approx(
        1 - error / float((x - x.mean(0)).square().sum()), abs=1e-5
    )
    assert curve["loss"].iloc[-1] == pytest.approx(error / 32, rel=1e-5)
    assert curve["loss"].iloc[-1] < 0.9 * curve["loss"].iloc[0]


def test_dead_latents_are_those_that_have_not_fired(stream: Any) -> None:
    settings = Training(dead_after_tokens=96, curve_points=10)
    run = train([Arm(TopK(1), 24, FrozenBoth())], stream, steps=10, training=settings)[0]
    fired = torch.cat([run.sae.encode(stream.batch(step)) for step in (7, 8, 9)]).amax(0) > 0
    # Biases move a little over the last steps: allow one latent that changed its mind.
    assert run.curve["dead"].iloc[-1] == pytest.approx(1 - fired.double().mean(), abs=1.5 / 24)
    assert run.curve["dead"].iloc[-1] > 0


def test_the_auxiliary_loss_moves_dead_latents(stream: Any) -> None:
    moved = {}
    for auxiliary in (0.0, 0.1):
        settings = Training(dead_after_tokens=32, auxiliary=auxiliary, auxiliary_k=20, curve_points=5)
        arm = Arm(TopK(1), 800, learning_rate=1e-2)
        run = train([arm], stream, steps=10, training=settings)[0]
        moved[auxiliary] = int(((run.sae.W_dec * run.initial_directions).sum(1) < 0.9999).sum())
    # Without it a latent that never fired has no gradient at all, and stays where it was.
    assert moved[0.0] < 300
    assert moved[0.1] > moved[0.0] + 100


def test_a_learner_can_be_stepped_by_hand(stream: Any) -> None:
    arm = Arm(TopK(3), 24, learning_rate=1e-2)
    with torch.no_grad():
        directions = initial_directions(arm, 8, stream.covariance)
        begun = calibrated_start(arm, directions, stream.batch(0))
        learner = Learner(arm, begun, steps=5, training=FAST)
        for step in range(5):
            learner.learn(stream.batch(step))
    run = train([arm], stream, steps=5, training=FAST)[0]
    assert torch.equal(learner.sae().W_enc, run.sae.W_enc)


def test_a_run_does_not_depend_on_the_device(architecture: Architecture, stream: Any, device: str) -> None:
    arm = Arm(architecture, 24, learning_rate=1e-3)
    there = dataclasses.replace(stream, device=device)
    here, other = (train([arm], s, steps=5, training=FAST)[0] for s in (stream, there))
    assert other.sae.W_enc.device.type == device
    assert (other.curve["loss"] / here.curve["loss"] - 1).abs().max() < 1e-4


def test_bf16_changes_little(stream: Any) -> None:
    arm = Arm(TopK(3), 24, learning_rate=1e-2)
    exact, rounded = (train([arm], stream, steps=30, precision=p)[0] for p in ("float32", "bf16"))
    assert rounded.curve["loss"].iloc[-1] == pytest.approx(exact.curve["loss"].iloc[-1], rel=1e-3)


def test_what_cannot_be_trained_is_refused(stream: Any) -> None:
    arm = Arm(TopK(3), 24)
    for problem, call in {
        "twice": lambda: train([arm, Arm(TopK(3), 24)], stream, steps=1),
        "no arms": lambda: train([], stream, steps=1),
        "-1 steps": lambda: train([arm], stream, steps=-1),
        "32 active latents of 24": lambda: Arm(TopK(32), 24),
        "25 active latents of 24": lambda: Arm(JumpReLU(25.0), 24),
        "learning rate 0": lambda: Arm(TopK(3), 24, learning_rate=0.0),
        "warmup": lambda: Training(warmup=0.9, decay=0.9),
        "sum to 1": lambda: Matryoshka(3, fractions=(0.5, 0.2)),
        "empty": lambda: Arm(Matryoshka(1), 2),
        "cosine 1.5": lambda: SoftFrozenDecoder(1.5),
    }.items():
        with pytest.raises(BadInputError, match=problem):
            call()


@dataclass
class Broken:
    """A stream whose batches are broken from one step on."""

    inner: Any
    value: float
    at: int
    d_in: int = 8
    batch_size: int = 32
    key: str = "broken"

    def batch(self, step: int) -> Tensor:
        x: Tensor = self.inner.batch(step)
        if step >= self.at:
            x[5, 2] = self.value
        return x

    def covariance(self) -> Tensor:
        covariance: Tensor = self.inner.covariance()
        return covariance


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_activations_are_located(stream: Any, value: float) -> None:
    with pytest.raises(BadInputError, match=r"batch 3 of the stream broken.*sample 5, dimension 2"):
        train([Arm(TopK(3), 24)], Broken(stream, value, at=3), steps=5)


def test_a_loss_that_explodes_names_arm_and_step(stream: Any) -> None:
    with pytest.raises(SanityError, match=r"topk-3 trained \(iso\) seed 0.*step"):
        train([Arm(TopK(3), 24, learning_rate=1e30)], stream, steps=5)


def test_a_width_that_does_not_fit_is_named(stream: Any) -> None:
    with pytest.raises(BadInputError, match=r"shape \[32, 8\], not \[batch, 9\]"):
        train([Arm(TopK(3), 24)], Broken(stream, 0.0, at=99, d_in=9), steps=1)


def test_data_that_do_not_vary_are_refused(stream: Any) -> None:
    constant = Broken(stream, 0.0, at=99)
    constant.inner = dataclasses.replace(stream)
    constant.inner.batch = lambda step: torch.zeros(32, 8)
    with pytest.raises(BadInputError, match="constant or zero"):
        train([Arm(TopK(3), 24)], constant, steps=1)
    with pytest.raises(BadInputError, match="do not vary"):
        Cov().directions(torch.randn(4, 8), lambda: torch.zeros(8, 8))
