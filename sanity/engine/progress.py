"""Progress with an estimate of the time left, readable on a terminal and in a log.

On a terminal this is an ordinary tqdm bar. Redrawn bars fill a log (make, papermill, CI) with noise: there a
bar that lasts prints a line a minute, and none at all where a `heartbeat` or another process speaks for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from io import TextIOBase
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

BESIDE = "SANITY_BESIDE"
"""An environment variable that is set in processes that work next to others, whose bars would overlap."""

LINE_SECONDS = 60.0
"""How long a log stays without a word while something runs."""

_bars: list[weakref.ref[tqdm[Any]]] = []  # outermost first


class _Beats:
    """How many heartbeats speak for this process's bars: threads begin and end theirs in any order."""

    count = 0
    lock = threading.Lock()


class _Lines:
    """A log in which every state of a bar is a line of its own."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            self._log.write(line + "\n")

    def flush(self) -> None:
        self._log.flush()

    def isatty(self) -> bool:
        return False


class _Silence:
    """Where a bar goes that others speak for."""

    def write(self, text: str) -> None:
        pass

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def track(
    items: Iterable[Item] | None = None,
    *,
    description: str,
    total: int | None = None,
    unit: str = "it",
    initial: int = 0,
    stream: TextIOBase | None = None,
) -> tqdm[Item]:
    """A tqdm bar over `items`, or (with `items=None`) a bar to move by `.update(n)`; a context manager.

    `initial` is where a resumed computation stands already, so that its speed is estimated honestly.
    """
    out: Any = stream if stream is not None else sys.stderr
    beside = BESIDE in os.environ
    drawn = out.isatty() and not beside
    silent = not drawn and (beside or _Beats.count > 0)
    often = drawn or silent  # what is silent is read at any time, and must be up to date
    bar: tqdm[Any] = tqdm(
        items,
        desc=description,
        total=total,
        unit=unit,
        initial=initial,
        file=out if drawn else _Silence() if silent else _Lines(out),
        mininterval=0.2 if often else LINE_SECONDS,
        maxinterval=10.0 if often else LINE_SECONDS,
        dynamic_ncols=drawn,
        ncols=None if drawn else 100,
        leave=True,
        unit_scale=total is not None and total >= 10_000,
        delay=0.0 if often else 5.0,
    )
    _bars[:] = [*(known for known in _bars if _is_open(known())), weakref.ref(bar)]
    return bar


def current() -> tqdm[Any] | None:
    """The outermost bar that is open in this process."""
    return next((bar for known in _bars if _is_open(bar := known())), None)


def is_drawn(bar: tqdm[Any]) -> bool:
    """Whether somebody sees the bar on a terminal."""
    return bool(bar.fp.isatty())


def seconds_left(bar: tqdm[Any]) -> float:
    """Until the bar is full, at its own pace so far; 0 before it has moved, and without a total."""
    moved = bar.n - bar.initial
    if not bar.total or moved <= 0:
        return 0.0
    return float(bar.format_dict["elapsed"] * (bar.total - bar.n) / moved)


def _is_open(bar: tqdm[Any] | None) -> bool:
    return bar is not None and not bar.disable  # as tqdm marks what is closed


@contextlib.contextmanager
def heartbeat(beat: Callable[[], None], *, every: float = 5.0) -> Iterator[None]:
    """Call `beat` every few seconds meanwhile, on a thread of its own; in a log, it speaks for all bars."""
    ended = threading.Event()

    def beats() -> None:
        while not ended.wait(every):
            beat()

    thread = threading.Thread(target=beats, name="heartbeat", daemon=True)
    with _Beats.lock:
        _Beats.count += 1
    thread.start()
    try:
        yield
    finally:
        with _Beats.lock:
            _Beats.count -= 1
        ended.set()
        thread.join()
