"""Autoencoders scrambled part by part, and every metric watched: what a score reads when it is measured.

The trained arm of each named grid, on its first seed and first architecture at every world and hook, is
scrambled and given to the evals of the grid; in worlds the true dictionary with its tied encoder is, too. It
shows a dependence at evaluation time, and only that: a metric that reads encoders alone still sees, through
training, the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.data import world_of
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.evals import Eval, Recovery, Score
from sanity.evals.base import Candidate, Setting
from sanity.evals.corrupted_truth import corrupted_truth
from sanity.evals.scrambles import SCRAMBLES
from sanity.experiments.plans import Plan, PlannedRun
from sanity.models import Autoencoder, Trained, load_sae
from sanity.profiles import built
from sanity.sources import RunSpec, Source, World

TRAINED, TRUTH = "trained", "true dictionary"
CODED_ROWS = 512
"""Latents are compared on so many samples: enough to see any change, and dense codes stay small."""


@dataclass(frozen=True)
class ScramblingFields:
    """What a profile may say of this analysis."""

    grids: tuple[str, ...] = ("synthetic_recovery", "real_activations", "sparse_probing")
    """Whose trained arms are scrambled; grids that the profile does not have are skipped."""
    seed: int = 0


@dataclass(frozen=True)
class ScrambledScoring:
    """A trained SAE and an eval. The version of the eval is part of the key."""

    eval: Eval
    version: int
    source: Source
    run: RunSpec
    seed: int
    known_as: ClassVar[str] = "Scrambled"


@computes("scramble", version=1)
def scramble(task: Task) -> None:
    """Every metric of an eval on an SAE, intact and under each scramble: the table `scrambled`."""
    config: ScrambledScoring = task.config
    run = config.run
    setting = Setting(config.source, run.arm.seed, run.budget.batch_size, run.device, task.inputs)
    shared = config.eval.open(setting)
    x = setting.opened.sample[:CODED_ROWS]
    trained = load_sae(task.inputs["sae"].folder("sae")).to(device=run.device)
    judged: dict[str, tuple[Autoencoder, RunSpec | None]] = {TRAINED: (trained, run)}
    if isinstance(config.source, World):
        world = world_of(config.source.spec, device=run.device)
        truth = corrupted_truth(world, "mixed", 0.0, seed=config.seed, k=run.l0, x=setting.opened.calibration)
        judged[TRUTH] = truth, None
    rows: list[dict[str, Any]] = []
    for name, (sae, spec) in judged.items():
        made = {"none": sae, **{n: change(sae, seed=config.seed) for n, change in SCRAMBLES.items()}}
        candidates = [Candidate(one, spec) for one in made.values()]
        found = config.eval.score(candidates, shared, setting)
        for (scramble_name, one), scored in zip(made.items(), found, strict=True):
            same = same_latents(sae.encode(x), one.encode(x))
            rows += [_row(name, scramble_name, score) for score in (*scored.scores, same)]
    task.save_table("scrambled", pd.DataFrame(rows))


def _row(sae: str, scramble_name: str, score: Score) -> dict[str, Any]:
    ends = {"value": score.value, "floor": score.floor, "ceiling": score.ceiling, "n": score.n}
    return {"sae": sae, "scramble": scramble_name, "metric": score.metric, **ends}


def same_latents(before: Float[Tensor, "n d_sae"], after: Float[Tensor, "n d_sae"]) -> Score:
    """Share of the activations of latents, before and after together, that are the same in both."""
    active = (before != 0) | (after != 0)
    same = active & torch.isclose(before, after, rtol=1e-4, atol=1e-5)
    n = int(active.sum())
    value = int(same.sum()) / n if n else 1.0
    return Score("same_latents", value, 0.0, 1.0, True, n=max(n, 1), unit="activation", version="1")


def chosen(plan: Plan) -> list[tuple[PlannedRun, str, Cell]]:
    """Which runs are scrambled and scored by which eval, each with its cell."""
    fields = built(ScramblingFields, plan.analysis("scrambling"), "the analysis scrambling")
    found = []
    for grid in fields.grids:
        first: dict[str, PlannedRun] = {}
        for run in plan.grid(grid):
            if run.run.arm.constraint == Trained():
                first.setdefault(run.place, run)
        for run in first.values():
            for name, scored in run.scored.items():
                found.append((run, name, _cell(run, name, scored, fields.seed)))
    return found


def _cell(run: PlannedRun, name: str, scored: Cell, seed: int) -> Cell:
    config = scored.config
    asked = replace(config.eval, detail=False) if isinstance(config.eval, Recovery) else config.eval
    return scramble.cell(
        ScrambledScoring(asked, config.version, config.source, config.run, seed),
        inputs=dict(scored.inputs),
        label=f"{run.run.label}, scrambled: {name.replace('_', ' ')}",
        stage="scramble",
        cost=Cost(1.0 + 8 * scored.cost.seconds),
        threads=scored.threads,
    )


def cells(plan: Plan) -> list[Cell]:
    """All cells of the analysis."""
    return [cell for _, _, cell in chosen(plan)]


def changes(scrambled: pd.DataFrame) -> pd.DataFrame:
    """What each scramble changes: rows of `scrambled` as (score - intact score) / (ceiling - floor).

    Metrics without a ceiling (L0) are given relative to their intact value. Added columns: `intact`,
    `change`.
    """
    by = ["place", "sae", "metric"]
    none = scrambled[scrambled["scramble"] == "none"].set_index(by)["value"].rename("intact")
    rows = scrambled[scrambled["scramble"] != "none"].join(none, on=by)
    span = (rows["ceiling"].astype(float) - rows["floor"].astype(float)).abs()
    span = span.where(span.notna(), rows["intact"].abs())
    return rows.assign(change=(rows["value"] - rows["intact"]) / span).reset_index(drop=True)


PARTS: Mapping[str, Sequence[str]] = {
    "encoder": ("encoder permuted", "encoder rotated"),
    "decoder": ("decoder permuted", "decoder rotated"),
    "latent biases": ("latent biases permuted",),
    "order of latents": ("both permuted alike",),
}
"""The scrambles that touch each part."""


def reads(found: pd.DataFrame, *, threshold: float = 0.01) -> pd.DataFrame:
    """With which parts each metric moves, from `changes`: a row per metric, a column per part.

    A part counts as read where a scramble of it moves the score by more than `threshold` of its scale, at any
    place and autoencoder.
    """
    largest = found.assign(size=found["change"].abs()).pivot_table(
        index="metric", columns="scramble", values="size", aggfunc="max", sort=False
    )
    tried = {part: [name for name in names if name in largest] for part, names in PARTS.items()}
    return pd.DataFrame({part: largest[names].max(axis=1) > threshold for part, names in tried.items()})
