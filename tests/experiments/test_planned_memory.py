"""Memory of training: real passes over the data where arms do not fit at once, and a plan that tells both."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from tiny_profile import tiny_profile

from sanity.engine.cells import Cell, memory_together, parts_together, seconds_together
from sanity.engine.computing import compute, total_cost
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.experiments import plans, steps
from sanity.experiments.planner import plan_grids


def cells_of_a_call(**more: Any) -> list[Cell]:
    """Training cells on one world that are computed in one call."""
    profile = tiny_profile(only=["synthetic_recovery"], **more)
    trained = {run.trained.key: run.trained for run in plan_grids(profile).runs}.values()
    first = next(iter(trained))
    return [cell for cell in trained if cell.company == first.company]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arms of every call of `train`; of what it gave before, nothing is alive when it is called again."""
    seen: list[list[str]] = []
    before: list[weakref.ref[Any]] = []
    train = steps.train

    def noted(arms: Any, *given: Any, **more: Any) -> Any:
        gc.collect()
        assert not any(run() for run in before)
        seen.append([arm.label for arm in arms])
        runs = train(arms, *given, **more)
        before[:] = map(weakref.ref, runs)
        return runs

    monkeypatch.setattr(steps, "train", noted)
    return seen


def test_arms_that_do_not_fit_at_once_are_trained_in_passes(
    tmp_path: Path, passes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, store = cells_of_a_call(), LocalStore(tmp_path / "parts")
    whole = LocalStore(tmp_path / "whole")
    compute(cells, whole)
    needs = [cell.config.footprint for cell in cells]
    room = 3 * max(need.kept for need in needs) + max(need.passing for need in needs)
    monkeypatch.setattr(steps, "room_for_arms", lambda device, taken: room - taken)
    compute(cells, store)
    at_once, in_passes = passes[0], passes[1:]
    assert len(at_once) == len(cells) > 3
    assert len(in_passes) > 1
    assert [label for part in in_passes for label in part] == at_once
    for cell in cells:
        assert require(cell, store).files == require(cell, whole).files


def test_an_arm_that_does_not_fit_is_refused_before_anything_is_trained(
    tmp_path: Path, passes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "room_for_arms", lambda device, taken: 3_000)
    with pytest.raises(BadInputError, match=r"GB of memory while it trains, and 3e-06 GB .* latents fit"):
        compute(cells_of_a_call(), LocalStore(tmp_path))
    assert passes == []


def test_on_a_card_room_is_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def room(device: str, taken: int) -> float:
        asked.append(device)
        return 1e12

    monkeypatch.setattr(steps, "room_for_arms", room)
    runs = [cell.config for cell in cells_of_a_call(device="cuda")]
    assert steps.that_fit(runs) == [slice(0, len(runs))]
    assert asked == ["cuda"]


def test_the_plan_tells_the_memory_of_a_call_and_its_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_of_a_call()
    needs = [cell.config.footprint for cell in cells]
    besides = 500_000_000 + max(need.passing for need in needs)
    assert memory_together(cells) == besides + sum(need.kept for need in needs)
    assert total_cost(cells).memory_bytes >= memory_together(cells)
    assert parts_together(cells) == 1
    room = 2 * max(need.kept for need in needs) + max(need.passing for need in needs)
    monkeypatch.setattr(plans, "room_for_arms", lambda device, taken, planned: room)
    split = cells_of_a_call()
    assert [cell.key for cell in split] == [cell.key for cell in cells]
    assert parts_together(split) > 1
    assert memory_together(split) < memory_together(cells)


def test_what_is_read_once_is_read_in_every_pass() -> None:
    def cell(each: int) -> Cell:
        cost = plans.Cost(11.0, memory_bytes=50 + each, once=10.0, each_bytes=each, room_bytes=100)
        return steps.train_arms.cell({"each": each}, label=f"takes {each}", cost=cost)

    three = [cell(40), cell(41), cell(42)]
    assert parts_together(three) == 2
    assert seconds_together(three) == 3 * 1.0 + 2 * 10.0
    assert memory_together(three) == 50 + 100
    assert (parts_together([cell(300)]), memory_together([cell(300)])) == (1, 350)
