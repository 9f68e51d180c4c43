"""Training: one stream of batches, many arms.

    runs = train(arms, stream, steps=2_000)

Every batch is drawn once and given to all arms, in the same order; arms share nothing else, so an arm's
result is bit-equal whether it is trained alone or in company. With a `folder`, a run that was killed at any
moment goes on from its last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from sanity.engine.config import Json, digest, to_json
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.models.arm import AnchoredProbe, Arm, Probe, Stream, Training
from sanity.models.autoencoder import Autoencoder
from sanity.models.gradients import Outcome
from sanity.models.learner import Kernel, Learner, Precision
from sanity.models.resume import load_progress, save_progress
from sanity.models.start import Start, calibrated_start, initial_directions


@dataclass(eq=False)
class Run:
    """What training an arm gave."""

    arm: Arm
    sae: Autoencoder
    curve: pd.DataFrame
    """One row per recorded step, of the weights after that many updates: step, tokens (samples seen), loss,
    ev_batch (explained variance of the next batch), l0, dead (share of the latents), coefficient (of the
    penalty), and the probes' values as `probe.value`."""
    initial_directions: Float[Tensor, "d_sae d_in"]
    """The unit rows that the decoder started with, W0."""
    folder: Path | None = None
    """Where its checkpoint is."""

    @property
    def l0(self) -> float:
        """Active latents per sample that the arm ended with, on the batch after its last."""
        return float(self.curve["l0"].iloc[-1])


def train(
    arms: Sequence[Arm],
    stream: Stream,
    *,
    steps: int,
    training: Training | None = None,
    probes: Sequence[Probe] = (),
    folder: Path | None = None,
    checkpoint_every_s: float = 60.0,
    precision: Precision = "float32",
    kernel: Kernel = "auto",
) -> list[Run]:
    """Train every arm for `steps` batches of the stream.

    Parameters
    ----------
    arms
        Any mixture of architectures, constraints, inits, sizes and seeds; none twice.
    stream
        Its batches set device and floating type of everything.
    steps
        Updates per arm; 0 gives calibrated, untrained arms.
    probes
        Asked at log-spaced steps, of every arm.
    folder
        Keeps a checkpoint per arm, from which a killed run resumes.
    checkpoint_every_s
        Seconds between checkpoints; arms that are done are saved at once.
    precision
        "float32" is exact. "bf16" rounds the dense encoder product only: more candidates are collected than
        its error can hide, and their values, and so the selection among them, are exact. Measured on the
        synthetic world: the same latents selected (0 of 10^6 differ, where a plain bf16 product changes
        1.3 %), values equal to 1e-6, explained variance after 500 steps within 7e-4. Saves a quarter.
    kernel
        "auto", or "sparse" or "dense" to force one way of computing the same.

    Returns
    -------
    One `Run` per arm, in order.

    Raises
    ------
    BadInputError
        For arms that do not fit the stream, non-finite batches, or checkpoints of another run.
    SanityError
        When an arm's loss stops being finite.
    """
    settings = training or Training()
    _check(arms, stream, steps, precision, kernel)
    plan = _Plan(stream, steps, settings, tuple(probes), folder, precision, kernel)
    with torch.no_grad():
        states = plan.begin(arms)
        plan.run(states, checkpoint_every_s)
        return [plan.finished(state) for state in states]


@dataclass(eq=False)
class _State:
    """An arm under way."""

    learner: Learner
    curve: list[dict[str, float]]


