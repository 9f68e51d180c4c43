"""The hyper-parameters of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from sanity.engine.arguments import CheckedDataclass
from sanity.engine.config import STATED_IF_CHANGED
from sanity.errors import BadInputError


@dataclass(frozen=True)
class Training(CheckedDataclass):
    """Hyper-parameters that all arms of a run share (the learning rate is the arm's own).

    AdamW as in the paper, Section 4; what the paper does not state is chosen here.
    """

    warmup: float = 0.02
    """Share of the steps over which the learning rate rises from 0."""
    decay: float = 0.2
    """Share of the steps, at the end, over which it falls linearly to 0."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    """Decoupled, on the two weight matrices."""
    gradient_clip: float | None = None
    """Largest norm of all gradients of an arm together."""
    dead_after_tokens: int = 500_000
    """A latent that has not fired in as many samples counts as dead."""
    auxiliary: float = 0.0
    """Weight of the auxiliary loss that lets dead latents fit the residual (Gao et al. 2406.04093: 1/32)."""
    auxiliary_k: int | None = None
    """Dead latents that take part per sample; None: d_in / 2, as there."""
    curve_points: int = 200
    """Evenly spaced rows of the curve, next to those of the probes."""
    probe_points: int = 24
    """Log-spaced steps at which probes are asked."""
    moments: Literal["float32", "bf16"] = dataclasses.field(default="float32", metadata=STATED_IF_CHANGED)
    """How AdamW's two moments of both matrices are kept; "bf16" on a card, for stacks, only.

    Of 8 bytes for each weight it saves 4. The second moment is rounded up or down by chance (of its place and
    the step, so that a run repeats): to the nearest, changes below half of its last bit would be lost.

    Measured on a world of 128 features in 32 dimensions, 600 steps of 256 samples, two seeds, bf16 against
    float32: explained variance .740 and .741 against .741 and .739 (TopK), .699 and .705 against .704 and
    .709 (BatchTopK); features recovered .80 and .84 against .84 and .84, .55 and .58 against .61 and .59.
    BatchTopK lost a little, so that it is not the default.
    """

    def __post_init__(self) -> None:
        if not (0 <= self.warmup <= 1 and 0 <= self.decay <= 1 and self.warmup + self.decay <= 1):
            raise BadInputError(
                f"Training was given warmup {self.warmup} and decay {self.decay}: "
                "both are shares of the steps and may not exceed 1 together"
            )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and self.weight_decay >= 0):
            raise BadInputError(
                "Training needs betas in [0, 1), epsilon above 0 and a weight decay of at least 0; "
                f"it was given {self.beta1}, {self.beta2}, {self.epsilon} and {self.weight_decay}"
            )
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise BadInputError(f"Training was given gradient_clip {self.gradient_clip}: above 0, or None")
        if self.auxiliary < 0 or (self.auxiliary_k is not None and self.auxiliary_k < 1):
            raise BadInputError("Training needs auxiliary >= 0 and auxiliary_k of at least 1, or None")
        if min(self.dead_after_tokens, self.curve_points, self.probe_points) < 1:
            raise BadInputError(
                "Training needs dead_after_tokens, curve_points and probe_points of at least 1"
            )

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by in update `step` (from 0) of `steps`."""
        rise = (step + 1) / (self.warmup * steps + 1)
        fall = (steps - step) / (self.decay * steps + 1)
        return min(1.0, rise, fall)
