"""One arm in training: its weights, its optimiser, and one step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sanity.errors import SanityError
from sanity.models.arm import Arm
from sanity.models.autoencoder import Autoencoder
from sanity.models.auxiliary import add_auxiliary
from sanity.models.encoding import select_sparse
from sanity.models.gradients import (
    Gradients,
    LossSpec,
    Outcome,
    Weights,
    sparse_gradients,
)
from sanity.models.gradients_dense import dense_gradients
from sanity.models.hyperparameters import Training
from sanity.models.kernels import MAX_DENSITY
from sanity.models.sparsity import BatchTopK, JumpReLU
from sanity.models.start import Start
from sanity.models.transcoder import Transcoder

Precision = Literal["float32", "bf16"]

SHORTEST = 1e-3
"""Least length of an encoder row whose direction is frozen: at 0 it would lose its direction for good."""


class Learner:
    """An arm's weights and everything that changes with them.

    Parameters
    ----------
    start
        Initial weights, calibrated on the first batch.
    steps
        Length of the whole run: the learning rate's schedule depends on it.
    training
        Hyper-parameters, which the arm's objective may change.
    """

    def __init__(
        self,
        arm: Arm,
        start: Start,
        *,
        steps: int,
        training: Training,
        precision: Precision = "float32",
    ) -> None:
        self.arm, self.steps, self.precision = arm, steps, precision
        self.training = arm.objective.settings(training)
        self.anchor = start.directions
        self.encoder_anchor = (
            start.directions if start.encoder_directions is None else start.encoder_directions
        )
        self.weights = start.weights
        self.threshold = start.threshold
        self.controller = start.controller
        self.step = 0
        self.tokens = 0
        self.curve: list[dict[str, float]] = []
        """Rows recorded so far."""
        self.stacked_with: list[str] = []
        """Labels of the arms that took steps together with this one; see `card.stack`."""
        self.last_fired = torch.zeros(len(self.anchor), dtype=torch.int64, device=self.anchor.device)
        named = self.weights.by_name()
        self.learns = [name for name in sorted(named) if name in arm.constraint.learns]
        self.optimiser = self._optimiser(named) if self.learns else None

    def _optimiser(self, named: Mapping[str, Tensor]) -> torch.optim.AdamW:
        """AdamW over what learns; weight decay on the two matrices only."""
        training = self.training
        groups = [
            {
                "params": [named[name]],
                "weight_decay": training.weight_decay if named[name].ndim == 2 else 0.0,
                "peak": self.peak_rate(name),
            }
            for name in self.learns
        ]
        return torch.optim.AdamW(
            groups,
            lr=self.arm.learning_rate,
            betas=(training.beta1, training.beta2),
            eps=training.epsilon,
            fused=True,
        )

    def peak_rate(self, name: str) -> float:
        """The learning rate of a parameter where the schedule is at its height."""
        architecture = self.arm.architecture
        if name == "threshold" and isinstance(architecture, JumpReLU):
            return architecture.threshold_rate
        return self.arm.learning_rate

    def go_on_with(
        self, weights: Weights, moments: Mapping[str, Sequence[Tensor]], last_fired: Tensor
    ) -> None:
        """Go on with tensors that somebody else moves: views of a stack of arms on a card."""
        self.weights, self.last_fired, named = weights, last_fired, weights.by_name()
        self.optimiser = self._optimiser(named)
        for name, (mean, square) in moments.items():
            count = torch.tensor(float(self.step), device=mean.device)
            state = {"step": count, "exp_avg": mean, "exp_avg_sq": square}
            self.optimiser.state[named[name]] = state

    def counted(self, threshold: float, level: float, error: float) -> None:
        """Take over the numbers of whoever steps: BatchTopK's threshold and the controller's state."""
        self.threshold = threshold
        if self.controller is not None:
            self.controller.level, self.controller.error = level, error
        if self.optimiser is not None:
            for state in self.optimiser.state.values():
                state["step"].fill_(self.step)

    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Latents that have not fired in the last `dead_after_tokens` samples; passive: in none."""
        if self.passive:
            return self.last_fired == 0
        return self.tokens - self.last_fired >= self.training.dead_after_tokens

    def _read(
        self, x: Float[Tensor, "batch d_in"], target: Float[Tensor, "batch d_out"] | None
    ) -> tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch d_out"] | None]:
        """What the encoder reads, and what the latents are to sum up to; None: the same, as in an SAE."""
        weights = self.weights
        if target is None:
            return x - weights.b_dec, None
        left = target - weights.b_dec
        return x, left if weights.W_skip is None else left.addmm_(x, weights.W_skip, alpha=-1)

    def outcome(
        self,
        x: Float[Tensor, "batch d_in"],
        target: Float[Tensor, "batch d_out"] | None = None,
        *,
        learn: bool = True,
    ) -> Outcome:
        """Loss of a batch, with gradients when `learn`; nothing changes. A transcoder is given its `target`.

        The sparse way, unless too many latents are active for it to be the cheaper one.
        """
        architecture, weights = self.arm.architecture, self.weights
        coefficient = self.controller.coefficient if self.controller else 0.0
        spec = LossSpec(architecture, frozenset(self.learns if learn else ()), coefficient)
        read, target = self._read(x, target)
        found = select_sparse(
            read,
            weights.W_enc_t,
            weights.b_enc,
            architecture.training_rule(weights.threshold),
            precision=self.precision,
            max_density=MAX_DENSITY,
        )
        if found is None:
            return dense_gradients(weights, read, spec, target)
        return sparse_gradients(weights, read, found, spec, target)

    @property
    def passive(self) -> bool:
        """Whether nothing about this arm changes from step to step."""
        return not self.arm.constraint.learns

    def skip(self, samples: int) -> None:
        """Count a batch without learning from it: all that a passive arm does."""
        self.tokens += samples
        self.step += 1

    def learn(
        self, x: Float[Tensor, "batch d_in"], target: Float[Tensor, "batch d_out"] | None = None
    ) -> Outcome:
        """One step on a batch: gradients, optimiser, norms, constraint, threshold, controller, objective."""
        outcome = self.outcome(x, target)
        if not math.isfinite(outcome.loss):
            raise SanityError(
                f"the loss of {self.arm.label} became {outcome.loss} in step {self.step}: "
                "lower its learning rate, or clip the gradient"
            )
        if self.optimiser is not None:
            if self.training.auxiliary:
                self._auxiliary(x, target, outcome)
            self._update(outcome.gradients)
            outcome.gradients = {}
        self.skip(x.shape[0])
        self.last_fired[outcome.fired] = self.tokens
        if self.controller is not None:
            self.controller.observe(outcome.l0)
        architecture = self.arm.architecture
        averages = "threshold" in self.arm.constraint.learns and math.isfinite(outcome.smallest)
        if isinstance(architecture, BatchTopK) and averages:
            decay = architecture.threshold_decay
            self.threshold = decay * self.threshold + (1 - decay) * outcome.smallest
        if not self.passive:
            self.arm.objective.after_step(self, x, outcome)
        return outcome

    def _auxiliary(
        self,
        x: Float[Tensor, "batch d_in"],
        target: Float[Tensor, "batch d_out"] | None,
        outcome: Outcome,
    ) -> None:
        dead, tied = self.dead(), target is None
        if bool(dead.any()):
            read = x - self.weights.b_dec if tied else x
            outcome.loss += add_auxiliary(
                self.weights, read, outcome.residual, dead, self.training, outcome.gradients, tied=tied
            )

    def _update(self, gradients: Gradients) -> None:
        """Move what learns; decoder rows keep unit norm and stay where the constraint allows."""
        self.arm.objective.add_gradient(self.weights, gradients)
        named, W_dec = self.weights.by_name(), self.weights.W_dec
        if "W_dec" in gradients:
            gradient = gradients["W_dec"]
            gradient.addcmul_(torch.linalg.vecdot(gradient, W_dec).unsqueeze(1), W_dec, value=-1)
        only_lengths = "W_enc" in gradients and not self.arm.constraint.encoder_turns
        if only_lengths:
            self._along_anchor(gradients["W_enc"])
        if self.training.gradient_clip is not None:
            norm = torch.stack([value.square().sum() for value in gradients.values()]).sum().sqrt()
            shrink = (self.training.gradient_clip / (norm + 1e-6)).clamp_max(1.0)
            for value in gradients.values():
                value.mul_(shrink)
        assert self.optimiser is not None
        factor = self.training.learning_rate_factor(self.step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = factor * group["peak"]
        for name in self.learns:
            named[name].grad = gradients[name]
        self.optimiser.step()
        for name in self.learns:
            named[name].grad = None
        if only_lengths:  # Adam moves each coordinate by itself, so the rows have turned a little
            self._along_anchor(self.weights.W_enc_t, at_least=SHORTEST)
        if "W_dec" in gradients:
            W_dec.div_(torch.linalg.vector_norm(W_dec, dim=1, keepdim=True))
            self.arm.constraint.project(W_dec, self.anchor)

    def _along_anchor(self, rows: Float[Tensor, "d_sae d_in"], *, at_least: float = -math.inf) -> None:
        """Keep of each row of the encoder its part along its initial direction, in place."""
        lengths = torch.linalg.vecdot(rows, self.encoder_anchor).clamp_min(at_least)
        torch.mul(self.encoder_anchor, lengths.unsqueeze(1), out=rows)

    def sae(self) -> Autoencoder:
        """The current weights as an SAE or transcoder that can be evaluated; a view, not a copy."""
        weights, threshold = self.weights, self.weights.threshold
        if self.arm.architecture.threshold == "averaged":
            threshold = torch.full_like(weights.b_enc, self.threshold)
        given: dict[str, Any] = {
            "W_enc": weights.W_enc_t.T,
            "W_dec": weights.W_dec,
            "b_enc": weights.b_enc,
            "b_dec": weights.b_dec,
            "architecture": self.arm.architecture,
            "threshold": threshold,
        }
        if self.encoder_anchor is self.anchor:
            return Autoencoder(**given)
        return Transcoder(**given, W_skip=weights.W_skip)
