"""Reaching a Dask scheduler: within a time, or with one error that says why not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sanity.errors import BadInputError, SanityError, reason_of

ANSWER_SECONDS = 20.0
"""How long a scheduler has to answer."""
PATIENCE_SECONDS = 300.0
"""How long it, and workers that have to load this package, may be silent later."""


def connected(address: str, *, tries: int = 2) -> Any:
    """A Dask client of the scheduler at `address`.

    Raises
    ------
    BadInputError
        Dask is not installed, or no scheduler answers there.
    SanityError
        Dask cannot start in this process.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BadInputError(
            "a scheduler needs Dask: pip install 'sae-sanity[cluster]'; without --scheduler "
            "everything is computed on this machine"
        ) from error
    try:
        return in_time(
            2 * ANSWER_SECONDS, lambda: Client(address, timeout=ANSWER_SECONDS, set_as_default=True)
        )
    except (AssertionError, RuntimeError) as error:  # Dask gives its thread ten seconds to start
        if tries > 1:
            return connected(address, tries=tries - 1)
        raise SanityError(
            f"Dask cannot start its thread ({reason_of(error)}): this machine is too busy, or lets this "
            "process have no more threads; run the same command again later, what is finished stays"
        ) from error
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise BadInputError(
            f"no Dask scheduler answers at {address!r} ({reason_of(error)}): start one with 'dask "
            f"scheduler' and workers with 'dask worker ADDRESS --nthreads 1', or leave --scheduler out"
        ) from error


def in_time(seconds: float, ask: Callable[[], Any]) -> Any:
    """What `ask` gives; raises TimeoutError after `seconds`, while it goes on in a thread that ends with us.

    Dask itself waits without end for a word of whoever has taken the connection.
    """
    answer: Future[Any] = Future()

    def wait_for_it() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=wait_for_it, daemon=True).start()
    try:
        return answer.result(timeout=seconds)
    except TimeoutError as error:
        if answer.done():
            raise
        raise TimeoutError(f"nothing was said in {seconds:.0f} s") from error
