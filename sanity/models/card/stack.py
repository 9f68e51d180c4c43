"""Arms of one shape on one stream, trained by one static step: one product, one selection, one optimiser.

The company is no part of a run's key. A key is known before anything is computed; who is trained together is
decided then: by what is still missing, by what fits into memory, by where each arm was stopped.
What a run must agree on to be the same (arm, source, budget, device) is in the key, and the company changes
rounding alone, as another card or another version of its libraries does. So a run says it instead, in
`Run.stacked_with` and next to its curve.

Measured by the plain operations on a processor (a world of 128 features in 32 dimensions, 250 steps of 256
samples in float32, TopK and BatchTopK, two seeds): an arm alone, in a stack of one and in a stack of three
have explained variance and mean largest cosine equal to five digits, and the same recovery. On a card, whose
libraries may choose another product for another number of arms, this is not measured yet.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.config import digest
from sanity.errors import BadInputError, reason_of
from sanity.models.arm import PairedStream, Stream
from sanity.models.card import plain
from sanity.models.card.capture import RepeatedWork, cuda_graph
from sanity.models.card.shards import ALONE, SingleShard
from sanity.models.card.state import State
from sanity.models.card.step import step
from sanity.models.card.trial import tried
from sanity.models.footprint import Footprint, footprint, free_on_card, parts_that_fit
from sanity.models.learner import Learner
from sanity.models.selection import Above, PerBatch, PerRow

log = logging.getLogger("sanity")


class Stack:
    """Some learners that take each step together."""

    def __init__(
        self,
        learners: Sequence[Learner],
        batch: int,
        ops: Any,
        *,
        paired: bool = False,
        shards: SingleShard = ALONE,
    ) -> None:
        self.state = State(learners, batch, ops, paired=paired, shards=shards)
        self.learners = self.state.learners
        # What shards tell each other is not captured: steps that need several cards outlast their launches.
        captured = self.state.x.device.type == "cuda" and shards is ALONE
        capture = cuda_graph if captured else None
        words = f"the step of {learners[0].arm.label}" + (
            f" and {len(learners) - 1} more" * (len(learners) > 1)
        )
        self._repeat = RepeatedWork(functools.partial(step, self.state), capture, words)
        self._dropped = [0.0] * len(learners)
        labels = {one.arm.label for one in learners}
        for one in learners:
            one.stacked_with = sorted({*one.stacked_with, *labels} - {one.arm.label})

    def learn(
        self, x: Float[Tensor, "batch d_in"], target: Float[Tensor, "batch d_out"] | None = None
    ) -> None:
        """One step of every arm, for transcoders with their `target`; the host reads nothing."""
        if x.shape != self.state.x.shape:
            raise BadInputError(
                f"a batch of shape {list(x.shape)} came after {list(self.state.x.shape)}: on a card all "
                "batches must be alike; drop the last of a pass, or train with card=False"
            )
        self.state.x.copy_(x)
        if self.state.target is not None and target is not None:
            self.state.target.copy_(target)
        self._repeat()
        for learner in self.learners:
            learner.skip(len(x))

    def read(self) -> list[dict[str, float]]:
        """What the last step said about each arm; the learners' own numbers are brought up to date."""
        reports = self.state.read()
        self.state.sync(reports)
        for arm, report in enumerate(reports):
            if report["overflow"] > 2 * self._dropped[arm]:
                log.warning(
                    "%s: in the steps up to %d, %d entries that may have been selected found no place; there "
                    "is room for %d per sample",
                    self.learners[arm].arm.label,
                    self.learners[arm].step,
                    report["overflow"],
                    self.state.selection.room,
                )
                self._dropped[arm] = report["overflow"]
        return reports


