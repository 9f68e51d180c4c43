"""What a metric is: declared once, by the eval that measures it, with its scale and how it is gated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sanity.errors import BadInputError


@dataclass(frozen=True)
class Metric:
    """The scale of a metric, the same for every claim."""

    label: str
    """As readers see it."""
    direction: Literal["higher", "lower", "none"]
    """Which scores are better; metrics without a better side take no part in comparisons."""
    range: float | None
    """Ceiling minus floor of the task as declared, used until pilot seeds have measured it."""
    floor: str
    ceiling: str
    gate: str = ""
    """The kind of graded corruption by which it is gated: that of what it says it measures. Empty: none."""
    reference: str = ""
    """What is corrupted, in words."""
    ungated: str = "no reference of it is corrupted at this profile"
    """Why there is no gate, where there is none."""

    def __post_init__(self) -> None:
        if self.range is not None and self.range <= 0:
            raise BadInputError(
                f"the metric {self.label!r} has range {self.range}: it must be above 0, or None"
            )


METRICS: dict[str, Metric] = {}
"""Every declared metric by its name."""


def declare(metrics: Mapping[str, Metric]) -> None:
    """Make metrics known. An eval's own are declared with its class; analyses declare theirs by this."""
    METRICS.update(metrics)
