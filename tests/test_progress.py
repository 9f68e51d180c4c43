"""Progress: lines in a log, a bar on a terminal, and honest about where it began."""

import io

from sanity.engine.progress import track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_lines_and_no_returns() -> None:
    log = io.StringIO()
    bar = track(description="counting", total=3, stream=log)
    bar.delay = 0.0
    for _ in range(3):
        bar.update(1)
        bar.refresh()
    bar.close()
    assert "\r" not in log.getvalue()
    assert log.getvalue().splitlines()[-1].startswith("counting: 100%")


def test_a_terminal_gets_one_bar_that_is_redrawn() -> None:
    screen = Terminal()
    for _ in track(range(3), description="counting", stream=screen):
        pass
    assert screen.getvalue().count("\r") >= 1
    assert screen.getvalue().count("\n") <= 1


def test_a_resumed_bar_begins_where_it_stood() -> None:
    bar = track(description="resumed", total=10, initial=7, stream=io.StringIO())
    assert bar.n == 7
    bar.close()
