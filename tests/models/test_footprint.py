"""What arms take of memory: counted once, in parts that fit, and refused in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sanity.baselines import FrozenDecoder, Untrained
from sanity.errors import BadInputError
from sanity.models import Arm, TopK, Training
from sanity.models import footprint as counting
from sanity.models.footprint import (
    CARD_BYTES,
    CARD_SHARE,
    Footprint,
    footprint,
    parts_that_fit,
    room_for_arms,
)

ARM = Arm(TopK(2), 1000)
MATRIX = 4 * 1000 * 64
COLUMN = 4 * 1000 * 100


def count(arm: Arm = ARM, training: Training | None = None, **more: Any) -> Footprint:
    asked: dict[str, Any] = {"d_in": 64, "batch": 100, "stacked": False, **more}
    return footprint(arm, training or Training(), **asked)


def test_an_arm_by_itself_keeps_weights_anchors_and_moments() -> None:
    found = count()
    assert found.made == 3 * MATRIX
    assert found.kept == 7 * MATRIX
    assert found.passing == pytest.approx(2 * MATRIX + 2.032 * COLUMN, rel=0.01)
    assert count(dataclasses.replace(ARM, constraint=FrozenDecoder())).kept == 5 * MATRIX
    assert count(dataclasses.replace(ARM, constraint=Untrained())).kept == 3 * MATRIX
    assert count(d_out=32).kept == (4 * 1.5) * MATRIX


def test_in_a_stack_there_are_copies_and_all_step_at_once() -> None:
    found = count(stacked=True)
    assert found.passing == 0
    assert found.kept == pytest.approx(12 * MATRIX + 2.032 * COLUMN, rel=0.01)
    rounded = count(training=Training(moments="bf16"), stacked=True)
    assert found.kept - rounded.kept == 2 * MATRIX
    assert count(training=Training(auxiliary=0.1), stacked=True).kept == found.kept + COLUMN
    assert count(latents=250, stacked=True).kept * 4 == found.kept


def test_parts_fit_and_what_fits_into_none_is_refused_with_what_would() -> None:
    need = count()
    room = 2 * need.kept + need.passing
    assert parts_that_fit([need] * 5, room) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert parts_that_fit([need] * 5, room - 1) == [slice(i, i + 1) for i in range(5)]
    with pytest.raises(BadInputError, match=r"topk-2 trained.* needs .* GB .* 500 latents fit, or use"):
        parts_that_fit([need], need.whole / 2 + 1)
    with pytest.raises(BadInputError, match=r"0 GB are there for it.* 0 latents fit"):
        parts_that_fit([need], -1.0)


def test_room_is_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "memory_for_results", lambda: 1000)
    assert room_for_arms("cpu", taken=300) == room_for_arms("cpu", taken=300, planned=True) == 700
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert room_for_arms("cuda", planned=True) == CARD_SHARE * CARD_BYTES
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (600, 900))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 150)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 50)
    assert room_for_arms("cuda", taken=100) == CARD_SHARE * 600
    assert room_for_arms("cuda", taken=100, planned=True) == CARD_SHARE * 800
