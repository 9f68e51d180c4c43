"""Processes side by side, for work that a single thread does as fast as several.

Small matrices are no faster on two threads than on one, so two cores do twice as much with a process each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from sanity.engine.machine import cores, memory_bytes
from sanity.engine.progress import BESIDE
from sanity.errors import BadInputError, SanityError, reason_of

log = logging.getLogger("sanity")

NO_POOL = "none"
PROCESSES = "SANITY_PROCESSES"
"""The environment variable that says how many processes compute at the same time, at most."""


@contextlib.contextmanager
def on_threads(n: int | None) -> Iterator[None]:
    """Let torch use `n` threads meanwhile; with None, as many as it would."""
    if n is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def places(*, threads: int) -> int:
    """How many processes of `threads` threads compute at the same time; one at least.

    As many as this machine has cores for, and no more than `SANITY_PROCESSES` says.
    """
    fit = max(1, cores() // threads)
    if not (said := os.environ.get(PROCESSES)):
        return fit
    if not said.isdecimal() or int(said) < 1:
        raise BadInputError(
            f"{PROCESSES} is {said!r}: want a whole number from 1, or leave it out for one process per core"
        )
    return min(fit, int(said))


def memory_for_results() -> int:
    """Memory that what is computed at the same time may need together; the rest is the system's."""
    return int(0.7 * memory_bytes())


class Workers:
    """A pool of processes with `threads` threads each, started when it is first given work.

    They end with the process that started them, however that ends. Where the system has no shared memory
    for them (a container's small `/dev/shm`, say), the calls are made one after the other in this process.
    """

    def __init__(self, count: int, *, threads: int = 1) -> None:
        self.count = count
        self._threads = threads
        self._pool: Any = None
        self._running: dict[Future[Any], str] = {}  # with what to call it in errors

    @property
    def busy(self) -> int:
        """How many calls are under way."""
        return len(self._running)

    def start(self, function: Callable[..., Any], *arguments: Any, name: str) -> Future[Any]:
        """Call an importable function in a process of its own; `name` stands for the call in errors."""
        future = self._submit(function, *arguments)
        if future is None:
            future = Future()
            with on_threads(self._threads):
                future.set_result(function(*arguments))
        self._running[future] = name
        return future

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any] | None:
        """Give the call to the pool; None where there can be none."""
        try:
            if self._pool is None:
                self._pool = _new_pool(self.count, self._threads)
            return None if self._pool is NO_POOL else self._pool.submit(function, *arguments)
        except (OSError, ImportError) as error:
            log.warning("no processes side by side (%s): one thing is computed at a time", reason_of(error))
            self._pool = NO_POOL
            return None

    def finished(self) -> list[Future[Any]]:
        """Wait until a call is through, and give those that are; raises what they raised."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            name = self._running.pop(future)
            try:
                future.result()
            except BrokenProcessPool as error:
                raise SanityError(
                    f"the process that computed {name} ended without a word; most often the machine ran out "
                    "of memory: free some and run again, what is finished stays"
                ) from error
        return list(done)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool not in (None, NO_POOL):
            self._pool.shutdown(wait=True, kill_workers=error is not None)


def _new_pool(count: int, threads: int) -> Any:
    # loky, unlike the standard library's pool, starts from notebooks and from unguarded scripts.
    from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    return ProcessPoolExecutor(
        max_workers=count,
        initializer=_begin,
        initargs=(os.getpid(), threads),
        env={"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), BESIDE: "1"},
    )


def _begin(parent: int, threads: int) -> None:
    """In a new worker: keep to its threads, and go when whoever started it is gone."""
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)  # who trains heeds it, and saves first
    time.sleep(10.0)
    os._exit(1)
