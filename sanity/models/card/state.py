"""The state of a stack of arms on their device, and how their learners get to see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.errors import SanityError
from sanity.models.card.entries import Entries, Selection
from sanity.models.card.shards import ALONE, SingleShard
from sanity.models.controller import Controllers
from sanity.models.gradients import LossSpec, Weights
from sanity.models.learner import Learner

_NEVER = torch.iinfo(torch.int64).max


class State:
    """Weights, moments and counters of some learners of one shape, each tensor with the arms in front.

    The learners' own weights become views of it, so that probes and checkpoints find what they know. What
    they keep as numbers (threshold, controller, the optimiser's count) is brought up to date by `sync`.
    With `shards` each process has `d_sae` of the arms' latents, and all the rest as well as the others.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        batch: int,
        ops: Any,
        *,
        paired: bool = False,
        shards: SingleShard = ALONE,
    ) -> None:
        first = learners[0]
        self.learners, self.ops, self.shards = list(learners), ops, shards
        self.acting = [(arm, one) for arm, one in enumerate(learners) if one.arm.objective.acts]
        """Arms whose objective has a part in every step, by their place."""
        self.arms, self.d_sae = len(learners), len(first.anchor)
        self.whole = first.arm.d_sae
        self.training, architecture = first.training, first.arm.architecture
        self.x = first.weights.W_enc_t.new_zeros(batch, first.weights.W_enc_t.shape[1])
        self.target = first.anchor.new_zeros(batch, first.anchor.shape[1]) if paired else None
        """What a transcoder's latents are to sum up to; None: the batch itself, as in an SAE."""
        self._shape_of_loss(LossSpec(architecture, frozenset()), architecture.penalty)
        rounded = first.precision == "bf16" and torch.finfo(self.x.dtype).bits > 16
        rule = architecture.training_rule(first.weights.threshold)
        self.selection = Selection.by(rule, self.d_sae, architecture.l0, rounded=rounded)
        self._take_over()
        self._count()

    def _shape_of_loss(self, spec: LossSpec, penalty: str) -> None:
        self.spans, self.bandwidth, self.penalty = spec.spans(self.whole), spec.bandwidth, penalty
        self.ends = torch.tensor([hi for _, hi in self.spans], device=self.x.device)
        self.width, self.n_rows = self.arms * self.d_sae, self.arms * len(self.x)

    def _take_over(self) -> None:
        """Stack weights, moments and anchors; what no arm of the stack moves has no moments."""
        named = [one.weights.by_name() for one in self.learners]
        self.weights = {name: _stacked([each[name] for each in named]) for name in named[0]}
        moving = [name for name in named[0] if any(name in one.learns for one in self.learners)]
        self.moments = {name: self._moments(name) for name in moving}
        self.learns = {name: self._each(lambda one, name=name: name in one.learns) for name in moving}
        self.peak = {name: self._each(lambda one, name=name: one.peak_rate(name)) for name in moving}
        cones = [one.arm.constraint.cone for one in self.learners]
        self.blocks = self.learners[0].arm.constraint.cone_blocks
        fixed = [-1.0 if one.arm.constraint.encoder_turns else 1.0 for one in self.learners]
        self.bounds = {"W_dec": self._numbers(cones), "W_enc": self._numbers(fixed)}
        starts = [[one.anchor for one in self.learners], [one.encoder_anchor for one in self.learners]]
        dec, enc = any(cone != -1.0 for cone in cones), any(one == 1.0 for one in fixed)
        self.anchors = {
            "W_dec": _stacked(starts[0]) if dec else None,
            "W_enc": _stacked(starts[1]) if enc else None,
        }
        if dec and enc and self.target is None:  # an SAE's encoder starts as its decoder
            self.anchors["W_enc"] = self.anchors["W_dec"]
        self.last_fired = _stacked([one.last_fired for one in self.learners])
        for arm, learner in enumerate(self.learners):
            own = {name: self.weights[name][arm] for name in named[0]}
            more = {"log_threshold": own.get("threshold"), "W_skip": own.get("W_skip")}
            weights = Weights(own["W_enc"], own["W_dec"], own["b_enc"], own["b_dec"], **more)
            moments = {name: [one[arm] for one in self.moments[name]] for name in learner.learns}
            learner.go_on_with(weights, moments, self.last_fired[arm])

    def _moments(self, name: str) -> tuple[Tensor, Tensor]:
        """AdamW's two moments, from a checkpoint where there was one; those of matrices may be in bf16."""
        matrix = self.training.moments == "bf16" and name in ("W_dec", "W_enc")
        kind = torch.bfloat16 if matrix else self.x.dtype

        def one(which: str) -> Tensor:
            parts = []
            for learner in self.learners:
                weight = learner.weights.by_name()[name]
                known = learner.optimiser.state.get(weight, {}) if learner.optimiser is not None else {}
                begun = known[which].to(weight) if which in known else torch.zeros_like(weight)
                parts.append(begun.to(kind))
            return _stacked(parts)

        return one("exp_avg"), one("exp_avg_sq")

    def _count(self) -> None:
        """Counters, the schedule, thresholds and controllers, on the device."""
        first, device = self.learners[0], self.x.device
        training, steps = self.training, first.steps
        factors = [training.learning_rate_factor(step, steps) for step in range(steps)]
        self.factors = torch.tensor(factors, dtype=torch.float64, device=device)
        self.betas = self._numbers([training.beta1, training.beta2])
        self.adam = (training.beta1, training.beta2, training.epsilon)
        self.count = torch.tensor([first.step], device=device)
        self.tokens = torch.tensor([first.tokens], device=device)
        self.threshold = self._each(lambda one: one.threshold)
        self.averages = self._each(lambda one: "threshold" in one.arm.constraint.learns)
        controllers = [one.controller for one in self.learners if one.controller is not None]
        self.controllers = Controllers(controllers, device) if controllers else None
        self.overflow = torch.zeros(self.arms, dtype=torch.int64, device=device)
        self.failed = torch.full((self.arms,), _NEVER, device=device)
        nothing = torch.zeros(self.arms, dtype=torch.float64, device=device)
        self.report = torch.stack([nothing] * 8, 1)
        self._report(nothing, nothing, nothing)

    def _numbers(self, values: Sequence[Any]) -> Float[Tensor, " n"]:
        return torch.tensor(values, dtype=torch.float64, device=self.x.device)

    def _each(self, of: Any) -> Tensor:
        """A number or a flag of every arm."""
        values = [of(one) for one in self.learners]
        return (
            torch.tensor(values, device=self.x.device)
            if isinstance(values[0], bool)
            else self._numbers(values)
        )

    # -- within a step: on the device only

    def coefficient(self) -> Float[Tensor, " arms"]:
        """Of each arm's penalty."""
        if self.controllers is None:
            return torch.zeros(self.arms, dtype=torch.float64, device=self.x.device)
        return self.controllers.coefficient

    def dead(self) -> Bool[Tensor, "arms d_sae"]:
        """Latents that have not fired for long, before this batch."""
        return self.tokens - self.last_fired >= self.training.dead_after_tokens

    def places(self, entries: Entries) -> Int[Tensor, " n"]:
        """The latent of each entry, counted in its arm as a whole."""
        return entries.latents % self.d_sae + self.d_sae * self.shards.rank

    def rebuilt(self, entries: Entries, z: Float[Tensor, " n"]) -> Float[Tensor, "rows d_out"]:
        """Sums of decoder rows, over the latents of all shards."""
        W_dec = self.weights["W_dec"].flatten(0, 1)
        return self.shards.total(self.ops.weighted_sums(entries.spans, entries.latents, z, W_dec))

    def schedule(self) -> tuple[Float[Tensor, 1], Float[Tensor, 2]]:
        """The learning rate's factor in this step, and what AdamW's moments are divided by."""
        return self.factors.index_select(0, self.count), 1 - self.betas ** (self.count + 1)

    def ask(self, gradients: Mapping[str, Tensor]) -> None:
        """Let objectives add to the gradients of their own arms, in place."""
        for arm, one in self.acting:
            one.arm.objective.add_gradient(one.weights, {name: gradients[name][arm] for name in one.learns})

    def finish(
        self,
        loss: Float[Tensor, " arms"],
        squared_error: Float[Tensor, " arms"],
        l0: Float[Tensor, " arms"],
        smallest: Float[Tensor, " arms"],
        fired: Bool[Tensor, "arms d_sae"],
    ) -> None:
        """Counters, thresholds, controllers and objectives after a step, and its report."""
        self.failed.copy_(torch.where(loss.isfinite(), self.failed, self.failed.minimum(self.count)))
        self.count.add_(1)
        self.tokens.add_(len(self.x))
        self.last_fired.copy_(torch.where(fired, self.tokens, self.last_fired))
        if self.controllers is not None:
            self.controllers.observe(l0)
        architecture = self.learners[0].arm.architecture
        if architecture.threshold == "averaged":
            decay = getattr(architecture, "threshold_decay")  # noqa: B009
            moved = decay * self.threshold + (1 - decay) * smallest
            self.threshold.copy_(torch.where(self.averages & smallest.isfinite(), moved, self.threshold))
        for _, one in self.acting:
            one.arm.objective.after_step(one, self.x, None)
        self._report(loss, squared_error, l0)

    def _report(self, *seen: Float[Tensor, " arms"]) -> None:
        """All that the host will read, in one tensor."""
        control, counts = self.controllers, [self.overflow.double(), self.failed.double()]
        state = [self.threshold] * 2 if control is None else [control.level, control.error]
        self.report.copy_(torch.stack([*seen, *counts, self.threshold, *state], 1))

    # -- at recorded steps: the host reads

    def read(self) -> list[dict[str, float]]:
        """What the last step said about each arm; raises `SanityError` where a loss was not finite."""
        names = ("loss", "squared_error", "l0", "overflow", "failed", "threshold", "level", "error")
        reports = [dict(zip(names, row, strict=True)) for row in self.report.tolist()]
        for learner, report in zip(self.learners, reports, strict=True):
            if report["failed"] < learner.step or not math.isfinite(report["loss"]):
                raise SanityError(
                    f"the loss of {learner.arm.label} stopped being finite in step {report['failed']:.0f}: "
                    "look for overflow in the activations, lower its learning rate, or clip the gradient"
                )
        return reports

    def sync(self, reports: Sequence[dict[str, float]]) -> None:
        """Bring what the learners keep as numbers up to date."""
        for learner, report in zip(self.learners, reports, strict=True):
            learner.counted(report["threshold"], report["level"], report["error"])


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """With a leading dimension of arms; of a single one a view."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))
