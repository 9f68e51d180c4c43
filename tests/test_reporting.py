"""What the log says while cells are computed, by a clock that the test moves."""

import io
import logging
from collections.abc import Iterable

import pytest
from test_progress import Clock, Terminal, clock

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.engine.progress import track
from sanity.engine.reporting import ProgressReport

__all__ = ["clock"]


@computes("test_reporting.anything", version=1, together=lambda cell: cell.config["group"])
def anything(tasks: list[Task]) -> None:
    raise AssertionError("nothing is computed here")


def group(name: str, n: int, seconds: float) -> list[Cell]:
    """Cells that are computed together."""
    return [
        anything.cell({"group": name, "n": i}, label=f"{name} seed {i}", cost=Cost(seconds)) for i in range(n)
    ]


def in_turn(cells: Iterable[Cell]) -> Cost:
    return sum((cell.cost for cell in cells), Cost(0.0, 0, 0))


def at_the_same_time(cells: Iterable[Cell]) -> Cost:
    return Cost(in_turn(cells).seconds / 2)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="sanity")
    return caplog


def test_a_long_group_is_named_once_a_minute_with_its_share_and_the_time_left(
    clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    first, second = group("topk", 3, 100.0), group("relu", 1, 60.0)
    report = ProgressReport([*first, *second], in_turn, clock=clock)
    report.begins(first)
    with track(description="training 3 arms", total=100, stream=io.StringIO()) as bar:
        for _ in range(240):
            clock.now += 1.0
            bar.update(0.25)
            report.beat()
    report.ended(first)
    assert said.messages == [
        "topk seed 0 and 2 with it: about 5 min; 6 min left in all",
        "topk seed 0 and 2 with it: training 3 arms 15 %; about 7 min left in all",
        "topk seed 0 and 2 with it: training 3 arms 30 %; about 6 min left in all",
        "topk seed 0 and 2 with it: training 3 arms 45 %; about 5 min left in all",
        "topk seed 0 and 2 with it: training 3 arms 60 %; about 4 min left in all",
    ]


def test_the_estimate_keeps_to_the_pace_so_far(clock: Clock, said: pytest.LogCaptureFixture) -> None:
    first, second = group("topk", 1, 100.0), group("relu", 1, 300.0)
    report = ProgressReport([*first, *second], in_turn, clock=clock)
    report.begins(first)
    clock.now += 200.0
    report.ended(first)
    report.begins(second)
    clock.now += 120.0
    report.beat()
    assert said.messages[-2:] == [
        "relu seed 0: about 10 min; 10 min left in all",
        "relu seed 0: 2 min so far; about 8 min left in all",
    ]
    clock.now += 3600.0
    report.beat()
    assert said.messages[-1] == "relu seed 0: 62 min so far; about 6 min left in all"


def test_what_other_processes_compute_is_named_too(clock: Clock, said: pytest.LogCaptureFixture) -> None:
    groups = [group("topk", 2, 120.0), group("relu", 1, 200.0), group("jumprelu", 1, 300.0)]
    report = ProgressReport([cell for cells in groups for cell in cells], at_the_same_time, clock=clock)
    report.begins(groups[0])
    clock.now += 30.0
    report.begins(groups[1])
    clock.now += 70.0
    report.beat()
    # 240 - 100, 200 - 70 and 300 seconds of work, two at a time.
    assert said.messages[-1] == (
        "topk seed 0 and 1 with it: 2 min so far; relu seed 0: 70 s so far; about 5 min left in all"
    )


def test_what_has_nothing_left_to_run_next_to_is_told_whole(
    clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    only = group("topk", 2, 600.0)
    report = ProgressReport(only, at_the_same_time, clock=clock)
    report.begins(only)
    assert said.messages == ["topk seed 0 and 1 with it: about 20 min; 20 min left in all"]


def test_a_log_that_spoke_within_the_minute_is_left_alone(
    clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    cells = [group(name, 1, 10.0) for name in ("a", "b", "c")]
    report = ProgressReport([cell for one in cells for cell in one], in_turn, clock=clock)
    for one in cells:
        report.begins(one)
        clock.now += 50.0
        report.beat()
        report.ended(one)
    clock.now += 100.0
    report.beat()  # nothing is under way
    assert len(said.messages) == 3


def test_nothing_is_written_across_a_bar_on_a_terminal(clock: Clock, said: pytest.LogCaptureFixture) -> None:
    cells = group("topk", 1, 600.0)
    report = ProgressReport(cells, in_turn, clock=clock)
    report.begins(cells)
    with track(description="training", total=10, stream=Terminal()):
        clock.now += 100.0
        report.beat()
    assert len(said.messages) == 1
    report.beat()
    assert said.messages[-1] == "topk seed 0: 2 min so far; about 8 min left in all"
