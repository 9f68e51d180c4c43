"""Training on a world beyond the paper's limits, and what is measured where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sanity.data import HarderSpec, HarderWorld, SyntheticStream, SyntheticWorld, world_of
from sanity.engine.cells import Cell, Task, computes
from sanity.evals import (
    Absorption,
    HeldOutEVProbe,
    RecoveryProbe,
    Score,
    absorption,
    detection_f1,
    frequency_weighted_recovery,
    latent_f1,
    mean_matched_cosine,
    mean_max_cosine,
    reconstruction_scores,
    recovery,
    uniqueness,
)
from sanity.experiments.grid import at_matched_l0, describe, named_curve, score_rows
from sanity.models import Arm, Autoencoder, Training, load_sae, save_sae, train

EXPERIMENT = "harder_worlds"
HELD_OUT_SAMPLES = 8192
# Batches of evaluation come from the far end of the stream's steps, where training never arrives.
FIRST_HELD_OUT_STEP = 2**31
FIRST_CALIBRATION_STEP = 2**31 + 2**30


@dataclass(frozen=True)
class HarderRun:
    """One arm on one world."""

    world: HarderSpec
    arm: Arm
    batch_size: int
    steps: int
    training: Training
    precision: Literal["float32", "bf16"]
    device: str


def _company(cell: Cell) -> object:
    """Arms of one size that see the same batches."""
    run: HarderRun = cell.config
    return {
        "world": run.world,
        "seed": run.arm.seed,
        "batch": run.batch_size,
        "steps": run.steps,
        "training": run.training,
        "precision": run.precision,
        "device": run.device,
        "d_sae": run.arm.d_sae,
        "l0": run.arm.architecture.l0,
    }


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Samples that no training step draws, in the scale of training, with the features that made them."""

    x: Float[Tensor, "n d_in"]
    coefficients: Float[Tensor, "n n_features"]

    @property
    def active(self) -> Bool[Tensor, "n n_features"]:
        """Which feature is active in which sample."""
        return self.coefficients > 0


