"""Arms of one shape on one stream, trained by one static step: one product, one selection, one optimiser.

The company is no part of a run's key. A key is known before anything is computed; who is trained together is
decided then: by what is still missing, by what fits into the card's memory, by where each arm was stopped.
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
from sanity.models.card.capture import Repeated, cuda_graph
from sanity.models.card.shards import ALONE, Alone
from sanity.models.card.state import State
from sanity.models.card.step import step
from sanity.models.card.trial import tried
from sanity.models.learner import Learner
from sanity.models.selection import Above, PerBatch, PerRow

log = logging.getLogger("sanity")

SHARE = 0.8
"""Of the card's free memory, for a stack."""


class Stack:
    """Some learners that take each step together."""

    def __init__(
        self,
        learners: Sequence[Learner],
        batch: int,
        ops: Any,
        *,
        paired: bool = False,
        shards: Alone = ALONE,
    ) -> None:
        self.state = State(learners, batch, ops, paired=paired, shards=shards)
        self.learners = self.state.learners
        # What shards tell each other is not captured: steps that need several cards outlast their launches.
        captured = self.state.x.device.type == "cuda" and shards is ALONE
        capture = cuda_graph if captured else None
        words = f"the step of {learners[0].arm.label}" + (
            f" and {len(learners) - 1} more" * (len(learners) > 1)
        )
        self._repeat = Repeated(functools.partial(step, self.state), capture, words)
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
    shards: Alone = ALONE,
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
    together = {id(learner) for group in groups.values() for learner in group}
    for one in learners:
        if one.training.moments != "float32" and not one.passive and id(one) not in together:
            raise BadInputError(
                f"{one.arm.label} asks for moments in {one.training.moments} and is trained by itself: they "
                "are for stacks of arms, on a graphics card or with card=True; leave moments at float32"
            )
    return [
        Stack(part, batch, operations(part[0].anchor.device, _width(part[0])), paired=paired, shards=shards)
        for group in groups.values()
        for part in fitting(group, batch, shards.lowest(_free(group[0].anchor.device)))
    ]


def why_not(learner: Learner, shards: Alone = ALONE) -> str:
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


def fitting(learners: Sequence[Learner], batch: int, free: float) -> list[list[Learner]]:
    """The learners in as few parts as fit into `free` bytes; `BadInputError` where a single one does not."""
    weights, d_sae = learners[0].weights, len(learners[0].anchor)
    d_both, size = weights.W_enc_t.shape[1] + weights.W_dec.shape[1], weights.W_dec.element_size()
    # Of each latent: weights with their copies in a stack, anchors, gradients and two moments (as large as
    # one in bf16); and a column of pre-activations, with one of scratch for the selection.
    matrices = 5 if learners[0].training.moments == "bf16" else 6
    each = d_sae * size * (matrices * d_both + 2 * batch)
    room = int(SHARE * free // each) if free < float("inf") else len(learners)
    if room < 1:
        raise BadInputError(
            f"{learners[0].arm.label} needs {each / 1e9:.1f} GB of the card's memory and {free / 1e9:.1f} "
            f"are free: at this width and batch {int(d_sae * SHARE * free / each):,} latents fit, or use "
            "smaller batches"
        )
    return [list(learners[first : first + room]) for first in range(0, len(learners), room)]


def _width(learner: Learner) -> int:
    return max(learner.weights.W_enc_t.shape[1], learner.weights.W_dec.shape[1])


def _free(device: torch.device) -> float:
    """Bytes of the card that nobody uses, those that PyTorch keeps for later included."""
    if device.type != "cuda":
        return float("inf")
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
