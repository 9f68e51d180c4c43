"""The loop of `train`: the stream's batches in order, each given to every arm that has reached its step."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from sanity.engine.config import Json, digest, to_json
from sanity.engine.files import remove
from sanity.engine.memory import memory_kept
from sanity.engine.progress import track
from sanity.engine.stopping import EXIT_CODE, heeding_sigterm
from sanity.errors import BadInputError, CorruptFileError
from sanity.models.arm import AnchoredProbe, Arm, PairedStream, Plain, Probe, Stream
from sanity.models.autoencoder import Autoencoder
from sanity.models.card import ALONE, SingleShard, Stack, stacked
from sanity.models.hyperparameters import Training
from sanity.models.learner import Learner, Precision
from sanity.models.resume import Checkpoint, CheckpointTimer, load_progress, save_progress
from sanity.models.start import Start, calibrated_start, initial_directions, paired_start

log = logging.getLogger("sanity")


@dataclass(eq=False)
class Loop:
    """One call of `train`, over the stream's steps from `first` to before `last`.

    Where an objective spends part of the budget on finding directions, another loop trains what it asks for
    on those batches, and the arms start on the batches after them.
    """

    stream: Stream
    last: int
    training: Training
    probes: tuple[Probe, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where each arm's checkpoints go, by the arm's digest; without one it keeps none, nor waits for it."""
    checkpoint_every_s: float | None = None
    precision: Precision = "float32"
    card: bool | None = None
    """Whether arms are stacked and take static steps: None, where they are on a card."""
    shards: SingleShard = ALONE
    """Those that hold the rest of the arms' latents."""
    first: int = 0
    _directions: dict[str, Tensor] = field(default_factory=dict, init=False)
    _drawn: tuple[int, Tensor, Tensor | None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.probed = probe_steps(self.last, self.training.probe_points)
        even = np.linspace(0, self.last, self.training.curve_points + 1).round().astype(int)
        self.recorded = self.probed | set(even.tolist())

    def run(self, arms: Sequence[Arm]) -> list[Learner]:
        """Train the arms, each from its checkpoint where there is one; arms that are behind join in time."""
        learners = [self._learner(arm) for arm in arms]
        running = [one for one in learners if self._step(one) < self.last]
        size, shards = self.stream.batch_size, self.shards
        stacks = stacked(running, self.stream, self._step, card=self.card, batch=size, shards=shards)
        together = {id(learner) for stack in stacks for learner in stack.learners}
        start = min(self._step(learner) for learner in learners)
        words = f"training {len(arms)} arm{'s' if len(arms) > 1 else ''}"
        bar: tqdm[int] = track(description=words, total=self.last, unit="step", initial=start)
        pace = CheckpointTimer(self.checkpoint_every_s)
        with bar, memory_kept(), heeding_sigterm() as told_to_stop:
            for step in range(start, self.last):
                current = [learner for learner in learners if self._step(learner) == step]
                for learner in current:
                    if id(learner) not in together:
                        self._advance(learner, step)
                at_step = [stack for stack in stacks if self._step(stack.learners[0]) == step]
                for stack in at_step:
                    self._advance_together(stack, step)
                bar.update(1)
                stops, due = self.shards.agree(told_to_stop(), bool(self.folders) and pace.due())
                if stops or due:
                    with pace.saving():
                        for stack in at_step:
                            stack.read()
                        self._save(current)
                if stops:
                    log.info(
                        "stopped after step %d of %d; the same command goes on there", step + 1, self.last
                    )
                    raise SystemExit(EXIT_CODE)
        for stack in stacks:
            stack.read()
        unfinished = [one for one in learners if not one.curve or one.curve[-1]["step"] != self.last]
        for learner in unfinished:
            self._advance(learner, self.last)
        self._save(unfinished)
        return learners

    def folder_of(self, arm: Arm) -> Path | None:
        """The folder of an arm's checkpoint."""
        return self.folders.get(digest(arm))

    def _step(self, learner: Learner) -> int:
        """The step of the stream that a learner is to see next."""
        return self._begin(learner.arm) + learner.step

    def _begin(self, arm: Arm) -> int:
        """The first step of the stream that an arm itself learns from."""
        return self.first + arm.objective.spent(self.last - self.first)

    def _learner(self, arm: Arm) -> Learner:
        """An arm as its checkpoint left it, or calibrated on its first batch."""
        folder, begin = self.folder_of(arm), self._begin(arm)
        saved = None if folder is None else self._saved(arm, folder)
        if saved is None:
            return self._made(arm, self._start(arm, self._batch(begin)))
        return self._resumed(arm, saved)

    def _resumed(self, arm: Arm, saved: Checkpoint) -> Learner:
        """An arm that goes on from a checkpoint, on the stream's device."""
        if (at := self._begin(arm) + saved.step) < self.last:
            saved = saved.on(self._batch(at).device)
        learner = self._made(arm, saved.start())
        saved.into(learner)
        return learner

    def _made(self, arm: Arm, start: Start) -> Learner:
        steps = self.last - self._begin(arm)
        return Learner(arm, start, steps=steps, training=self.training, precision=self.precision)

    def _saved(self, arm: Arm, folder: Path) -> Checkpoint | None:
        """An arm's checkpoint; one that was damaged is not used, and the arm starts again."""
        try:
            return load_progress(folder, self._identity(arm))
        except CorruptFileError as error:
            log.warning("%s; %s is trained from its start", error, arm.label)
            remove(folder)
            return None

    def _start(self, arm: Arm, x: Float[Tensor, "batch d_in"]) -> Start:
        """An arm before its first step: an SAE, or on a stream of pairs a transcoder."""
        teach = functools.partial(self._before, self.folder_of(arm))
        found = arm.objective.directions(teach, arm, self.last - self.first)
        rows = self._rows(arm, x)
        rows = rows if found is None else torch.cat([found.to(rows), rows[len(found) :]])
        if not isinstance(self.stream, PairedStream):
            return calibrated_start(arm, rows, x)
        return paired_start(arm, self._rows(arm, x, encoder=True), rows, x)

    def _rows(
        self, arm: Arm, x: Float[Tensor, "batch d_in"], *, encoder: bool = False
    ) -> Float[Tensor, "d_sae d"]:
        """The directions of an arm's init, as `x` is: of its decoder, or of a transcoder's encoder."""
        stream = self.stream
        key = digest([arm.init, arm.seed, arm.d_sae, encoder])
        if key not in self._directions:
            space = (stream.d_in, stream.covariance)
            if isinstance(stream, PairedStream) and not encoder:
                space = (stream.d_out, stream.target_covariance)
            self._directions[key] = initial_directions(arm, *space, x.dtype, encoder=encoder).to(x.device)
        return self._directions[key]

    def _before(self, folder: Path | None, arm: Arm, first: int, steps: int) -> Autoencoder:
        """Plain training, for the arm of a folder, of any arm on batches that its objective may spend."""
        plain = replace(arm, objective=Plain())
        folders = {} if folder is None else {digest(plain): folder / "before" / digest(plain)[:8]}
        first += self.first
        loop = replace(self, first=first, last=first + steps, probes=(), folders=folders)
        (learner,) = loop.run([plain])
        return learner.sae()

    def _advance(self, learner: Learner, step: int) -> None:
        """One step of one arm, recorded where the curve wants it; after the last, recorded only."""
        recorded = step in self.recorded
        if learner.passive and not recorded:
            learner.skip(self.stream.batch_size)
            return
        x, target = self._pair(step)
        row = self._row(learner, step) if recorded else {}
        outcome = learner.learn(x, target) if step < self.last else learner.outcome(x, target, learn=False)
        if recorded:
            explained = _explained(outcome.squared_error, x if target is None else target)
            row |= {"loss": outcome.loss, "ev_batch": explained, "l0": outcome.l0}
            learner.curve.append(row)

    def _advance_together(self, stack: Stack, step: int) -> None:
        """One step of a stack of arms; the host reads where the curve wants it, and nowhere else."""
        if step not in self.recorded:
            stack.learn(*self._pair(step))
            return
        stack.read()
        x, target = self._pair(step)
        rows = [self._row(learner, step) for learner in stack.learners]
        stack.learn(x, target)
        for learner, row, report in zip(stack.learners, rows, stack.read(), strict=True):
            explained = _explained(report["squared_error"], x if target is None else target)
            row |= {"loss": report["loss"], "ev_batch": explained, "l0": report["l0"]}
            learner.curve.append(row)

    def _row(self, learner: Learner, step: int) -> dict[str, float]:
        """A row of the curve: the weights before they move, and room for what the batch will say."""
        controller = learner.controller
        row: dict[str, float] = {
            "step": step,
            "tokens": learner.tokens + self._begin(learner.arm) * self.stream.batch_size,
            **dict.fromkeys(("loss", "ev_batch", "l0"), float("nan")),
            "dead": float(self.shards.total(learner.dead().double().mean())) / self.shards.count,
            "coefficient": controller.coefficient if controller is not None else 0.0,
        }
        if step in self.probed:
            for probe in self.probes:
                asked = probe.anchored(learner.anchor) if isinstance(probe, AnchoredProbe) else probe
                values = asked(learner.sae(), step)
                row |= {f"{probe.name}.{name}": float(value) for name, value in values.items()}
        return row

    def _batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of a step."""
        return self._pair(step)[0]

    def _pair(self, step: int) -> tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch d_out"] | None]:
        """The batch of a step and its targets, drawn once for all arms, checked."""
        if self._drawn is None or self._drawn[0] != step:
            stream = self.stream
            looks = step in self.recorded or step == self.first
            x, target = _checked(stream, step, stream.batch(step), stream.d_in, looks=looks), None
            if isinstance(stream, PairedStream):
                target = _checked(stream, step, stream.targets(step), stream.d_out, looks=looks)
                if len(target) != len(x):
                    raise BadInputError(
                        f"batch {step} of the stream {stream.key} has {len(x)} inputs and {len(target)} "
                        "targets: both must be of the same tokens"
                    )
            self._drawn = (step, x, target)
        return self._drawn[1:]

    def _identity(self, arm: Arm) -> dict[str, Json]:
        """What a checkpoint must agree with for a run to go on from it."""
        return {
            "arm": to_json(arm),
            "training": to_json(self.training),
            "stream": self.stream.key,
            "batch_size": self.stream.batch_size,
            "first": self.first,
            "steps": self.last,
            "precision": self.precision,
            "probes": [probe.name for probe in self.probes],
        }

    def _save(self, learners: Sequence[Learner]) -> None:
        for learner in learners:
            folder = self.folder_of(learner.arm)
            if folder is not None:
                save_progress(folder, Checkpoint.of(learner), self._identity(learner.arm))


def probe_steps(steps: int, points: int) -> set[int]:
    """About `points` log-spaced steps from 1 to `steps`, and 0, 5, 10 and 50 % of the steps.

    5 and 10 % are where the paper looks (Appendix D); half-way is where claims about the trajectory look.
    """
    if steps == 0:
        return {0}
    spaced = np.logspace(0, np.log10(steps), points).round().astype(int)
    return {0, steps, steps // 20, steps // 10, steps // 2, *spaced.tolist()}


def _explained(squared_error: float, x: Float[Tensor, "batch d_in"]) -> float:
    """Explained variance of a batch, about its mean."""
    variance = float((x - x.mean(0)).square().sum(dtype=torch.float64)) / x.shape[0]
    return 1 - squared_error / variance if variance > 0 else float("nan")


def _checked(
    stream: Stream, step: int, x: Tensor, width: int, *, looks: bool
) -> Float[Tensor, "batch width"]:
    """A batch as training can use it, or an error that says where it is not.

    On a card the host `looks` at the numbers where it reads others, too; a loss that is not finite stays so.
    """
    if x.ndim != 2 or x.shape[1] != width:
        raise BadInputError(
            f"batch {step} of the stream {stream.key} has shape {list(x.shape)}, not [batch, {width}]: "
            "an SAE must have the width of its activations"
        )
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    if x.device.type == "cuda" and not looks:
        return x
    if not bool(x.sum().isfinite()) and not bool(x.isfinite().all()):
        row, column = (~x.isfinite()).nonzero()[0].tolist()
        raise BadInputError(
            f"batch {step} of the stream {stream.key} holds {float(x[row, column])} in sample {row}, "
            f"dimension {column}: harvest the activations again, or drop what overflows"
        )
    return x
