"""Bringing L0 to its target: a controlled coefficient for the penalty of JumpReLU and ReLU.

A proportional-integral controller on the logarithm of the coefficient: with e = log(L0 / target), averaged
over the last steps and bounded,

    log c <- log c + integral * e,        coefficient = exp(log c + proportional * e).

It depends on the arm's own batches only, so that a run is repeatable; what it achieved is in the curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_AVERAGE = 0.8
_BOUND = 1.0


@dataclass
class Controller:
    """The coefficient's state: two numbers, kept in checkpoints."""

    target: float
    log_coefficient: float
    integral: float
    """Gain of the integral, per step: 0.01 moves the coefficient by e-fold in 100 steps of e-fold excess."""
    proportional: float
    error: float = 0.0

    @property
    def coefficient(self) -> float:
        """What multiplies the penalty in the next step."""
        return math.exp(self.log_coefficient + self.proportional * self.error)

    def observe(self, l0: float) -> None:
        """Move after a step whose batch had `l0` active latents per sample."""
        error = math.log(max(l0, 1e-3 * self.target) / self.target)
        self.error = _AVERAGE * self.error + (1 - _AVERAGE) * max(-_BOUND, min(_BOUND, error))
        self.log_coefficient += self.integral * self.error