def stacked(
    learners: Sequence[Learner],
    stream: Stream,
    begins: Callable[[Learner], int],
    *,
    card: bool | None,
    batch: int,
    shards: SingleShard = ALONE,
) -> list[Stack]:
    """The stacks of those learners that can be stacked; the log says why others cannot.

    `card` None: on a card; True: also elsewhere, by the plain operations; False: nowhere. With `shards`
    learners hold a part of their latents each.
    """
    groups: dict[str, list[Learner]] = {}
    paired = isinstance(stream, PairedStream)
    for learner in learners:
        on_card = learner.anchor.device.type == "cuda"
        if learner.passive or card is False or not (on_card or card):
            continue
        if reason := why_not(learner):
            log.info("%s is trained by itself, and slower: %s", learner.arm.label, reason)
            continue
        arm = learner.arm
        shared = [
            arm.architecture,
            arm.d_sae,
            arm.objective.has_skip,
            arm.constraint.cone_blocks,
            learner.training,
            learner.step,
            begins(learner),
        ]
        groups.setdefault(digest(shared), []).append(learner)
    all_stacked = [learner for group in groups.values() for learner in group]
    together = {id(learner) for learner in all_stacked}
    for one in learners:
        if one.training.moments != "float32" and not one.passive and id(one) not in together:
            raise BadInputError(
                f"{one.arm.label} asks for moments in {one.training.moments} and is trained by itself: they "
                "are for stacks of arms, on a graphics card or with card=True; leave moments at float32"
            )
    require_room(all_stacked, batch, shards, paired=paired)
    return [
        Stack(
            group, batch, operations(group[0].anchor.device, _width(group[0])), paired=paired, shards=shards
        )
        for group in groups.values()
    ]


def why_not(learner: Learner, shards: SingleShard = ALONE) -> str:
    """What of an arm the static step does not know; nothing where it knows all."""
    arm, objective = learner.arm, learner.arm.objective
    if objective.acts and (shards is not ALONE or not objective.repeatable):
        return f"its objective, {objective.label}, has a part in every step"
    if arm.constraint.cone is None:
        return f"its constraint, {arm.constraint.label}, moves rows by a rule of its own"
    blocks, width = arm.constraint.cone_blocks, learner.weights.W_dec.shape[1]
    if blocks < 1 or width % blocks:
        return f"its constraint, {arm.constraint.label}, does not fit rows of {width}"
    threshold = learner.weights.threshold
    rule = arm.architecture.training_rule(threshold)
    if type(rule) not in (PerRow, PerBatch, Above) or (
        isinstance(rule, Above) and rule.threshold is not threshold
    ):
        return f"{arm.architecture.label} selects by a rule of its own"
    return ""


@functools.cache
def operations(device: torch.device, d: int) -> Any:
    """The kernels where there is a card and Triton, each tried once at this width; else plain PyTorch."""
    if device.type != "cuda":
        return plain
    try:
        from sanity.models.card import fused
    except Exception as error:  # a Triton that is there and does not load fails in ways of its own
        log.warning(
            "the card's kernels need Triton (%s): plain PyTorch stands in, and is slower", reason_of(error)
        )
        return plain
    return tried(fused, device, d)


def require_room(
    learners: Sequence[Learner], batch: int, shards: SingleShard = ALONE, *, paired: bool
) -> None:
    """Refuse learners on a card that cannot all step in its memory: who has many calls `train` several times.

    Taking turns on one card would keep everything of everybody, and save nothing.
    """
    if not learners or learners[0].anchor.device.type != "cuda":
        return
    needs = [_footprint(learner, batch, paired=paired) for learner in learners]
    # Their weights and anchors are there by now.
    room = shards.lowest(free_on_card(learners[0].anchor.device)) + sum(need.made for need in needs)
    fit = parts_that_fit(needs, room)[0].stop
    if fit < len(needs):
        raise BadInputError(
            f"{len(needs)} arms in stacks need {sum(need.whole for need in needs) / 1e9:.3g} GB of the "
            f"card's memory, and {room / 1e9:.3g} GB are there for them: train {fit} of them at a time, or "
            "use smaller batches"
        )


def _footprint(learner: Learner, batch: int, *, paired: bool) -> Footprint:
    weights = learner.weights
    return footprint(
        learner.arm,
        learner.training,
        d_in=weights.W_enc_t.shape[1],
        d_out=weights.W_dec.shape[1] if paired else None,
        batch=batch,
        stacked=True,
        size=weights.W_dec.element_size(),
        latents=len(learner.anchor),
    )


def _width(learner: Learner) -> int:
    return max(learner.weights.W_enc_t.shape[1], learner.weights.W_dec.shape[1])
