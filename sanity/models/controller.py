"""Bringing L0 to its target: a controlled coefficient for the penalty of JumpReLU and ReLU.

A proportional-integral controller: with e = log(L0 / target), averaged over the last steps and bounded,

    coefficient = unit * (level + gain * e),        level <- level + gain * e / horizon,

where the unit is the size of what the penalty competes with. The gain is high because thresholds respond
slowly (Adam moves them by at most the learning rate per step), which is also why it does not oscillate. The
coefficient may become negative: an SAE that would end below its target by itself has to be pushed up.

It depends on the arm's own batches only, so that a run is repeatable; the curve shows what it achieved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_AVERAGE = 0.8
"""Weight of the past in the averaged error, per step."""
_BOUND = 0.5
"""Largest error that counts in one step: L0 off by a factor of 1.65."""
_LOWEST, _HIGHEST = -4.0, 16.0
"""Range of the level; beyond it more penalty is no faster, and only takes longer to undo."""


@dataclass
class Controller:
    """The coefficient's state: `level` and `error`, kept in checkpoints."""

    target: float
    unit: float
    """Mean z^2 of active latents for a penalty on L0, mean z for one on L1."""
    level: float
    """The coefficient that is needed without any error, in units."""
    gain: float
    horizon: float = 150.0
    """Steps over which the level takes over from the proportional part."""
    error: float = 0.0

    @property
    def coefficient(self) -> float:
        """What multiplies the penalty in the next step."""
        return self.unit * (self.level + self.gain * self.error)

    def observe(self, l0: float) -> None:
        """Move after a step whose batch had `l0` active latents per sample."""
        error = math.log(max(l0, 1e-3 * self.target) / self.target)
        self.error = _AVERAGE * self.error + (1 - _AVERAGE) * max(-_BOUND, min(_BOUND, error))
        self.level = max(_LOWEST, min(_HIGHEST, self.level + self.gain * self.error / self.horizon))


class Controllers:
    """The same for a stack of arms, on their device: nothing is read back from step to step."""

    def __init__(self, controllers: Sequence[Controller], device: torch.device) -> None:
        def each(name: str) -> Float[Tensor, " arms"]:
            values = [getattr(one, name) for one in controllers]
            return torch.tensor(values, dtype=torch.float64, device=device)

        self.target, self.unit, self.gain, self.horizon = map(each, ("target", "unit", "gain", "horizon"))
        self.level, self.error = each("level"), each("error")

    @property
    def coefficient(self) -> Float[Tensor, " arms"]:
        """What multiplies each arm's penalty in the next step."""
        return self.unit * (self.level + self.gain * self.error)

    def observe(self, l0: Float[Tensor, " arms"]) -> None:
        """Move after a step, in place."""
        error = (torch.maximum(l0, 1e-3 * self.target) / self.target).log()
        self.error.mul_(_AVERAGE).add_((1 - _AVERAGE) * error.clamp(-_BOUND, _BOUND))
        self.level.add_(self.gain * self.error / self.horizon).clamp_(_LOWEST, _HIGHEST)
