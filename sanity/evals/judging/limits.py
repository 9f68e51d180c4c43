"""How often an endpoint is called: so many requests and tokens in any minute, and not before it says so."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime

import anyio

_WINDOW = 60.0


class RateLimit:
    """Lets calls through such that no minute has more than so many of them, or of their tokens.

    A single call larger than a minute's tokens is let through when nothing else was sent for a minute.
    """

    def __init__(
        self,
        requests_per_minute: int,
        tokens_per_minute: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.requests = requests_per_minute
        self.tokens = tokens_per_minute
        self._clock = clock
        self._sleep = sleep
        self._sent: deque[tuple[float, int]] = deque()

    async def wait(self, tokens: int) -> None:
        """Return when a call of about `tokens` tokens may be sent."""
        while (pause := self._try(tokens)) > 0:
            await self._sleep(pause)

    def _try(self, tokens: int) -> float:
        """0 if the call may be sent now (and then it counts), else the seconds until it is worth asking."""
        now = self._clock()
        while self._sent and self._sent[0][0] <= now - _WINDOW:
            self._sent.popleft()
        within = sum(size for _, size in self._sent)
        fits = len(self._sent) < self.requests and within + tokens <= self.tokens
        if fits or not self._sent:
            self._sent.append((now, tokens))
            return 0.0
        return max(0.01, self._sent[0][0] + _WINDOW - now)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks for, given as seconds or as a date."""
    given = headers.get("Retry-After", "").strip()
    if not given:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
