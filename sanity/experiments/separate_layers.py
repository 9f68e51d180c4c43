"""The null of a crosscoder: an SAE for each layer by itself, and their latents paired afterwards.

How much sharing do two dictionaries show that know nothing of each other? SAEs of one layer each (sources
`OneLayer`, in whatever grid) with the same arm are paired one to one by the cosine of their decoder
directions, or by what they do: the correlation of their activations. The pairs, joined, are an SAE on all
layers, scored like a crosscoder.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.errors import BadInputError
from sanity.evals import Crosscoding, Eval, Reconstruction
from sanity.evals.feature_recovery import one_to_one
from sanity.experiments.planner import plan_runs
from sanity.experiments.plans import Plan, PlannedRun, RunRequest
from sanity.experiments.reading import Reader, stack
from sanity.experiments.steps import at_matched_l0
from sanity.models import Autoencoder, load_sae, save_sae
from sanity.sources import OneLayer, RunSpec

PAIRED_BY = ("cosine", "activations")


@dataclass(frozen=True)
class Pairing:
    """What the SAEs are, as if one had been trained on all layers, and how their latents are paired."""

    run: RunSpec
    by: str


@computes("pair layers", version=1)
def pair_layers(task: Task) -> None:
    """Keep the SAE on all layers that the SAEs of single layers make together."""
    config: Pairing = task.config
    run, n = config.run, len(config.run.source.blocks)
    opened = run.source.open(
        task.inputs, batch_size=run.budget.batch_size, seed=run.arm.seed, device=run.device
    )
    saes = [load_sae(task.inputs[f"sae.{i}"].folder("sae")).to(device=run.device) for i in range(n)]
    sae = joined(saes, opened.calibration, by=config.by, seed=run.arm.seed)
    save_sae(at_matched_l0(sae, opened.calibration, run.l0), task.folder / "sae")


def joined(saes: Sequence[Autoencoder], x: Float[Tensor, "n d_in"], *, by: str, seed: int) -> Autoencoder:
    """SAEs of single layers as one on all layers: each latent of the first, with its partner in every other.

    Decoder rows have length 1 as a whole, encoders are summed, and one scalar fits the scale to `x`.
    """
    blocks = torch.split(x, [sae.d_in for sae in saes], dim=1)
    partners = [torch.arange(saes[0].d_sae, device=x.device)]
    for sae, part in zip(saes[1:], blocks[1:], strict=True):
        partners.append(_partners(saes[0], blocks[0], sae, part, by, seed).to(x.device))
    pairs, root = list(zip(saes, partners, strict=True)), math.sqrt(len(saes))
    thresholds = [sae.threshold[of] for sae, of in pairs if sae.threshold is not None]
    made = Autoencoder(
        W_enc=(torch.cat([sae.W_enc.T[of] for sae, of in pairs], 1) / root).T,
        W_dec=torch.cat([sae.W_dec[of] for sae, of in pairs], 1) / root,
        b_enc=torch.stack([sae.b_enc[of] for sae, of in pairs]).sum(0) / root,
        b_dec=torch.cat([sae.b_dec for sae in saes]),
        architecture=saes[0].architecture,
        threshold=torch.stack(thresholds).sum(0) / root if thresholds else None,
    )
    rebuilt, target = made.reconstruct(x) - made.b_dec, x - made.b_dec
    across = float((rebuilt * rebuilt).sum(dtype=torch.float64))
    scale = float((target * rebuilt).sum(dtype=torch.float64)) / across if across else 1.0
    if scale <= 0:
        return made
    threshold = None if made.threshold is None else made.threshold * scale
    return dataclasses.replace(
        made, W_enc=(made.W_enc.T * scale).T, b_enc=made.b_enc * scale, threshold=threshold
    )


def _partners(
    a: Autoencoder, x: Tensor, b: Autoencoder, y: Tensor, by: str, seed: int
) -> Int[Tensor, " d_sae"]:
    """Which latent of `b` each latent of `a` is paired with."""
    if by == "cosine":
        return one_to_one(a.W_dec, b.W_dec).latents
    if by != "activations":
        raise BadInputError(f"latents cannot be paired by {by!r}: choose one of {', '.join(PAIRED_BY)}")
    codes = [sae.encode(part).double() for sae, part in ((a, x), (b, y))]
    generator = torch.Generator().manual_seed(seed)
    return one_to_one(*(_varying(z - z.mean(0), generator).T for z in codes)).latents


def _varying(z: Float[Tensor, "n d_sae"], generator: torch.Generator) -> Float[Tensor, "n d_sae"]:
    """Activations about their means; noise for latents that never fire, which are paired at random."""
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    return torch.where(z.abs().amax(0) > 0, z, noise)


def paired_runs(plan: Plan) -> list[tuple[str, str, PlannedRun]]:
    """Experiment, place and planned scores of every set of SAEs that has one for each layer of a source."""
    sets: dict[RunSpec, dict[int, PlannedRun]] = {}
    for run in plan.runs:
        if isinstance(source := run.run.source, OneLayer) and len(set(source.of.blocks)) == 1:
            sets.setdefault(replace(run.run, source=source.of), {})[source.index] = run
    found = []
    for whole, layers in sets.items():
        if len(layers) < len(whole.source.blocks):
            continue
        evals = _evals(plan)
        for by in PAIRED_BY:
            cell = _cell(plan, Pairing(whole, by), layers)
            (planned,) = plan_runs([RunRequest(whole, made=cell)], evals, pace=plan.profile.pace).runs
            found.append((f"separate_layers_{by}", _place(plan, whole), planned))
    return found


def _cell(plan: Plan, pairing: Pairing, layers: dict[int, PlannedRun]) -> Cell:
    run = pairing.run
    cells = run.source.cells(run.device, plan.profile.pace)
    return pair_layers.cell(
        pairing,
        inputs={**cells, **{f"sae.{i}": one.trained for i, one in layers.items()}},
        label=f"{run.label}: separate SAEs, paired by {pairing.by}",
        stage="train",
        cost=Cost(0.5 + 2e-10 * run.arm.d_sae**3, disk_bytes=9 * run.arm.d_sae * run.source.d_in),
        threads=run.source.threads,
    )


def _evals(plan: Plan) -> dict[str, Eval]:
    """What a crosscoder is scored by, as the profile has it; gates are read with crosscoders themselves."""
    kinds: tuple[type[Eval], ...] = (Reconstruction, Crosscoding)
    made = [plan.profile.eval_named(kind.name) for kind in kinds]
    return {one.name: replace(one, grades=None) for one in made}  # type: ignore[call-arg]


def _place(plan: Plan, whole: RunSpec) -> str:
    """What the profile calls the source of several layers."""
    names = [name for name in plan.profile.sources if plan.profile.source_named(name) == whole.source]
    return plan.profile.place_of(names[0])


def scored(plan: Plan) -> list[tuple[str, str, Cell]]:
    """The scores of paired SAEs: experiments `separate_layers_cosine` and `separate_layers_activations`."""
    return [(name, place, cell) for name, place, run in paired_runs(plan) for cell in run.scored.values()]


def cells(plan: Plan) -> list[Cell]:
    """All cells of the analysis."""
    if plan.made_from is None:
        return []
    runs = [run for _, _, run in paired_runs(plan)]
    return [cell for run in runs for cell in (run.trained, *run.scored.values())]


def table(read: Reader, name: str) -> pd.DataFrame:
    """A table of the paired SAEs' scores (`scores`, `layers`, `latents`), with experiment and place."""
    asked = scored(read.plan)
    found = read.results([cell for _, _, cell in asked])
    frames = [
        result.table(name).assign(experiment=experiment, world_or_hook=place)
        for (experiment, place, _), result in zip(asked, found, strict=True)
        if f"{name}.parquet" in result.files
    ]
    return stack(frames)
