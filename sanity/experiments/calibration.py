"""How long work takes on this machine next to the one whose paces profiles state: measured in two seconds.

On a processor three kinds of work, in about the shares in which the profile `quick` spends its time:
products of matrices, passes over arrays that are larger than the caches, and many small operations that the
interpreter starts. On a graphics card the first two, which is what captured steps are made of. The machine is
measured as it is, with whatever else runs on it.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("sanity")


@dataclass(frozen=True)
class Kind:
    """A kind of work: how long it takes where paces were measured, and its share of all time."""

    reference: float
    """Seconds."""
    share: float


KINDS = {
    "cpu": {
        "products": Kind(0.235, 0.6),
        "passes": Kind(0.075, 0.25),
        "small operations": Kind(0.117, 0.15),
    },
    "cuda": {"products": Kind(0.0145, 0.5), "passes": Kind(0.005, 0.5)},
}
"""By device: of two quiet cores of an AMD EPYC with AVX-512; and of an H200, which made products in bf16 at
760 TFLOP/s and copied at 4.3 TB/s."""
_REPEATS = 5


def slowness(device: str = "cpu", repeats: int = _REPEATS) -> float | None:
    """How many times as long as on the reference machine work takes here; below 1 where it is faster.

    None for a device that is not here: its costs stay those of the reference.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return None
    measured = {name: statistics.median(_timed(work, repeats)) for name, work in _kinds(device).items()}
    log.debug("calibration of %s, seconds: %s", device, measured)
    return sum(kind.share * measured[name] / kind.reference for name, kind in KINDS[device].items())


def _timed(work: Callable[[], None], repeats: int) -> list[float]:
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def _kinds(device: str) -> dict[str, Callable[[], None]]:
    return _on_a_card(device) if device == "cuda" else _on_a_processor()


def _on_a_card(device: str, side: int = 8192, numbers: int = 2**28) -> dict[str, Callable[[], None]]:
    """Ten products in bf16, and ten copies of so many float32; each waits until the card is done."""
    import torch

    x, y = (torch.ones(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    large, other = (torch.ones(numbers, device=device) for _ in range(2))

    def products() -> None:
        for _ in range(10):
            torch.mm(x, x, out=y)
        float(y[0, 0])

    def passes() -> None:
        for _ in range(10):
            other.copy_(large)
        float(other[0])

    return {"products": products, "passes": passes}


def _on_a_processor() -> dict[str, Callable[[], None]]:
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
