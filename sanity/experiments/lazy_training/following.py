"""Following one training from its start: how far every latent turns, and whether the training is lazy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from sanity.engine.cells import Task, computes
from sanity.evals.alignment import cosine_quantiles
from sanity.evals.kernel_drift import TangentKernel, kernel_drift, tangent_kernel
from sanity.evals.laziness import linearisation
from sanity.evals.reconstruction import firing_frequency
from sanity.experiments.steps import named_curve, trained
from sanity.models import Autoencoder, train
from sanity.models.training import probe_steps
from sanity.sources import RunSpec

FREQUENCY_GROUPS = ("rarest third", "middle third", "most frequent third")
FREQUENCY_SAMPLES = 4096


@dataclass(frozen=True)
class FollowedRun:
    """A run, and how closely it is followed.

    The cosines are read at every step at which the run's budget asks probes, and laziness at some of them.
    """

    run: RunSpec
    laziness_points: int
    laziness_samples: int
    kernel_samples: int
    known_as: ClassVar[str] = "Followed"


@dataclass(frozen=True, eq=False)
class TurningProbe:
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
class LazinessProbe:
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


@computes("follow training", version=1)
def follow_training(task: Task) -> None:
    """Train one arm and read along the way how far it has moved: tables `curve` and `cosines`."""
    config: FollowedRun = task.config
    run, budget = config.run, config.run.budget
    opened = run.source.open(task.inputs, batch_size=budget.batch_size, seed=run.arm.seed, device=run.device)
    x = opened.sample[: config.laziness_samples]
    # Without a step, `train` gives the calibrated start.
    (begun,) = train([run.arm], opened.stream, steps=0, precision=budget.precision)
    kernel = tangent_kernel(begun.sae, x[: config.kernel_samples])
    asked = laziness_steps(budget.steps, budget.training.probe_points, config.laziness_points)
    snapshots = task.scratch / "snapshots"
    snapshots.mkdir(exist_ok=True)
    (ended,) = trained(
        [run],
        replace(opened, sample=x, truth=None),
        folders=[task.scratch],
        more=[TurningProbe(begun.initial_directions, snapshots), LazinessProbe(begun.sae, kernel, x, asked)],
    )
    frequency = firing_frequency(ended.sae, [opened.sample[:FREQUENCY_SAMPLES]]).cpu()
    task.save_table("curve", named_curve(ended.curve).assign(**run.columns()))
    task.save_table("cosines", cosine_table(snapshots, frequency).assign(**run.columns()))


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


def frequency_groups(frequency: Float[Tensor, " d_sae"]) -> dict[str, Bool[Tensor, " d_sae"]]:
    """Which latents are active never, rarely, sometimes, often: masks over latents; and all of them."""
    alive = frequency > 0
    order = torch.where(alive, frequency.double(), torch.inf).argsort(stable=True)[: int(alive.sum())]
    groups = {"all": torch.ones_like(alive), "never active": ~alive}
    for name, part in zip(FREQUENCY_GROUPS, order.tensor_split(3), strict=True):
        groups[name] = torch.zeros_like(alive).index_fill_(0, part, True)
    return groups
