"""Arms of every constraint, and a stack of them before its first step: for the tests of the card's step."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest import mock

import torch
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
from sanity.models import Architecture, Arm, Iso, Run, Training, Transcoder
from sanity.models.card import plain
from sanity.models.card.stack import Stack, stacked
from sanity.models.loop import Loop

CONSTRAINTS = [
    Trained(),
    FrozenDecoder(),
    SoftFrozenDecoder(0.8),
    SoftFrozenDecoder(0.99),
    FrozenEncoder(),
    FrozenBoth(),
    Untrained(),
]
FAST = Training(curve_points=6, probe_points=4)
ALL_AT_ONCE = dataclasses.replace(
    FAST, auxiliary=1 / 8, auxiliary_k=3, dead_after_tokens=100, gradient_clip=0.5, weight_decay=0.01
)


def arms_of(architecture: Architecture) -> list[Arm]:
    """One of every constraint, with inits, seeds and rates of their own."""
    return [
        Arm(architecture, 24, constraint, Cov() if at % 2 else Iso(), at % 3, (3e-3, 1e-2)[at % 2])
        for at, constraint in enumerate(CONSTRAINTS)
    ]


def tensors(run: Run) -> list[Tensor]:
    sae = run.sae
    columns = [torch.tensor(run.curve[name].to_numpy(dtype=float)).nan_to_num() for name in run.curve]
    found = [sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec, *columns]
    if isinstance(sae, Transcoder) and sae.W_skip is not None:
        found.append(sae.W_skip)
    return found if sae.threshold is None else [*found, sae.threshold]


def apart(some: list[Run], others: list[Run]) -> float:
    """The largest relative difference in anything that runs give."""
    return max(
        float((p - q).abs().max() / q.abs().max().clamp_min(1e-9))
        for a, b in zip(some, others, strict=True)
        for p, q in zip(tensors(a), tensors(b), strict=True)
    )


def stack_of(
    arms: list[Arm], stream: Any, training: Training = FAST, precision: Any = "float32", ops: Any = plain
) -> Stack:
    """Arms before their first step."""
    loop = Loop(stream, 40, training, precision=precision)
    with torch.no_grad(), mock.patch("sanity.models.card.stack.operations", return_value=ops):
        learners = [loop._learner(arm) for arm in arms]
        (stack,) = stacked(learners, stream, loop._step, card=True, batch=stream.batch_size)
    return stack
