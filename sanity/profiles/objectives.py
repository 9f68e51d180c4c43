"""Objectives that might recover more features."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sanity.profiles.entry import ArchitectureName, Entry, Positive


class ObjectivesGrid(Entry):
    """Aims beside reconstruction, on one world with equally frequent features; every aim has one budget."""

    d_in: Positive = 100
    d_sae: Positive = 3200
    """Latents, and features of the world."""
    l0: Positive = 20
    aims: dict[ArchitectureName, tuple[str, ...]] = Field(default_factory=dict)
    """Per architecture the aims that are tried, by their names in `experiments.objectives`."""
    dead_after_tokens: Positive = 200_000
    """Samples without firing after which a latent counts as dead, for the aims that ask."""
    seeds: tuple[int, ...] = (0,)
    batch_size: Positive = 4096
    steps: Positive = 10000
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
