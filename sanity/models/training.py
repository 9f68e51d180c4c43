"""Training: one stream of batches, many arms.

    runs = train(arms, stream, steps=2_000)

Every batch is drawn once and given to all arms, in the same order. Arms share nothing else, so an arm's
result is bit-equal whether it is trained alone or with others. With a `folder`, a run that was killed at any
moment resumes from its last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.models.arm import Arm, PairedStream, Probe, Stream
from sanity.models.autoencoder import Autoencoder
from sanity.models.hyperparameters import Training
from sanity.models.learner import Precision
from sanity.models.loop import Loop, probe_steps

__all__ = ["Run", "probe_steps", "train"]


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
    stacked_with: tuple[str, ...] = ()
    """Labels of the arms that took steps together with this one: on a card, or with `card=True`."""

    @property
    def l0(self) -> float:
        """Active latents per sample that the arm ended with, on the batch after its last."""
        return float(self.curve["l0"].iloc[-1])


@checked
def train(
    arms: Sequence[Arm],
    stream: Stream,
    *,
    steps: int,
    training: Training | None = None,
    probes: Sequence[Probe] = (),
    folder: str | Path | Sequence[Path] | None = None,
    checkpoint_every_s: float | None = None,
    precision: Precision = "float32",
    card: bool | None = None,
) -> list[Run]:
    """Train every arm for `steps` batches of the stream.

    Parameters
    ----------
    arms
        Any mixture of architectures, constraints, inits, objectives, sizes and seeds; none twice. Steps that
        an objective spends on directions to start from are not in the curve.
    stream
        Its batches set device and floating type of everything. On a stream of pairs (inputs with targets)
        every arm is a transcoder.
    steps
        Updates per arm; 0 gives calibrated, untrained arms.
    probes
        Asked at log-spaced steps, of every arm.
    folder
        Keeps a checkpoint per arm, from which a run resumes that was killed; or a folder for each arm.
    checkpoint_every_s
        Seconds between checkpoints; by default as few as cost no more than 2 % of the time. Arms that are
        done are saved at once, and so are all when the process is asked to end (SIGTERM).
    precision
        "float32" is exact. "bf16" rounds the dense encoder product only: more candidates are collected than
        its error can hide, and their values, and so the selection among them, are exact. Measured on the
        synthetic world: the same latents selected (0 of 10^6 differ, where a plain bf16 product changes
        1.3 %), values equal to 1e-6, explained variance after 500 steps within 7e-4. Saves a quarter; nothing
        on a processor without products in bf16, which takes them in float32.
    card
        How arms take their steps. None: on a graphics card stacked, arms of one shape in one static step that
        is captured as a CUDA graph and reads nothing back between recorded steps; elsewhere one by one. True:
        stacked in any case; False: never. What cannot be stacked is trained one by one, in words in the log.
        A stack agrees with its arms trained alone to rounding, and not to the bit; see `card.stack`.

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
    check_run(arms, stream, steps, precision)
    loop = Loop(
        stream,
        steps,
        training or Training(),
        tuple(probes),
        folders_of(arms, folder),
        checkpoint_every_s,
        precision,
        card,
    )
    with torch.no_grad():
        return [
            Run(
                one.arm,
                one.sae(),
                pd.DataFrame(one.curve),
                one.anchor,
                loop.folder_of(one.arm),
                tuple(one.stacked_with),
            )
            for one in loop.run(arms)
        ]


def folders_of(arms: Sequence[Arm], folder: str | Path | Sequence[Path] | None) -> dict[str, Path]:
    """Where the checkpoints of each arm go, by its digest."""
    if folder is None:
        return {}
    each = [Path(folder)] * len(arms) if isinstance(folder, str | Path) else folder
    names = ((digest(arm), re.sub(r"[^\w.-]+", "-", arm.label)) for arm in arms)
    return {key: where / f"{label}-{key[:8]}" for (key, label), where in zip(names, each, strict=True)}


def check_run(arms: Sequence[Arm], stream: Stream, steps: int, precision: str) -> None:
    """Raise `BadInputError` for what cannot be trained as asked."""
    if not arms:
        raise BadInputError("train was given no arms: give at least one")
    keys = [digest(arm) for arm in arms]
    twice = [arm.label for arm, key in zip(arms, keys, strict=True) if keys.count(key) > 1]
    if twice:
        raise BadInputError(f"train was given {twice[0]!r} twice: give every arm once")
    if steps < 0:
        raise BadInputError(f"train was asked for {steps} steps: ask for 0 or more")
    if precision not in ("float32", "bf16"):
        raise BadInputError(f"train was given precision={precision!r}: choose float32 or bf16")
    paired = isinstance(stream, PairedStream)
    for arm in arms:
        objective = arm.objective
        if not objective.for_transcoders if paired else objective.has_skip:
            wanted = "inputs alone: it is for SAEs" if paired else "pairs: it is for transcoders"
            raise BadInputError(f"{arm.label}: {objective.label} needs a stream of {wanted}")
        if not arm.constraint.latents_fire and not objective.has_skip:
            raise BadInputError(f"{arm.label} has no latents that fire and no skip: give it an affine skip")
    if stream.batch_size < 2:
        raise BadInputError(
            f"the stream {stream.key} has batches of {stream.batch_size}: at least 2 are needed"
        )