def held_out(stream: SyntheticStream, n: int, *, first_step: int = FIRST_HELD_OUT_STEP) -> HeldOut:
    """`n` samples of the stream's world from `first_step` on."""
    batches = [stream.sample(first_step + i) for i in range(-(-n // stream.batch_size))]
    x = torch.cat([batch.x for batch in batches])[:n]
    return HeldOut(
        (x - stream.centre) * stream.factor, torch.cat([batch.dense_coefficients() for batch in batches])[:n]
    )


def stream_of(run: HarderRun) -> SyntheticStream:
    """The batches of a run."""
    world = world_of(run.world, device=run.device)
    return SyntheticStream(world, batch_size=run.batch_size, seed=run.arm.seed)


@computes(version=1, together=_company, threads=1)
def train_on_harder_world(tasks: Sequence[Task]) -> None:
    """Train the arms of one seed on one world; keep scores, curve, absorption and the SAE of each."""
    first: HarderRun = tasks[0].config
    stream = stream_of(first)
    seen = held_out(stream, HELD_OUT_SAMPLES)
    calibration = held_out(stream, HELD_OUT_SAMPLES, first_step=FIRST_CALIBRATION_STEP).x
    runs = train(
        [task.config.arm for task in tasks],
        stream,
        steps=first.steps,
        training=first.training,
        probes=[
            HeldOutEVProbe(seen.x),
            RecoveryProbe(stream.world.features, probabilities=stream.world.probabilities),
        ],
        folder=tasks[0].shared,
        precision=first.precision,
    )
    for task, run in zip(tasks, runs, strict=True):
        sae = at_matched_l0(run.sae, calibration, round(run.arm.architecture.l0))
        about = about_arm(run.arm)
        scores, absorbed = measured(sae, stream.world, seen)
        task.save_table("scores", pd.DataFrame(score_rows(about, scores)))
        task.save_table("curve", named_curve(run.curve).assign(**about))
        task.save_json("absorption", {} if absorbed is None else vars(absorbed))
        save_sae(sae, task.folder / "sae")


def about_arm(arm: Arm) -> dict[str, Any]:
    """The columns that name an arm; the world's name is given when tables are read."""
    return describe(EXPERIMENT, "", arm, round(arm.architecture.l0))


def measured(sae: Autoencoder, world: SyntheticWorld, seen: HeldOut) -> tuple[list[Score], Absorption | None]:
    """Everything that the chapter shows of one SAE; absorption only where there is a hierarchy."""
    features, active = world.features, seen.active
    scores = [
        *reconstruction_scores(sae, [seen.x]).values(),
        recovery(features, sae.W_dec),
        frequency_weighted_recovery(features, sae.W_dec, world.probabilities),
        mean_max_cosine(features, sae.W_dec),
        mean_matched_cosine(features, sae.W_dec),
        uniqueness(features, sae.W_dec),
        detection_f1(sae, seen.x, features=features, active=active),
        latent_f1(sae, seen.x, features=features, active=active),
    ]
    absorbed = None
    if isinstance(world, HarderWorld) and bool((world.parents >= 0).any()):
        absorbed = absorption(sae, seen.x, features=features, active=active, parents=world.parents)
        if absorbed is not None:
            scores.append(absorbed.score())
    return scores, absorbed


@dataclass(frozen=True)
class Comparison:
    """One SAE, evaluated by both libraries on the same samples."""

    run: HarderRun
    samples: int
    sae_lens: str
    """Its version."""


def sae_lens_version() -> str | None:
    """The version of sae-lens that is installed, or None."""
    try:
        return metadata.version("sae-lens")
    except metadata.PackageNotFoundError:
        return None


@computes(version=1, together=lambda cell: cell.config.sae_lens, threads=1)
def compare_with_sae_lens(tasks: Sequence[Task]) -> None:
    """Keep a table `scores`: name, ours, ours by their reading, theirs."""
    from sae_lens import SAE
    from sae_lens.synthetic.evals import eval_sae_on_synthetic_data

    for task in tasks:
        config: Comparison = task.config
        stream = stream_of(config.run)
        seen = held_out(stream, config.samples)
        folder = task.inputs["sae"].folder("sae")
        same = SameSamples(seen, stream.world.features)
        theirs = eval_sae_on_synthetic_data(
            SAE.load_from_disk(folder, device=config.run.device), same, same, num_samples=config.samples
        )
        task.save_table("scores", _side_by_side(load_sae(folder), stream.world, seen, theirs))


class SameSamples:
    """Given samples in the two roles that sae-lens asks for: a generator of features, and a dictionary.

    Only this way are the samples the same, noise and centring included; their own generator draws its own.
    """

    def __init__(self, seen: HeldOut, features: Float[Tensor, "n_features d_in"]) -> None:
        self.seen = seen
        self.feature_vectors = features

    def sample(self, batch_size: int) -> Float[Tensor, "n n_features"]:
        """The true coefficients."""
        return self.seen.coefficients[:batch_size]

    def __call__(self, coefficients: Float[Tensor, "n n_features"]) -> Float[Tensor, "n d_in"]:
        """The samples that they are of."""
        return self.seen.x[: len(coefficients)]


def _side_by_side(sae: Autoencoder, world: SyntheticWorld, seen: HeldOut, theirs: Any) -> pd.DataFrame:
    features, truth = world.features, {"features": world.features, "active": seen.active}
    ours = {name: float(score) for name, score in reconstruction_scores(sae, [seen.x]).items()}
    rows: list[tuple[str, Score | float, Score | float, float]] = [
        (
            "MCC",
            mean_matched_cosine(features, sae.W_dec),
            mean_matched_cosine(features, sae.W_dec, absolute=True),
            theirs.mcc,
        ),
        (
            "uniqueness",
            uniqueness(features, sae.W_dec),
            uniqueness(features, sae.W_dec, absolute=True),
            theirs.uniqueness,
        ),
        (
            "F1",
            detection_f1(sae, seen.x, **truth),
            latent_f1(sae, seen.x, absolute=True, **truth),
            theirs.classification.f1_score,
        ),
        (
            "explained variance",
            ours["explained_variance"],
            ours["explained_variance"],
            theirs.explained_variance,
        ),
        ("L0", ours["l0"], ours["l0"], theirs.sae_l0),
        ("dead latents", ours["dead_latents"], ours["dead_latents"], theirs.dead_latents / sae.d_sae),
    ]
    return pd.DataFrame(
        [(name, float(a), float(b), float(c)) for name, a, b, c in rows],
        columns=["score", "ours", "by_their_reading", "sae_lens"],
    )