@dataclass(eq=False)
class _Plan:
    """One call of `train`."""

    stream: Stream
    steps: int
    training: Training
    probes: tuple[Probe, ...]
    folder: Path | None
    precision: Precision
    kernel: Kernel

    def __post_init__(self) -> None:
        self.probed = probe_steps(self.steps, self.training.probe_points)
        even = np.linspace(0, self.steps, self.training.curve_points + 1).round().astype(int)
        self.recorded = self.probed | set(even.tolist())
        self.drawn: tuple[int, Tensor] | None = None

    def begin(self, arms: Sequence[Arm]) -> list[_State]:
        """Every arm's state: from its checkpoint, or calibrated on the first batch."""
        directions: dict[str, Tensor] = {}
        states = []
        for arm in arms:
            saved = None if self.folder is None else load_progress(self._place(arm), self._identity(arm))
            if saved is not None and saved.step < self.steps:
                saved = saved.on(self._batch(saved.step).device)
            begun = self._calibrated(arm, directions) if saved is None else saved.start()
            learner = Learner(
                arm,
                begun,
                steps=self.steps,
                training=self.training,
                precision=self.precision,
                kernel=self.kernel,
            )
            if saved is not None:
                saved.into(learner)
            states.append(_State(learner, saved.curve if saved is not None else []))
        return states

    def run(self, states: Sequence[_State], checkpoint_every_s: float) -> None:
        """Walk through the steps from where the arm that is least far stands; the others join in time."""
        first = min(state.learner.step for state in states)
        saved = time.monotonic()
        words = f"training {len(states)} arm{'s' if len(states) > 1 else ''}"
        bar: tqdm[int] = track(description=words, total=self.steps, unit="step", initial=first)
        with bar:
            for step in range(first, self.steps):
                current = [state for state in states if state.learner.step == step]
                for state in current:
                    self._advance(state, step)
                bar.update(1)
                if time.monotonic() - saved >= checkpoint_every_s:
                    self._save(current)
                    saved = time.monotonic()
        unfinished = [state for state in states if not _is_complete(state, self.steps)]
        for state in unfinished:
            self._advance(state, self.steps)
        self._save(unfinished)

    def finished(self, state: _State) -> Run:
        """The result of an arm that is through."""
        learner = state.learner
        place = None if self.folder is None else self._place(learner.arm)
        return Run(learner.arm, learner.sae(), pd.DataFrame(state.curve), learner.anchor, place)

    def _advance(self, state: _State, step: int) -> None:
        """One step of one arm, recorded where the curve wants it; after the last, recorded only."""
        learner, recorded = state.learner, step in self.recorded
        if learner.passive and not recorded:
            learner.skip(self.stream.batch_size)
            return
        x = self._batch(step)
        before = self._before(learner, step) if recorded else {}
        outcome = learner.learn(x) if step < self.steps else learner.outcome(x, learn=False)
        if recorded:
            seen = {"loss": outcome.loss, "ev_batch": self._ev(outcome, step), "l0": outcome.l0}
            first = {name: before.pop(name) for name in ("step", "tokens")}
            state.curve.append({**first, **seen, **before})

    def _before(self, learner: Learner, step: int) -> dict[str, float]:
        """What the curve says about the weights before they move."""
        controller = learner.controller
        row: dict[str, float] = {
            "step": step,
            "tokens": learner.tokens,
            "dead": float(learner.dead().double().mean()),
            "coefficient": controller.coefficient if controller is not None else 0.0,
        }
        if step in self.probed:
            for probe in self.probes:
                asked = probe.anchored(learner.anchor) if isinstance(probe, AnchoredProbe) else probe
                values = asked(learner.sae(), step)
                row |= {f"{probe.name}.{name}": float(value) for name, value in values.items()}
        return row

    def _ev(self, outcome: Outcome, step: int) -> float:
        """Explained variance of the present batch, about its mean."""
        x = self._batch(step)
        variance = float((x - x.mean(0)).square().sum(dtype=torch.float64)) / x.shape[0]
        return 1 - outcome.squared_error / variance if variance > 0 else float("nan")

    def _batch(self, step: int) -> Tensor:
        """The batch of a step, drawn once for all arms, checked."""
        if self.drawn is None or self.drawn[0] != step:
            self.drawn = (step, _checked(self.stream, step))
        return self.drawn[1]

    def _calibrated(self, arm: Arm, directions: dict[str, Tensor]) -> Start:
        x = self._batch(0)
        key = digest([arm.init, arm.seed, arm.d_sae])
        if key not in directions:
            begun = initial_directions(arm, self.stream.d_in, self.stream.covariance, x.dtype)
            directions[key] = begun.to(x.device)
        return calibrated_start(arm, directions[key], x)

    def _place(self, arm: Arm) -> Path:
        assert self.folder is not None
        return (
            self.folder / f"{arm.label.replace(' ', '-').replace('(', '').replace(')', '')}-{digest(arm)[:8]}"
        )

    def _identity(self, arm: Arm) -> dict[str, Json]:
        """What a checkpoint must agree with to be gone on from."""
        return {
            "arm": to_json(arm),
            "training": to_json(self.training),
            "stream": self.stream.key,
            "batch_size": self.stream.batch_size,
            "steps": self.steps,
            "precision": self.precision,
            "kernel": self.kernel,
            "probes": [probe.name for probe in self.probes],
        }

    def _save(self, states: Sequence[_State]) -> None:
        if self.folder is not None:
            for state in states:
                arm = state.learner.arm
                save_progress(self._place(arm), state.learner, state.curve, self._identity(arm))


def probe_steps(steps: int, points: int) -> set[int]:
    """About `points` log-spaced steps from 1 to `steps`, and 0, 5, 10 and 50 % of the steps.

    5 and 10 % are where the paper looks (Appendix D); half-way is where claims about the course look.
    """
    if steps == 0:
        return {0}
    spaced = np.logspace(0, np.log10(steps), points).round().astype(int)
    return {0, steps, steps // 20, steps // 10, steps // 2, *spaced.tolist()}


def _is_complete(state: _State, steps: int) -> bool:
    return bool(state.curve) and state.curve[-1]["step"] == steps


def _check(arms: Sequence[Arm], stream: Stream, steps: int, precision: str, kernel: str) -> None:
    if not arms:
        raise BadInputError("train was given no arms: give at least one")
    keys = [digest(arm) for arm in arms]
    twice = [arm.label for arm, key in zip(arms, keys, strict=True) if keys.count(key) > 1]
    if twice:
        raise BadInputError(f"train was given {twice[0]!r} twice: give every arm once")
    if steps < 0:
        raise BadInputError(f"train was asked for {steps} steps: ask for 0 or more")
    for name, value, known in (
        ("precision", precision, ("float32", "bf16")),
        ("kernel", kernel, ("auto", "sparse", "dense")),
    ):
        if value not in known:
            raise BadInputError(f"train was given {name}={value!r}: choose one of {', '.join(known)}")
    if stream.batch_size < 2:
        raise BadInputError(
            f"the stream {stream.key} has batches of {stream.batch_size}: at least 2 are needed"
        )


def _checked(stream: Stream, step: int) -> Float[Tensor, "batch d_in"]:
    """A batch as training can use it, or an error that says where it is not."""
    x = stream.batch(step)
    if x.ndim != 2 or x.shape[1] != stream.d_in:
        raise BadInputError(
            f"batch {step} of the stream {stream.key} has shape {list(x.shape)}, not [batch, {stream.d_in}]: "
            "an SAE must have the width of its activations"
        )
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    if not bool(x.sum().isfinite()) and not bool(x.isfinite().all()):
        row, column = (~x.isfinite()).nonzero()[0].tolist()
        raise BadInputError(
            f"batch {step} of the stream {stream.key} holds {float(x[row, column])} in sample {row}, "
            f"dimension {column}: harvest the activations again, or drop what overflows"
        )
    return x
