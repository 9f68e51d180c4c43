"""Hand-written gradients against those of the plain autoencoder, for every architecture and constraint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plain_twin import gradients_of, twin_of
from torch import Tensor

from sanity.baselines import (
    FrozenBoth,
    FrozenDecoder,
    FrozenEncoder,
    Iso,
    SoftFrozenDecoder,
    Trained,
    Untrained,
)
from sanity.models import (
    Architecture,
    Arm,
    TopK,
    Training,
    calibrated_start,
    initial_directions,
    train,
)
from sanity.models.arm import Constraint
from sanity.models.auxiliary import add_auxiliary
from sanity.models.encoding import select
from sanity.models.gradients import LossSpec, Weights, sparse_gradients
from sanity.models.gradients_dense import dense_gradients

CONSTRAINTS: list[Constraint] = [
    Trained(),
    FrozenDecoder(),
    SoftFrozenDecoder(),
    FrozenEncoder(),
    FrozenBoth(),
    Untrained(),
]


def a_problem(architecture: Architecture, dtype: torch.dtype, device: str = "cpu") -> tuple[Weights, Tensor]:
    """Weights away from any special point (biases set, encoder untied) and a batch."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 8, generator=generator).to(device, dtype)
    arm = Arm(architecture, 40)
    directions = initial_directions(arm, 8, lambda: torch.eye(8), dtype).to(device)
    weights = calibrated_start(arm, directions, x).weights
    for value in (weights.W_enc_t, weights.b_enc, weights.b_dec):
        value += 0.05 * torch.randn(value.shape, generator=generator).to(value)
    if weights.log_threshold is not None:
        weights.log_threshold += 0.1 * torch.randn(40, generator=generator).to(x)
    return weights, x


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: c.name.replace(" ", "-"))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_gradients_are_those_of_autograd(
    architecture: Architecture, constraint: Constraint, dtype: torch.dtype, tolerance: float, device: str
) -> None:
    weights, x = a_problem(architecture, dtype, device)
    learns = frozenset(constraint.learns & weights.by_name().keys())
    plain = twin_of(architecture, weights)
    loss = plain.loss(x, coefficient=0.3)
    loss.backward()  # type: ignore[no-untyped-call]
    expected = gradients_of(plain)

    spec = LossSpec(architecture, learns, coefficient=0.3)
    centred = x - weights.b_dec
    threshold = None if weights.log_threshold is None else weights.log_threshold.exp()
    found = select(centred, weights.W_enc_t, weights.b_enc, architecture.training_rule(threshold))
    for outcome in (
        sparse_gradients(weights, centred, found, spec),
        dense_gradients(weights, centred, spec),
    ):
        assert outcome.loss == pytest.approx(float(loss.detach()), rel=tolerance)
        assert outcome.gradients.keys() == learns
        for name in learns:
            gradient = expected[name]
            assert gradient is not None
            worst = float((outcome.gradients[name] - gradient).abs().max() / gradient.abs().max())
            assert worst < tolerance, name


def test_the_auxiliary_gradients_are_those_of_autograd() -> None:
    weights, x = a_problem(TopK(3), torch.float64)
    dead = torch.arange(40) % 3 == 0
    residual = torch.randn(24, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    leaves = {name: value.clone().requires_grad_() for name, value in weights.by_name().items()}
    u = ((x - leaves["b_dec"]) @ leaves["W_enc"].T + leaves["b_enc"]).masked_fill(~dead, -torch.inf)
    top = u.topk(5, dim=1)
    z = torch.zeros_like(u).scatter(1, top.indices, top.values.relu())
    loss = 0.1 * (z @ leaves["W_dec"] + residual).square().sum(1).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: torch.zeros_like(value) for name, value in weights.by_name().items()}
    settings = Training(auxiliary=0.1, auxiliary_k=5)
    added = add_auxiliary(weights, x - weights.b_dec, residual, dead, settings, gradients)
    assert added == pytest.approx(float(loss.detach()), rel=1e-12)
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        assert torch.allclose(gradients[name], leaf.grad, rtol=1e-11, atol=1e-13), name


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: c.name.replace(" ", "-"))
def test_sparse_and_dense_ways_give_one_curve(
    architecture: Architecture, constraint: Constraint, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.dtype = torch.float64
    arm = Arm(architecture, 24, constraint, Iso(), learning_rate=1e-2)
    curves = []
    for max_density in (1.0, -1.0):
        monkeypatch.setattr("sanity.models.learner.MAX_DENSITY", max_density)
        curves.append(train([arm], stream, steps=100, training=Training(curve_points=100))[0].curve)
    assert len(curves[0]) == 101
    relative = (curves[0]["loss"] / curves[1]["loss"] - 1).abs()
    assert relative.max() < 1e-6
    if constraint.learns:
        assert curves[0]["loss"].iloc[-1] != curves[0]["loss"].iloc[0]
        assert not curves[0]["loss"].equals(curves[1]["loss"]), "two ways differ by rounding"
