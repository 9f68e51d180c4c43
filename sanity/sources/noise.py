"""Gaussian noise with the covariance of another source: its activations without any structure beyond that.

What an arm does on noise it does for the covariance alone, and not for features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from sanity.data.gaussian import GaussianStream
from sanity.engine.cells import Cell, Result
from sanity.sources.base import FIRST_CALIBRATION_STEP, OpenedSource, Pace, Source, held_out_rows
from sanity.sources.world import World


@dataclass(frozen=True)
class Noise(Source):
    """Gaussian noise like another source."""

    like: Source = World()
    held_out: int = 4096
    name: ClassVar[str] = "noise"

    @property
    def threads(self) -> int | None:  # type: ignore[override]
        """As the source that it is like."""
        return self.like.threads

    @property
    @override
    def d_in(self) -> int:
        return self.like.d_in

    @property
    @override
    def subject(self) -> str | None:
        return self.like.subject

    @property
    @override
    def where(self) -> str:
        return f"{self.like.where}, Gaussian noise of its covariance"

    @override
    def cells(self, device: str, pace: Pace) -> dict[str, Cell]:
        return self.like.cells(device, pace)

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        stream = self.like.open(inputs, batch_size=batch_size, seed=seed, device=device).stream
        noise = GaussianStream(stream.covariance(), batch_size=batch_size, seed=seed, name=stream.key)
        sample = held_out_rows(noise, self.held_out)
        calibration = held_out_rows(noise, self.held_out, first_step=FIRST_CALIBRATION_STEP)
        return OpenedSource(noise, sample, calibration, lambda: iter([sample]))
