"""What the runs of the chapter `lazy_training` are fed with: a world, activations, or noise like either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.baselines import FrozenDecoder, SoftFrozenDecoder, Trained
from sanity.data.gaussian import GaussianStream
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.cells import Cell, Result
from sanity.experiments.grid import architecture
from sanity.experiments.real_activations import spread_rows
from sanity.experiments.synthetic_recovery import FIRST_HELD_OUT_STEP, held_out_samples, spec_of
from sanity.models import Arm, Constraint, Stream, Training
from sanity.profiles import LanguageModel, Profile
from sanity.subject import ActivationStore, ActivationStream, Normalisation

EXPERIMENT = "lazy_training"
HELD_OUT = 4096


@dataclass(frozen=True)
class Source:
    """Where batches come from. Without a world, from the activations that are a cell's inputs."""

    world: SyntheticSpec | None = None
    hook: str = ""
    gaussian: bool = False
    """Whether they are replaced by Gaussian noise of the same covariance."""

    @property
    def place(self) -> str:
        """The world's kind, or the hook."""
        return self.world.probabilities if self.world is not None else self.hook


@dataclass(frozen=True)
class LazyRun:
    """One arm on one source."""

    source: Source
    arm: Arm
    l0: int
    batch_size: int
    steps: int
    training: Training
    precision: Literal["float32", "bf16"]
    device: str


@dataclass(frozen=True, eq=False)
class Opened:
    """A source that is ready to be read."""

    stream: Stream
    held_out: Float[Tensor, "n d_in"]
    world: SyntheticWorld | None
    """The world whose features the samples hold; none for activations and for noise."""


def open_source(run: LazyRun, inputs: Mapping[str, Result]) -> Opened:
    """The stream of a run, and samples that it is not trained on."""
    source, seed = run.source, run.arm.seed
    world = None
    if source.world is not None:
        world = SyntheticWorld.from_spec(source.world, device=run.device)
        made = SyntheticStream(world, batch_size=run.batch_size, seed=seed)
        stream: Stream = made
        held_out = held_out_samples(made, HELD_OUT)
    else:
        kept = ActivationStore(inputs["train"].folder("activations"))
        read = ActivationStream(kept, batch_size=run.batch_size, seed=seed, device=run.device)
        stream = read
        rest = ActivationStore(inputs["held_out"].folder("activations"))
        held_out = spread_rows(rest, Normalisation(read.centre, read.factor), HELD_OUT)
    if not source.gaussian:
        return Opened(stream, held_out, world)
    noise = GaussianStream(stream.covariance(), batch_size=run.batch_size, seed=seed, name=stream.key)
    batches = -(-HELD_OUT // run.batch_size)
    held_out = torch.cat([noise.batch(FIRST_HELD_OUT_STEP + i) for i in range(batches)])[:HELD_OUT]
    return Opened(noise, held_out, None)


def tau_of(constraint: Constraint) -> float:
    """The smallest cosine to its start that a constraint leaves a decoder row: -1 for the trained arm."""
    if isinstance(constraint, SoftFrozenDecoder):
        return constraint.cosine
    return 1.0 if isinstance(constraint, FrozenDecoder) else -1.0


def within(tau: float) -> Constraint:
    """The constraint whose `tau_of` is `tau`; at the ends the arms that need no projection."""
    if tau == 1:
        return FrozenDecoder()
    return Trained() if tau == -1 else SoftFrozenDecoder(cosine=tau)


def about(run: LazyRun) -> dict[str, Any]:
    """The columns of a tidy row that say which run it is about."""
    tau = tau_of(run.arm.constraint)
    names = {1.0: "frozen_decoder", -1.0: "trained"}
    return {
        "experiment": EXPERIMENT,
        "world_or_hook": run.source.place,
        "gaussian": run.source.gaussian,
        "architecture": type(run.arm.architecture).__name__.lower(),
        "constraint": names.get(tau, "soft_frozen_decoder"),
        "init": run.arm.init.name,
        "tau": tau,
        "seed": run.arm.seed,
        "learning_rate": run.arm.learning_rate,
        "l0_target": run.l0,
        "d_sae": run.arm.d_sae,
    }


def toy_run(
    profile: Profile, kind: str, *, tau: float = -1.0, seed: int = 0, gaussian: bool = False
) -> LazyRun:
    """An arm of the profile's synthetic grid, in its first architecture, on its world of a kind."""
    grid = profile.toy
    world = next((w for w in grid.worlds if w.probabilities == kind), grid.worlds[0])
    arm = Arm(
        architecture(grid.architectures[0], grid.l0),
        grid.d_sae,
        within(tau),
        seed=seed,
        learning_rate=grid.learning_rate,
    )
    source = Source(world=spec_of(world), gaussian=gaussian)
    return LazyRun(
        source, arm, grid.l0, grid.batch_size, grid.steps, Training(), profile.precision, profile.device
    )


def real_run(
    profile: Profile, *, tau: float = -1.0, seed: int = 0, gaussian: bool = False, steps: int | None = None
) -> LazyRun:
    """An arm of the profile's primary grid on real activations, at its first place."""
    grid, model = profile.real, profile.models[0]
    arm = Arm(
        architecture(grid.architecture, grid.l0),
        model.d_sae or grid.d_sae,
        within(tau),
        seed=seed,
        learning_rate=grid.learning_rate,
    )
    return LazyRun(
        Source(hook=model.hook, gaussian=gaussian),
        arm,
        grid.l0,
        grid.batch_size,
        steps or grid.steps,
        Training(),
        profile.precision,
        profile.device,
    )


def seconds_of(profile: Profile, run: LazyRun, *, steps: int | None = None) -> float:
    """What training a run is expected to take."""
    model: LanguageModel = profile.models[0]
    d_in = run.source.world.d_in if run.source.world is not None else model.d_model
    return profile.training_seconds(
        batch_size=run.batch_size, steps=steps or run.steps, d_sae=run.arm.d_sae, d_in=d_in
    )


def inputs_of(source: Source, activations: Mapping[str, Cell]) -> dict[str, Cell]:
    """The cells that a source is read from: the activations, where there is no world."""
    return {} if source.world is not None else dict(activations)
