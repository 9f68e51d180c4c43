"""One score for every eval: a value with the scale on which it can be read.

The floor is what chance or the least informed procedure gives on the same task, the same for every arm;
the ceiling is a reference for the task, never the score of a trained SAE, and `None` where there is none.
An untrained dictionary is an arm to compare with and no floor.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from sanity.errors import BadInputError


@dataclass(frozen=True)
class Score:
    """What an eval returns.

    All numbers are finite: an eval whose value is undefined raises an error that says why.

    >>> Score("explained_variance", 0.7, 0.0, 1.0, True, n=4096, unit="sample", version="1").normalised()
    0.7
    """

    metric: str
    value: float
    floor: float
    ceiling: float | None
    higher_is_better: bool
    n: int
    """How many units the value is averaged over."""
    unit: str
    """What those units are: sample, latent, feature, document ..."""
    version: str
    """Of the eval's definition: scores of different versions are not comparable."""

    def __post_init__(self) -> None:
        ends = {"value": self.value, "floor": self.floor, "ceiling": self.ceiling}
        for name, number in ends.items():
            if number is not None and not math.isfinite(number):
                raise BadInputError(
                    f"the score {self.metric!r} has {name} {number}: scores are finite, "
                    "and an undefined one is an error of its eval"
                )
        if self.n < 1:
            raise BadInputError(
                f"the score {self.metric!r} has n={self.n}: it needs at least one {self.unit}"
            )

    def __float__(self) -> float:
        return self.value

    @property
    def has_range(self) -> bool:
        """Whether there is a ceiling, and it is better than the floor.

        On a model that knows nothing, mean ablation may lose nothing: then there is no range to place a
        score in, which is a finding and no error.
        """
        if self.ceiling is None:
            return False
        return self.ceiling > self.floor if self.higher_is_better else self.ceiling < self.floor

    def normalised(self) -> float:
        """(value - floor) / (ceiling - floor): 0 at the floor and 1 at the ceiling, in either direction.

        It may fall below 0 or rise above 1. Raises `BadInputError` where there is no range.
        """
        if self.ceiling is None:
            raise BadInputError(f"the score {self.metric!r} has no ceiling, so it cannot be normalised")
        if not self.has_range:
            raise BadInputError(
                f"the score {self.metric!r} has no range to be normalised by: its ceiling {self.ceiling} "
                f"is not better than its floor {self.floor}"
            )
        return (self.value - self.floor) / (self.ceiling - self.floor)

    def row(self) -> dict[str, str | float | int | bool | None]:
        """The fields by name: one row of a tidy frame."""
        return asdict(self)
