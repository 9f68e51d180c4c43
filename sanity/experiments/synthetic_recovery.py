"""Cells of the chapter `synthetic_recovery`: every arm on worlds whose features are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch

from sanity.cells import Cell, Cost, Result, Task, computes
from sanity.computing import results
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.evals import (
    HeldOutEVProbe,
    RecoveryProbe,
    cosine_to_init,
    encoder_decoder_cosine,
    frequency_weighted_recovery,
    max_cosines,
    mean_max_cosine,
    reconstruction_scores,
    recovery,
)
from sanity.experiments.grid import arm, at_matched_l0, describe, named_curve, score_rows, stack
from sanity.models import Arm, Training, save_sae, train
from sanity.profiles import ArmNames, Profile, World
from sanity.store import LocalStore

EXPERIMENT = "synthetic_recovery"
HELD_OUT_SAMPLES = 16_384
# Batches of evaluation come from the far end of the stream's steps, where training never arrives.
FIRST_HELD_OUT_STEP = 2**31
FIRST_CALIBRATION_STEP = 2**31 + 2**30


@dataclass(frozen=True)
class ToyRun:
    """One arm on one world."""

    world: SyntheticSpec
    arm: Arm
    l0: int
    batch_size: int
    steps: int
    training: Training
    precision: Literal["float32", "bf16"]
    device: str


def _company(cell: Cell) -> object:
    """Arms that see the same batches: those of one world, seed, batch size and schedule."""
    run: ToyRun = cell.config
    return {
        "world": run.world,
        "seed": run.arm.seed,
        "batch": run.batch_size,
        "steps": run.steps,
        "training": run.training,
        "precision": run.precision,
        "device": run.device,
    }


@computes(version=2, together=_company)
def train_on_world(tasks: Sequence[Task]) -> None:
    """Train the arms of one seed on one world, and score what they recover."""
    first: ToyRun = tasks[0].config
    world = SyntheticWorld.from_spec(first.world, device=first.device)
    stream = SyntheticStream(world, batch_size=first.batch_size, seed=first.arm.seed)
    held_out = held_out_samples(stream)
    calibration = held_out_samples(stream, first_step=FIRST_CALIBRATION_STEP)
    runs = train(
        [task.config.arm for task in tasks],
        stream,
        steps=first.steps,
        training=first.training,
        probes=[
            HeldOutEVProbe(held_out),
            RecoveryProbe(world.features, probabilities=world.probabilities),
        ],
        folder=tasks[0].shared,
        precision=first.precision,
    )
    for task, run in zip(tasks, runs, strict=True):
        sae = at_matched_l0(run.sae, calibration, task.config.l0)
        about = describe(EXPERIMENT, first.world.probabilities, run.arm, task.config.l0)
        scores = [
            *reconstruction_scores(sae, [held_out]).values(),
            recovery(world.features, sae.W_dec),
            frequency_weighted_recovery(world.features, sae.W_dec, world.probabilities),
            mean_max_cosine(world.features, sae.W_dec),
            cosine_to_init(sae.W_dec, run.initial_directions),
            encoder_decoder_cosine(sae),
        ]
        task.save_table("scores", pd.DataFrame(score_rows(about, scores)))
        task.save_table("curve", named_curve(run.curve).assign(**about))
        task.save_table("features", _feature_table(world, sae.W_dec, first).assign(**about))
        save_sae(sae, task.folder / "sae")


def held_out_samples(
    stream: SyntheticStream, n: int = HELD_OUT_SAMPLES, *, first_step: int = FIRST_HELD_OUT_STEP
) -> torch.Tensor:
    """Samples [n, d_in] of the stream's world that no training step draws."""
    batches = -(-n // stream.batch_size)
    return torch.cat([stream.batch(first_step + i) for i in range(batches)])[:n]


def _feature_table(world: SyntheticWorld, W_dec: torch.Tensor, run: ToyRun) -> pd.DataFrame:
    """Per feature: how often it is active, how often it was seen, the cosine of the nearest latent."""
    cosines = max_cosines(world.features, W_dec)
    return pd.DataFrame(
        {
            "feature": range(len(cosines)),
            "probability": world.probabilities.cpu().numpy(),
            "times_seen": world.expected_times_active(run.steps * run.batch_size).cpu().numpy(),
            "max_cosine": cosines.cpu().numpy(),
        }
    )


def spec_of(world: World, seed: int = 0) -> SyntheticSpec:
    """The synthetic world that a profile's entry describes."""
    return SyntheticSpec(**world.model_dump(), seed=seed)


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter: worlds x architectures x arms x seeds."""
    grid = profile.toy
    training = Training()
    made = []
    for world in grid.worlds:
        for name in grid.architectures:
            # The baselines are shown on one architecture, the trained arm and the untrained one on all.
            arms = grid.arms if name == grid.architectures[0] else _ends(grid.arms)
            for names in arms:
                for seed in grid.seeds:
                    made.append(_cell(profile, world, name, names, seed, training))
    return made


def _ends(arms: Sequence[ArmNames]) -> list[ArmNames]:
    return [a for a in arms if a.constraint in ("trained", "untrained")]


def _cell(profile: Profile, world: World, name: str, names: ArmNames, seed: int, training: Training) -> Cell:
    grid = profile.toy
    made = arm(
        names,
        architecture_name=name,
        l0=grid.l0,
        d_sae=grid.d_sae,
        seed=seed,
        learning_rate=grid.learning_rate,
    )
    run = ToyRun(
        spec_of(world),
        made,
        grid.l0,
        grid.batch_size,
        grid.steps,
        training,
        profile.precision,
        profile.device,
    )
    seconds = profile.training_seconds(
        batch_size=grid.batch_size, steps=grid.steps, d_sae=grid.d_sae, d_in=world.d_in
    )
    return train_on_world.cell(
        run,
        label=f"{world.probabilities} world, {made.label}",
        stage="toy",
        cost=Cost(
            1.0 if names.constraint == "untrained" else seconds,
            disk_bytes=8 * grid.d_sae * world.d_in + 400_000,
        ),
    )


@dataclass(frozen=True)
class ToyTables:
    """What the chapter shows: final scores, curves along training, and features, one row each."""

    scores: pd.DataFrame
    curves: pd.DataFrame
    features: pd.DataFrame
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> ToyTables:
    """The chapter's tables, computed first where they are missing."""
    found = results(cells(profile), store)
    return ToyTables(
        scores=stack([r.table("scores") for r in found]),
        curves=stack([r.table("curve") for r in found]),
        features=stack([r.table("features") for r in found]),
        found=found,
    )
