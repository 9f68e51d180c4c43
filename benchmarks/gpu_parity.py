"""What can be checked of a card's step on any machine: its numbers, its reads, and its kernels."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from sanity.baselines import FrozenEncoder, SoftFrozenDecoder, Trained
from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.models import Architecture, Arm, BatchTopK, JumpReLU, Learner, Matryoshka, ReLU, TopK, Training
from sanity.models.card import plain
from sanity.models.card.stack import Stack
from sanity.models.start import calibrated_start
from sanity.testing.host_reads import HostReads

KINDS: tuple[Architecture, ...] = (TopK(4), BatchTopK(4), Matryoshka(4), JumpReLU(4.0), ReLU(4.0))
STEPS = 3


def learners(architecture: Architecture, x: Tensor) -> list[Learner]:
    """Trained, soft-frozen and frozen-encoder arms, small enough for an interpreter."""
    directions = torch.nn.functional.normalize(
        torch.randn(48, x.shape[1], generator=torch.Generator().manual_seed(0)), dim=1
    ).to(x)
    constraints = (Trained(), SoftFrozenDecoder(0.95), FrozenEncoder())
    arms = [Arm(architecture, 48, constraint, learning_rate=3e-3) for constraint in constraints]
    return [
        Learner(arm, calibrated_start(arm, directions, x), steps=100, training=Training()) for arm in arms
    ]


def kernels(device: str) -> Any:
    """The kernels, on a processor by Triton's interpreter; None where Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        return None
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    from sanity.models.card import fused

    return fused


@torch.no_grad()
def parity(device: str) -> dict[str, Any]:
    """For each architecture: the largest difference in any weight after some steps, and a step's reads."""
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=24, n_features=64, expected_l0=4.0))
    stream = SyntheticStream(world, batch_size=16, seed=0)
    batches = [stream.batch(step).to(device) for step in range(STEPS)]
    fused = kernels(device)
    return {
        "device": device,
        "steps": STEPS,
        "kernels": "Triton is not installed"
        if fused is None
        else "Triton" + "'s interpreter" * (device == "cpu"),
        "rows": [_row(architecture, batches, fused) for architecture in KINDS],
    }


def _row(architecture: Architecture, batches: list[Tensor], fused: Any) -> dict[str, Any]:
    alone = learners(architecture, batches[0])
    with HostReads() as single:
        for x in batches:
            alone[0].learn(x)
    for one in alone[1:]:
        for x in batches:
            one.learn(x)
    row: dict[str, Any] = {"architecture": architecture.name, "reads_alone": len(single.names) / STEPS}
    for name, ops in (("plain", plain), ("kernels", fused)):
        if ops is None:
            continue
        stack = Stack(learners(architecture, batches[0]), len(batches[0]), ops)
        stack.learn(batches[0])
        with HostReads() as seen:
            for x in batches[1:]:
                stack.learn(x)
        row[f"difference_{name}"] = max(
            float((p - q).abs().max() / q.abs().max())
            for one, other in zip(stack.learners, alone, strict=True)
            for p, q in zip(one.weights.by_name().values(), other.weights.by_name().values(), strict=True)
        )
        if name == "plain":
            row["reads_stacked"] = len(seen.names) / (STEPS - 1)
            row["operations_per_arm"] = seen.operations / (STEPS - 1) / len(alone)
            row["operations_alone"] = single.operations / STEPS
    return row
