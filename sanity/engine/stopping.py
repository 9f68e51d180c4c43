"""Ending when asked to: what a scheduler or a container sends before it kills."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

EXIT_CODE = 128 + signal.SIGTERM


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[Callable[[], bool]]:
    """Meanwhile SIGTERM ends nothing; the call that is yielded says whether one came.

    Whoever asks saves what there is, and then raises `SystemExit(EXIT_CODE)`. Where somebody else handles the
    signal, or outside of the main thread, which alone may, it stays theirs.
    """
    came = threading.Event()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield came.is_set
        return
    signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
