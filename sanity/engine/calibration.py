"""How long work takes on this machine next to the one whose paces profiles state: measured in two seconds.

Three kinds of work, in about the shares in which the profile `quick` spends its time: products of matrices,
passes over arrays that are larger than the caches, and many small operations that the interpreter starts. The
machine is measured as it is, with whatever else runs on it.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable

log = logging.getLogger("sanity")

REFERENCE = {"products": 0.235, "passes": 0.075, "small operations": 0.117}
"""Seconds for each kind on two quiet cores of an AMD EPYC with AVX-512, whose paces profiles state."""
SHARES = {"products": 0.6, "passes": 0.25, "small operations": 0.15}
_REPEATS = 5


def slowness(repeats: int = _REPEATS) -> float:
    """How many times as long as on the reference machine work takes here; below 1 where it is faster."""
    measured = {name: statistics.median(_timed(work, repeats)) for name, work in _kinds().items()}
    log.debug("calibration, seconds: %s", measured)
    return sum(share * measured[name] / REFERENCE[name] for name, share in SHARES.items())


def _timed(work: Callable[[], None], repeats: int) -> list[float]:
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def _kinds() -> dict[str, Callable[[], None]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(*shape, generator=generator) for shape in ((512, 576), (576, 2304)))
    y = torch.empty(512, 2304)
    large, other = (torch.ones(2**24) for _ in range(2))
    small = torch.randn(16, generator=generator)

    def products() -> None:
        for _ in range(16):
            torch.mm(x, w, out=y)

    def passes() -> None:
        for _ in range(8):
            large.mul_(0.9).add_(other, alpha=0.1)

    def small_operations() -> None:
        for _ in range(30000):
            small.add_(1.0).mul_(0.5)

    return {"products": products, "passes": passes, "small operations": small_operations}
