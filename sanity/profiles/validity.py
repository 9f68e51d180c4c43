"""The validity gate of every metric."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from sanity.profiles.entry import Entry, Positive

Level = Annotated[float, Field(ge=0, le=1)]


class ValidityGrid(Entry):
    """The validity gate of every metric."""

    levels: tuple[Level, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """How far a reference is corrupted: 0 not at all, 1 entirely."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Draws of the corruption and of what is evaluated; five or more also show false alarms."""
    samples: Positive = 2048
    """Of a synthetic world, per reading."""
    rows: Positive = 4096
    """Held-out activations per reading."""
    tokens: Positive = 384
    """Held-out tokens per reading of cross-entropy and KL."""

    @field_validator("levels")
    @classmethod
    def _from_end_to_end(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(levels)) != list(levels) or len(levels) < 3 or (levels[0], levels[-1]) != (0.0, 1.0):
            raise ValueError("levels of corruption must rise from 0 to 1, with at least one between")
        return levels
