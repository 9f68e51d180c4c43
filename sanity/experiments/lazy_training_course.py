"""Following one training from its start: how far every latent turns, and whether the training is lazy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.evals import (
    TangentKernel,
    cosine_quantiles,
    encoder_decoder_cosines,
    firing_frequency,
    kernel_drift,
    linearisation,
    tangent_kernel,
)
from sanity.experiments.grid import named_curve
from sanity.experiments.lazy_training_sources import (
    LazyRun,
    about,
    inputs_of,
    open_source,
    real_run,
    seconds_of,
    toy_run,
)
from sanity.models import Autoencoder, initial_directions, train
from sanity.models.learner import Learner
from sanity.models.loop import probe_steps
from sanity.models.start import calibrated_start
from sanity.profiles import Profile

TENTH = 10
FREQUENCY_GROUPS = ("rarest third", "middle third", "most frequent third")


@dataclass(frozen=True)
class Followed:
    """A run, and how closely it is followed."""

    run: LazyRun
    probe_points: int
    laziness_points: int
    laziness_samples: int
    kernel_samples: int


@dataclass(frozen=True, eq=False)
class _Turned:
    """Cosines of every latent's directions to their start, kept in a file per step.

    Columns: cosine_decoder, cosine_encoder (means). Encoder rows start along the decoder's.
    """

    W0: Float[Tensor, "d_sae d_in"]
    folder: Path
    name: str = field(default="turned", init=False)

    def __call__(self, sae: Autoencoder, step: int) -> Mapping[str, float]:
        """Measure `sae`, and keep its cosines; asked again about a step, it writes the same again."""
        cosines = {
            f"cosine_{side}": torch.linalg.vecdot(rows, self.W0)
            / torch.linalg.vector_norm(rows, dim=1).clamp_min(1e-30)
            for side, rows in (("decoder", sae.W_dec), ("encoder", sae.W_enc.T))
        }
        kept = {name: values.cpu().contiguous() for name, values in cosines.items()}
        save_file(kept, self.folder / f"{step:09}.safetensors")
        return {name: float(values.mean()) for name, values in cosines.items()}


@dataclass(frozen=True, eq=False)
class _Laziness:
    """Supports, first-order model and tangent kernel against the start, at some of the steps."""

    start: Autoencoder
    kernel: TangentKernel
    x: Float[Tensor, "n d_in"]
    steps: frozenset[int]
    name: str = field(default="laziness", init=False)

    def __call__(self, sae: Autoencoder, step: int) -> Mapping[str, float]:
        """Measure `sae`; nothing at other steps."""
        if step not in self.steps:
            return {}
        n = len(self.kernel.active)
        drift = kernel_drift(self.kernel, tangent_kernel(sae, self.x[:n]))
        return linearisation(self.start, sae, self.x) | drift


@computes(version=1, threads=1)
def follow_training(task: Task) -> None:
    """Train one arm on a small world and read, along the way, how far it has moved from its start."""
    _follow(task)


@computes(version=1)
def follow_training_on_activations(task: Task) -> None:
    """The same on activations: large products, for all threads."""
    _follow(task)


def _follow(task: Task) -> None:
    config: Followed = task.config
    run = config.run
    opened = open_source(run, task.inputs)
    # Without a step, `train` gives the calibrated start.
    (begun,) = train([run.arm], opened.stream, steps=0, precision=run.precision)
    snapshots = task.scratch / "snapshots"
    snapshots.mkdir(exist_ok=True)
    x = opened.held_out[: config.laziness_samples]
    kernel = tangent_kernel(begun.sae, x[: config.kernel_samples])
    asked = laziness_steps(run.steps, config.probe_points, config.laziness_points)
    (ended,) = train(
        [run.arm],
        opened.stream,
        steps=run.steps,
        training=replace(run.training, probe_points=config.probe_points),
        probes=[
            _Turned(begun.initial_directions, snapshots),
            _Laziness(begun.sae, kernel, x, asked),
        ],
        folder=task.shared,
        precision=run.precision,
    )
    frequency = firing_frequency(ended.sae, [opened.held_out]).cpu()
    cosines = cosine_table(snapshots, frequency).assign(samples=lambda t: t["step"] * run.batch_size)
    task.save_table("curve", named_curve(ended.curve).assign(**about(run)))
    task.save_table("cosines", cosines.assign(**about(run)))
    latents = load_file(snapshots / f"{run.steps:09}.safetensors")
    task.save_table(
        "latents",
        pd.DataFrame(
            {
                "frequency": frequency.numpy(),
                **{name: values.float().numpy() for name, values in latents.items()},
                "encoder_decoder_cosine": encoder_decoder_cosines(ended.sae).cpu().numpy(),
            }
        ).assign(**about(run)),
    )


def laziness_steps(steps: int, probe_points: int, points: int) -> frozenset[int]:
    """About `points` of the steps at which probes are asked, the start left out, the marked ones kept."""
    asked = sorted(probe_steps(steps, probe_points) - {0})
    wanted = probe_steps(steps, points) - {0}
    return frozenset(min(asked, key=lambda step: abs(step - one)) for one in wanted) if asked else frozenset()


def cosine_table(snapshots: Path, frequency: Float[Tensor, " d_sae"]) -> pd.DataFrame:
    """Quantiles over latents of the cosines kept in `snapshots`, by step, side and firing frequency.

    Groups: all; never (active in no held-out sample at the end); and thirds of the others.
    """
    groups = frequency_groups(frequency)
    rows = []
    for file in sorted(snapshots.glob("*.safetensors")):
        for name, values in load_file(file).items():
            for group, inside in groups.items():
                if bool(inside.any()):
                    quantiles = cosine_quantiles(values[inside].float())
                    row = {"step": int(file.stem), "side": name.removeprefix("cosine_"), "group": group}
                    rows.append({**row, "latents": int(inside.sum()), **quantiles})
    return pd.DataFrame(rows)


def frequency_groups(frequency: Float[Tensor, " d_sae"]) -> dict[str, Tensor]:
    """Which latents are active never, rarely, sometimes, often: masks over latents; and all of them."""
    alive = frequency > 0
    order = torch.where(alive, frequency.double(), torch.inf).argsort(stable=True)[: int(alive.sum())]
    groups = {"all": torch.ones_like(alive), "never active": ~alive}
    for name, part in zip(FREQUENCY_GROUPS, order.tensor_split(3), strict=True):
        groups[name] = torch.zeros_like(alive).index_fill_(0, part, True)
    return groups


@computes(version=1)
def read_at_a_tenth(task: Task) -> None:
    """Replay the first tenth of an arm's training and read the cosines of its decoder to init there."""
    run: LazyRun = task.config
    stream = open_source(run, task.inputs).stream
    x = stream.batch(0)
    directions = initial_directions(run.arm, stream.d_in, stream.covariance, x.dtype).to(x.device)
    learner = Learner(
        run.arm,
        calibrated_start(run.arm, directions, x),
        steps=run.steps,
        training=run.training,
        precision=run.precision,
    )
    with torch.no_grad():
        for step in range(run.steps // TENTH):
            learner.learn(stream.batch(step))
    cosines = torch.linalg.vecdot(learner.weights.W_dec, directions)
    task.save_json("tenth", {"step": learner.step, **cosine_quantiles(cosines), **about(run)})


def course_cells(profile: Profile, activations: Mapping[str, Cell]) -> dict[str, list[Cell]]:
    """Followed runs (`toy`, `real`), and the seeds that are read at a tenth only (`tenth`)."""
    grid = profile.lazy
    kinds = dict.fromkeys(world.probabilities for world in profile.toy.worlds)
    toy = [toy_run(profile, kind, seed=seed) for kind in kinds for seed in grid.course_seeds]
    real = [real_run(profile, seed=seed) for seed in grid.course_seeds]
    rest = [real_run(profile, seed=seed) for seed in profile.real.seeds if seed not in grid.course_seeds]
    return {
        "toy": [_followed_cell(profile, run, activations, "toy") for run in toy],
        "real": [_followed_cell(profile, run, activations, "arms") for run in real],
        "tenth": [
            read_at_a_tenth.cell(
                run,
                inputs=inputs_of(run.source, activations),
                label=f"the first tenth of {run.arm.label}",
                stage="arms",
                cost=Cost(1.0 + seconds_of(profile, run, steps=run.steps // TENTH)),
            )
            for run in rest
        ],
    }


def _followed_cell(profile: Profile, run: LazyRun, activations: Mapping[str, Cell], stage: str) -> Cell:
    grid = profile.lazy
    config = Followed(
        run, grid.probe_points, grid.laziness_points, grid.laziness_samples, grid.kernel_samples
    )
    function = follow_training if run.source.world is not None else follow_training_on_activations
    return function.cell(
        config,
        inputs=inputs_of(run.source, activations),
        label=f"{run.source.place}: following {run.arm.label}",
        stage=stage,
        cost=Cost(2.0 + seconds_of(profile, run), disk_bytes=2_000_000),
    )
