"""Training one arm on one synthetic world, and everything that is measured of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.cells import Cell, Task, computes
from sanity.errors import BadInputError
from sanity.evals import CosineToInitProbe, HeldOutEVProbe, RecoveryProbe
from sanity.experiments.grid import at_matched_l0, describe, named_curve, score_rows
from sanity.experiments.synthetic_recovery.measuring import Truth, measured
from sanity.models import Arm, Init, Iso, Run, Training, save_sae, train

EXPERIMENT = "synthetic_recovery"
HELD_OUT_SAMPLES = 16_384
# Batches of evaluation come from the far end of the stream's steps, where training never arrives.
FIRST_HELD_OUT_STEP = 2**31
FIRST_CALIBRATION_STEP = 2**31 + 2**30


@dataclass(frozen=True)
class TrueFeatures(Init):
    """Directions that are the features of a world: nothing is left to be recovered."""

    world: SyntheticSpec

    @property
    @override
    def name(self) -> str:
        return "truth"

    @override
    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        features = SyntheticWorld.from_spec(self.world).features
        if features.shape != gaussian.shape:
            raise BadInputError(
                f"a dictionary {list(gaussian.shape)} cannot be the features {list(features.shape)} of its "
                "world: ask for as many latents as there are features"
            )
        return features


@dataclass(frozen=True)
class SignedBasis(Init):
    """A random orthonormal basis and its opposite: 2 d_in latents that say nothing about any feature."""

    @property
    @override
    def name(self) -> str:
        return "signed basis"

    @override
    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        d_sae, d_in = gaussian.shape
        if d_sae != 2 * d_in:
            raise BadInputError(
                f"a signed basis of {d_in} dimensions has {2 * d_in} latents, not {d_sae}: ask for as many"
            )
        basis = torch.linalg.qr(gaussian[:d_in].double()).Q
        return functional.normalize(torch.cat([basis, -basis]), dim=1).to(gaussian.dtype)


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


def about_run(run: ToyRun) -> dict[str, Any]:
    """The columns that say which arm of which world a row is about."""
    init = run.arm.init
    known = isinstance(init, TrueFeatures | SignedBasis)
    about = describe(
        EXPERIMENT,
        run.world.probabilities,
        replace(run.arm, init=Iso()) if known else run.arm,
        run.l0,
    )
    return about | ({"init": init.name.replace(" ", "_")} if known else {})


def _company(cell: Cell) -> object:
    """Arms that see the same batches, and whose training takes about as long as any other such group's."""
    run: ToyRun = cell.config
    return {
        "world": run.world,
        "seed": run.arm.seed,
        "batch": run.batch_size,
        "steps": run.steps,
        "training": run.training,
        "precision": run.precision,
        "device": run.device,
        "learning_rate": run.arm.learning_rate,
    }


@computes(version=3, together=_company, threads=1)
def train_on_world(tasks: Sequence[Task]) -> None:
    """Train the arms of one seed on one world, and score what they recover.

    Tables per arm: `scores` (one row per metric, at matched L0), `curve` (along training), `features` and
    `latents` (one row each), `geometry` (one row: what the latents in use span). And the SAE itself.
    """
    first: ToyRun = tasks[0].config
    world = SyntheticWorld.from_spec(first.world, device=first.device)
    stream = SyntheticStream(world, batch_size=first.batch_size, seed=first.arm.seed)
    truth = truth_of(stream, steps=first.steps)
    calibration = held_out_samples(stream, first_step=FIRST_CALIBRATION_STEP)
    runs = train(
        [task.config.arm for task in tasks],
        stream,
        steps=first.steps,
        training=first.training,
        probes=[
            HeldOutEVProbe(truth.held_out),
            RecoveryProbe(world.features, probabilities=world.probabilities),
            CosineToInitProbe(),
        ],
        folder=tasks[0].shared,
        precision=first.precision,
    )
    for task, run in zip(tasks, runs, strict=True):
        _keep(task, run, truth, calibration)


def _keep(task: Task, run: Run, truth: Truth, calibration: Tensor) -> None:
    config: ToyRun = task.config
    sae = at_matched_l0(run.sae, calibration, config.l0)
    about = about_run(config)
    found = measured(sae, run.initial_directions, truth, l0=config.l0)
    task.save_table("scores", pd.DataFrame(score_rows(about, found.scores)))
    task.save_table("curve", _plain(run.curve).assign(**about))
    task.save_table("features", found.features.assign(**about))
    task.save_table("latents", found.latents.assign(**about))
    task.save_table("geometry", found.geometry.assign(**about))
    save_sae(sae, task.folder / "sae")


def _plain(curve: pd.DataFrame) -> pd.DataFrame:
    """The curve with `samples`, what recovery measured, `..._held_out` and `cosine_to_init_...`."""
    return named_curve(curve.rename(columns=lambda n: n.replace("cosine_to_init.", "cosine_to_init_")))


def truth_of(stream: SyntheticStream, *, steps: int, n: int = HELD_OUT_SAMPLES) -> Truth:
    """What is known of a stream's world, and `n` held-out samples with the features active in them."""
    world = stream.world
    batches = -(-n // stream.batch_size)
    active = [_active(stream, FIRST_HELD_OUT_STEP + i) for i in range(batches)]
    return Truth(
        world.features,
        world.probabilities,
        times_seen=stream.seen(steps).times_active,
        held_out=held_out_samples(stream, n),
        active=torch.cat(active)[:n],
        covariance=stream.covariance(),
    )


def _active(stream: SyntheticStream, step: int) -> Bool[Tensor, "batch n_features"]:
    found = stream.sample(step).coefficients
    active = torch.zeros(stream.batch_size, found.n_features, dtype=torch.bool, device=found.values.device)
    active[found.rows, found.features] = True
    return active


def held_out_samples(
    stream: SyntheticStream, n: int = HELD_OUT_SAMPLES, *, first_step: int = FIRST_HELD_OUT_STEP
) -> torch.Tensor:
    """Samples [n, d_in] of the stream's world that no training step draws."""
    batches = -(-n // stream.batch_size)
    return torch.cat([stream.batch(first_step + i) for i in range(batches)])[:n]
