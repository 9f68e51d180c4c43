"""Progress with an estimate of the time left, readable on a terminal and in a log.

On a terminal this is an ordinary tqdm bar. In a log (make, papermill, CI), and in processes that work beside
each other, a line is printed at most
every fifteen seconds, since redrawn bars fill logs with noise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from io import TextIOBase
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

BESIDE = "SANITY_BESIDE"
"""An environment variable that is set in processes that work beside others, whose bars would overlap."""


class _Lines:
    """A log in which every state of a bar is a line of its own."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            self._log.write(line + "\n")

    def flush(self) -> None:
        self._log.flush()


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
    on_terminal = out.isatty() and BESIDE not in os.environ
    bar: tqdm[Any] = tqdm(
        items,
        desc=description,
        total=total,
        unit=unit,
        initial=initial,
        file=out if on_terminal else _Lines(out),
        mininterval=0.2 if on_terminal else 15.0,
        maxinterval=10.0 if on_terminal else 60.0,
        dynamic_ncols=on_terminal,
        ncols=None if on_terminal else 100,
        leave=True,
        unit_scale=total is not None and total >= 10_000,
        delay=0.0 if on_terminal else 5.0,
    )
    return bar
