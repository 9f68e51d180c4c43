"""What is being computed, and how long the rest will take: a line when a group begins, then one a minute."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from sanity.engine.cells import Cell, Cost, seconds_together
from sanity.engine.progress import LINE_SECONDS, current, is_drawn, seconds_left

log = logging.getLogger("sanity")


def describe(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclasses.dataclass(frozen=True)
class _Group:
    """Cells that are computed in one call, as a report sees them."""

    words: str
    alone: float
    """Seconds that it was planned to take by itself."""
    share: float
    """Seconds that it was planned to add to the whole: fewer, where others run at the same time."""
    began: float

    def left(self, pace: float, bar: tqdm[Any] | None, now: float) -> float:
        """Seconds until it ends, at `pace` times its plan; its bar may know better.

        What has taken longer than planned is thought to take a tenth longer than it has.
        """
        passed = now - self.began
        return max(pace * self.alone - passed, passed / 10 if bar is None else seconds_left(bar))

    @property
    def part(self) -> float:
        """How much of its time counts, where others run at the same time."""
        return self.share / self.alone if self.alone else 1.0


class ProgressReport:
    """Logs what is under way among `cells`, and what is left at the pace so far.

    `cost` says what several cells add to the whole: of two calls, the sum. `clock` gives seconds.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        cost: Callable[[Iterable[Cell]], Cost],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cost = cost
        self._clock = clock
        self._waiting = cost(cells).seconds
        self._done = 0.0
        self._pace = 1.0
        self._under_way: dict[str, _Group] = {}
        self._began = self._spoke = clock()

    def begins(self, group: Sequence[Cell]) -> None:
        """Log the group's label, its expected duration, and what is left in all."""
        others = f" and {len(group) - 1} with it" if len(group) > 1 else ""
        alone, share = seconds_together(group), self._cost(group).seconds
        new = _Group(group[0].label + others, alone, share, self._clock())
        self._waiting -= share
        self._under_way[group[0].key] = new
        self._say(f"{new.words}: about {describe(alone * self._pace)}; {self._left(None)}")

    def ended(self, group: Sequence[Cell]) -> None:
        """Count the group as done, and measure the pace."""
        self._done += self._under_way.pop(group[0].key).share
        if self._done > 5:
            self._pace = (self._clock() - self._began) / self._done

    def beat(self) -> None:
        """Log what is under way and what is left, if the log was quiet for a minute and shows no bar."""
        bar = current()
        if (bar is not None and is_drawn(bar)) or self._clock() - self._spoke < LINE_SECONDS:
            return
        if said := [f"{group.words}: {self._stand(group, bar)}" for group in list(self._under_way.values())]:
            self._say(f"{'; '.join(said)}; about {self._left(bar)}")

    def _stand(self, group: _Group, bar: tqdm[Any] | None) -> str:
        """How far a group is: as its bar says, where it has one in this process."""
        if bar is not None and bar.total:
            return f"{bar.desc} {100 * bar.n / bar.total:.0f} %"
        return f"{describe(self._clock() - group.began)} so far"

    def _left(self, bar: tqdm[Any] | None) -> str:
        now = self._clock()
        ends = [(group.left(self._pace, bar, now), group.part) for group in list(self._under_way.values())]
        together = max(self._waiting, 0.0) * self._pace + sum(left * part for left, part in ends)
        return f"{describe(max([together, *(left for left, _ in ends)]))} left in all"

    def _say(self, line: str) -> None:
        self._spoke = self._clock()
        log.info("%s", line)
