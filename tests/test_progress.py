"""Progress: a line a minute in a log, a bar on a terminal, and honest about where it began."""

import io
import threading

import pytest

from sanity.engine import progress
from sanity.engine.progress import BESIDE, current, heartbeat, seconds_left, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("tqdm.std.time", made)
    return made


def test_a_log_gets_a_line_a_minute_and_no_returns(clock: Clock) -> None:
    log = io.StringIO()
    with track(description="counting", total=300, stream=log) as bar:
        for _ in range(300):
            clock.now += 1.0
            bar.update(1)
    assert "\r" not in log.getvalue()
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("counting:  20%")
    assert "04:00" in lines[0], "the time left at the pace of the first minute"
    assert lines[-1].startswith("counting: 100%")
    assert len(lines) <= 6


def test_a_log_says_nothing_of_what_is_soon_done(clock: Clock) -> None:
    log = io.StringIO()
    for _ in track(range(50), description="counting", stream=log):
        clock.now += 1.0
    assert log.getvalue() == ""


def test_a_terminal_gets_one_bar_that_is_redrawn() -> None:
    screen = Terminal()
    for _ in track(range(3), description="counting", stream=screen):
        pass
    assert screen.getvalue().count("\r") >= 1
    assert screen.getvalue().count("\n") <= 1


def test_a_resumed_bar_begins_where_it_stood(clock: Clock) -> None:
    with track(description="resumed", total=10, initial=7, stream=io.StringIO()) as bar:
        assert bar.n == 7
        assert seconds_left(bar) == 0.0, "nobody knows yet"
        clock.now += 30.0
        bar.update(1)
        assert seconds_left(bar) == pytest.approx(60.0)


def test_bars_leave_the_log_to_a_heartbeat_and_can_be_read(clock: Clock) -> None:
    log, beats = io.StringIO(), threading.Event()
    with heartbeat(beats.set, every=0.001):
        with track(description="outer", total=4, stream=log) as outer, track(total=9, description="inner"):
            clock.now += 100.0
            outer.update(3)
            assert current() is outer
            assert outer.n == 3
        assert current() is None
        assert beats.wait(60)
    assert log.getvalue() == ""
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    with track(description="alone again", total=2, stream=log) as bar:
        clock.now += 100.0
        bar.update(1)
    assert log.getvalue().startswith("alone again:  50%")


def test_heartbeats_of_threads_end_in_any_order(clock: Clock) -> None:
    first, second = heartbeat(lambda: None), heartbeat(lambda: None)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    quiet, log = io.StringIO(), io.StringIO()
    for stream in (quiet, log):
        with track(description="after it", total=2, stream=stream) as bar:
            clock.now += 100.0
            bar.update(1)
        if stream is quiet:
            second.__exit__(None, None, None)
    assert quiet.getvalue() == "", "the other one still speaks"
    assert log.getvalue().startswith("after it:  50%")


def test_bars_of_processes_next_to_others_are_silent(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BESIDE, "1")
    screen = Terminal()
    with track(description="one of many", total=2, stream=screen) as bar:
        clock.now += 100.0
        bar.update(1)
    assert screen.getvalue() == ""


def test_a_bar_that_was_dropped_is_not_current() -> None:
    def stops() -> None:
        for n in track(range(5), description="interrupted", stream=io.StringIO()):
            if n == 2:
                raise KeyError(n)

    with pytest.raises(KeyError):
        stops()
    assert current() is None
    assert len(progress._bars) <= 1
