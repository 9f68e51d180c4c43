"""A synthetic world, whose true features are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from sanity.data import LayeredSpec, SyntheticSpec, SyntheticStream, world_of
from sanity.engine.cells import Result
from sanity.sources.base import FIRST_CALIBRATION_STEP, OpenedSource, Source, held_out_rows


@dataclass(frozen=True)
class World(Source):
    """Samples of a synthetic world, new ones for every batch."""

    spec: SyntheticSpec = SyntheticSpec()
    held_out: int = 16_384
    """Samples that SAEs are evaluated on, and as many on which their L0 is matched."""
    name: ClassVar[str] = "world"
    threads: ClassVar[int | None] = 1

    @property
    @override
    def d_in(self) -> int:
        return self.spec.d_in

    @property
    @override
    def blocks(self) -> tuple[int, ...]:
        return self.spec.blocks if isinstance(self.spec, LayeredSpec) else (self.d_in,)

    @property
    @override
    def where(self) -> str:
        return f"{self.spec.probabilities} world, d {self.spec.d_in}"

    @override
    def columns(self) -> dict[str, object]:
        return {**super().columns(), "n_features": self.spec.n_features}

    @override
    def redrawn(self, seed: int) -> Source:
        return replace(self, spec=replace(self.spec, seed=seed))

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        stream = SyntheticStream(world_of(self.spec, device=device), batch_size=batch_size, seed=seed)
        sample = held_out_rows(stream, self.held_out)
        calibration = held_out_rows(stream, self.held_out, first_step=FIRST_CALIBRATION_STEP)
        return OpenedSource(stream, sample, calibration, lambda: iter([sample]), truth=stream)
