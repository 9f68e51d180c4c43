"""A synthetic circuit, whose true features and true map are known: the toy of transcoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from sanity.data.circuit import CircuitSpec, CircuitStream, circuit_of
from sanity.engine.cells import Result
from sanity.sources.base import (
    FIRST_CALIBRATION_STEP,
    FIRST_HELD_OUT_STEP,
    OpenedSource,
    Source,
    held_out_rows,
)


@dataclass(frozen=True)
class SyntheticCircuit(Source):
    """Inputs and targets of a synthetic circuit, drawn again for every batch."""

    spec: CircuitSpec = CircuitSpec()
    held_out: int = 8192
    """Samples that transcoders are evaluated on, and as many on which their L0 is matched."""
    name: ClassVar[str] = "circuit"
    threads: ClassVar[int | None] = 1

    @property
    @override
    def d_in(self) -> int:
        return self.spec.world.d_in

    @property
    @override
    def d_out(self) -> int:
        return self.spec.d_out

    @property
    @override
    def where(self) -> str:
        return f"circuit, d {self.d_in}"

    @override
    def columns(self) -> dict[str, object]:
        return {**super().columns(), "n_features": self.spec.n_out}

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        stream = CircuitStream(circuit_of(self.spec, device), batch_size=batch_size, seed=seed)
        steps = range(FIRST_HELD_OUT_STEP, FIRST_HELD_OUT_STEP - (-self.held_out // batch_size))
        sample = held_out_rows(stream, self.held_out)
        targets = torch.cat([stream.targets(step) for step in steps])[: self.held_out]
        return OpenedSource(
            stream,
            sample,
            held_out_rows(stream, self.held_out, first_step=FIRST_CALIBRATION_STEP),
            lambda: iter([sample]),
            pairs=lambda: iter([(sample, targets)]),
            sample_targets=targets,
            circuit=stream,
        )
