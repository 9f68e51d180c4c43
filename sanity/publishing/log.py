"""The package's log on stderr, where long computations report what they do and how long it will take."""

from __future__ import annotations

import logging
import sys


def log_to_stderr() -> None:
    """Show the log `sanity` with the time of day; a second call, or a log set up by the user, is kept."""
    log = logging.getLogger("sanity")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
