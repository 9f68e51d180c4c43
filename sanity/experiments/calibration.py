"""How long work takes on this machine next to the one whose paces profiles state: measured in some seconds.

On a processor: steps of training at two widths and a language model's products, of which it is known what
they take at those paces, and many small operations that the interpreter starts; in about the shares in which
the profile `quick` spends its time. On a graphics card products and copies, which is what captured steps are
made of. The machine is measured as it is, with whatever else runs on it.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.memory import memory_kept
from sanity.engine.products import product
from sanity.engine.workers import on_threads
from sanity.models import Arm, Iso, Learner, TopK, Training
from sanity.models.start import calibrated_start, initial_directions
from sanity.sources import Pace

log = logging.getLogger("sanity")

_WIDE, _NARROW = (512, 576, 2304, 32, 12), (1024, 40, 640, 6, 40)
"""Batch, width, latents, L0 and number of training steps: quick's real activations, and its worlds."""
_TOKENS, _BLOCKS, _OF_A_PASS = 1024, 4, 1.2
"""Tokens, blocks of the default model's size, and how much longer its forward takes than their products."""


@dataclass(frozen=True)
class Kind:
    """A kind of work: how long it takes where paces were measured, and its share of all time."""

    reference: float
    """Seconds."""
    share: float


def _steps_as_planned(batch: int, d_in: int, d_sae: int, _: int, steps: int) -> float:
    pace, samples = Pace(), batch * steps
    return pace.training_seconds(samples=samples, d_sae=d_sae, d_in=d_in) - pace.training_seconds(
        samples=0, d_sae=d_sae, d_in=d_in
    )


KINDS = {
    "cpu": {
        "steps on real activations": Kind(_steps_as_planned(*_WIDE), 0.3),
        "steps in a world": Kind(_steps_as_planned(*_NARROW), 0.2),
        # A pass to the hook of which paces tell runs eleven blocks.
        "a language model": Kind(_TOKENS * _BLOCKS / 11 / Pace().tokens_per_second / _OF_A_PASS, 0.4),
        "small operations": Kind(0.117, 0.1),
    },
    "cuda": {"products": Kind(0.0145, 0.5), "passes": Kind(0.005, 0.5)},
}
"""By device: of two quiet cores of an AMD EPYC with AVX-512; and of an H200, which made products in bf16 at
760 TFLOP/s and copied at 4.3 TB/s."""
_REPEATS = 3


def ratios(device: str = "cpu", repeats: int = _REPEATS) -> dict[str, float] | None:
    """How many times as long as on the reference machine each kind of work takes here.

    None for a device that is not here: its costs stay those of the reference.
    """
    if device == "cuda" and not torch.cuda.is_available():
        return None
    with memory_kept():  # as whatever is computed is
        measured = {name: statistics.median(_timed(work, repeats)) for name, work in _kinds(device).items()}
    log.debug("calibration of %s, seconds: %s", device, measured)
    return {name: measured[name] / kind.reference for name, kind in KINDS[device].items()}


def on_average(found: Mapping[str, float] | None, device: str = "cpu") -> float | None:
    """The mean of such ratios over all work; None where there are none."""
    return None if found is None else sum(kind.share * found[name] for name, kind in KINDS[device].items())


def slowness(device: str = "cpu", repeats: int = _REPEATS) -> float | None:
    """How many times as long as on the reference machine work takes here; below 1 where it is faster."""
    return on_average(ratios(device, repeats), device)


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
    small = torch.ones(16)

    def small_operations() -> None:
        for _ in range(30000):
            small.add_(1.0).mul_(0.5)

    return {
        "steps on real activations": _training(*_WIDE, threads=None),
        "steps in a world": _training(*_NARROW, threads=1),
        "a language model": _language_model(),
        "small operations": small_operations,
    }


@torch.no_grad()
def _training(
    batch: int, d_in: int, d_sae: int, l0: int, steps: int, threads: int | None
) -> Callable[[], None]:
    """Steps of a trained TopK arm, each on a batch of its own of a world with as many features as latents."""
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=d_in, n_features=d_sae, expected_l0=float(l0)))
    stream = SyntheticStream(world, batch_size=batch, seed=0)
    arm, x = Arm(TopK(l0), d_sae, init=Iso()), stream.batch(0)
    start = calibrated_start(arm, initial_directions(arm, d_in, stream.covariance, x.dtype), x)
    learner = Learner(arm, start, steps=100 * steps, training=Training())

    @torch.no_grad()
    def work() -> None:
        with on_threads(threads):
            for _ in range(steps):
                learner.learn(stream.batch(learner.step))

    return work


def _language_model() -> Callable[[], None]:
    """The products of some blocks of the default model, of its sizes."""
    generator = torch.Generator().manual_seed(0)
    d, keys, hidden = 576, 192, 1536
    shapes = [(d, d), (keys, d), (keys, d), (d, d), (hidden, d), (hidden, d), (d, hidden)]
    query, key, value, out, gate, up, down = (
        torch.randn(*shape, generator=generator) / shape[1] ** 0.5 for shape in shapes
    )
    x = torch.randn(_TOKENS, d, generator=generator)

    def work() -> None:
        y = x
        for _ in range(_BLOCKS):
            both = product(y, key, None) + product(y, value, None)
            attended = product(y, query, None) + both.repeat(1, d // keys)
            y = y + functional.rms_norm(product(attended, out, None), (d,))
            gated = functional.silu(product(y, gate, None)) * product(y, up, None)
            y = y + functional.rms_norm(product(gated, down, None), (d,))

    return work
