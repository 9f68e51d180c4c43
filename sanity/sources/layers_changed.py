"""Made of a source of several layers: its null without a shared cause, and one layer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from sanity.engine.cells import Cell, Result
from sanity.errors import BadInputError
from sanity.sources.base import OpenedSource, Pace, Source
from sanity.sources.layers import changed


@dataclass(frozen=True)
class _ChangedLayers(Source):
    """The base of sources that are made of a source with several blocks."""

    of: Source = Source()

    def __post_init__(self) -> None:
        if len(self.of.blocks) < 2:
            raise BadInputError(f"{self.of.where} has one layer: take a source of several, such as Layers")
        if self.of.one_order:
            raise BadInputError(
                f"{self.of.where}: {self.name.replace('_', ' ')} is not made of what is streamed: leave "
                "streamed out of its hooks"
            )

    @property
    def threads(self) -> int | None:  # type: ignore[override]
        """As the source that it is made of."""
        return self.of.threads

    @property
    @override
    def scored_samples(self) -> int:
        return self.of.scored_samples

    @property
    @override
    def subject(self) -> str | None:
        return self.of.subject

    @property
    @override
    def is_control(self) -> bool:
        return self.of.is_control

    @override
    def cells(self, device: str, pace: Pace) -> dict[str, Cell]:
        return self.of.cells(device, pace)


@dataclass(frozen=True)
class ShuffledLayers(_ChangedLayers):
    """Layers of different tokens: nothing that a latent could find in two of them has a shared cause.

    Rows of every layer but the first move by a share of the batch, whose rows are in random order.
    """

    name: ClassVar[str] = "shuffled_layers"

    @property
    @override
    def d_in(self) -> int:
        return self.of.d_in

    @property
    @override
    def blocks(self) -> tuple[int, ...]:
        return self.of.blocks

    @property
    @override
    def is_control(self) -> bool:
        return True

    @property
    @override
    def where(self) -> str:
        return f"{self.of.where}, layers shuffled across tokens"

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        def shuffled(parts: Sequence[Tensor]) -> Tensor:
            layers = torch.split(parts[0], list(self.blocks), dim=1)
            return torch.cat([x.roll(i * len(x) // len(layers), 0) for i, x in enumerate(layers)], dim=1)

        opened = self.of.open(inputs, batch_size=batch_size, seed=seed, device=device)
        return changed([opened], shuffled, "shuffled")


@dataclass(frozen=True)
class OneLayer(_ChangedLayers):
    """One layer of a source of several, on the same tokens in the same order: for an SAE of its own."""

    index: int = 0
    name: ClassVar[str] = "one_layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.index < len(self.of.blocks):
            raise BadInputError(
                f"{self.of.where} has no layer {self.index}: it has {len(self.of.blocks)}, counted from 0"
            )

    @property
    @override
    def d_in(self) -> int:
        return self.of.blocks[self.index]

    @property
    @override
    def where(self) -> str:
        return f"layer {self.index} of {self.of.where}"

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        def one(parts: Sequence[Tensor]) -> Tensor:
            return torch.split(parts[0], list(self.of.blocks), dim=1)[self.index].contiguous()

        opened = self.of.open(inputs, batch_size=batch_size, seed=seed, device=device)
        return changed([opened], one, f"layer-{self.index}")
