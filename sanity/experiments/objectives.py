"""Cells of the chapter `objectives`: what other objectives buy in recovery, at equal budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import (
    HeldOutEVProbe,
    RecoveryProbe,
    log_any_above,
    max_cosines,
    mean_matched_cosine,
    mean_max_cosine,
    reconstruction_scores,
    recovery,
)
from sanity.experiments.grid import architecture as architecture_of
from sanity.experiments.grid import at_matched_l0, describe, named_curve, score_rows, stack
from sanity.models import Arm, Training, load_sae, save_sae, train
from sanity.models.objectives import (
    Agreement,
    Auxiliary,
    EvenEncoder,
    Incoherence,
    Plain,
    Resampling,
    Restarts,
    TopKFirst,
    agreed_latents,
)
from sanity.profiles import Profile

EXPERIMENT = "objectives"
HELD_OUT_SAMPLES = 8192
FIRST_HELD_OUT_STEP = 2**31
FIRST_CALIBRATION_STEP = 2**31 + 2**30
AGREE = 0.8
"""Cosine from which two directions count as one: the paper's bar for recovery."""
_MEASURING_SECONDS = 0.3
"""Per run, beside its steps."""
_STEP_SECONDS = 0.9e-3
"""Per step, for arms so small that their products are not all that a step costs."""
AIMS: dict[str, Plain] = {
    "plain": Plain(),
    "auxiliary": Auxiliary(),
    "incoherence": Incoherence(),
    "even_encoder": EvenEncoder(),
    "restarts": Restarts(),
    "resampling": Resampling(),
    "agreement": Agreement(),
    "topk_first": TopKFirst(),
}
"""By the names that profiles use."""


@dataclass(frozen=True)
class AimedRun:
    """One arm with one aim."""

    world: SyntheticSpec
    arm: Arm
    aim: Plain
    batch_size: int
    steps: int
    training: Training
    precision: Literal["float32", "bf16"]
    device: str


@computes(version=1, threads=1)
def train_with_aim(task: Task) -> None:
    """Train one arm with one aim; keep scores, curve and the SAE."""
    run: AimedRun = task.config
    world = SyntheticWorld.from_spec(run.world, device=run.device)
    stream = SyntheticStream(world, batch_size=run.batch_size, seed=run.arm.seed)
    held_out, calibration = (
        torch.cat([stream.batch(first + i) for i in range(-(-HELD_OUT_SAMPLES // run.batch_size))])
        for first in (FIRST_HELD_OUT_STEP, FIRST_CALIBRATION_STEP)
    )
    (made,) = train(
        [run.arm],
        stream,
        steps=run.steps,
        training=run.training,
        objective=run.aim,
        probes=[HeldOutEVProbe(held_out), RecoveryProbe(world.features)],
        precision=run.precision,
    )
    l0 = round(run.arm.architecture.l0)
    sae = at_matched_l0(made.sae, calibration, l0)
    about = describe(EXPERIMENT, "constant", run.arm, l0) | {"aim": run.aim.name}
    scores = [
        *reconstruction_scores(sae, [held_out]).values(),
        recovery(world.features, sae.W_dec),
        mean_max_cosine(world.features, sae.W_dec),
        mean_matched_cosine(world.features, sae.W_dec),
    ]
    task.save_table("scores", pd.DataFrame(score_rows(about, scores)))
    task.save_table("curve", named_curve(made.curve).assign(**about))
    save_sae(sae, task.folder / "sae")


def world_of_grid(profile: Profile) -> SyntheticSpec:
    """The one world of the chapter: equally frequent features, one per latent."""
    grid = profile.objectives
    return SyntheticSpec(d_in=grid.d_in, n_features=grid.d_sae, expected_l0=float(grid.l0))


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter: architectures x aims x seeds."""
    grid = profile.objectives
    return [
        _cell(profile, name, aim, seed)
        for name, aims in grid.aims.items()
        for aim in dict.fromkeys(("plain", *aims))
        for seed in grid.seeds
    ]


def aim_of(profile: Profile, name: str) -> Plain:
    """The aim that a profile names, with the profile's idea of a dead latent."""
    if name not in AIMS:
        raise BadInputError(f"no aim is called {name!r}; there are: {', '.join(AIMS)}")
    aim = AIMS[name]
    if isinstance(aim, Auxiliary | Resampling):
        return replace(aim, dead_after_tokens=profile.objectives.dead_after_tokens)
    return aim


def _cell(profile: Profile, name: str, aim: str, seed: int) -> Cell:
    grid = profile.objectives
    arm = Arm(architecture_of(name, grid.l0), grid.d_sae, seed=seed, learning_rate=grid.learning_rate)
    run = AimedRun(
        world_of_grid(profile),
        arm,
        aim_of(profile, aim),
        grid.batch_size,
        grid.steps,
        Training(),
        profile.precision,
        profile.device,
    )
    trained = profile.training_seconds(
        batch_size=grid.batch_size, steps=grid.steps, d_sae=grid.d_sae, d_in=grid.d_in
    )
    # `training_seconds` counts a second beside the steps.
    seconds = trained - 1.0 + _MEASURING_SECONDS + _STEP_SECONDS * grid.steps
    return train_with_aim.cell(
        run,
        label=f"{run.aim.name}: {arm.label}",
        stage="toy",
        cost=Cost(seconds, disk_bytes=8 * grid.d_sae * grid.d_in + 30_000),
    )


@dataclass(frozen=True)
class AimTables:
    """What the chapter shows.

    `scores` and `curves` have a column `aim`. `gains` has a row per architecture, aim and seed: what the aim
    changes against plain training of the same seed. `agreement` has a row per architecture and pair of seeds.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    gains: pd.DataFrame
    agreement: pd.DataFrame
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> AimTables:
    """The chapter's tables, computed first where they are missing."""
    planned = cells(profile)
    found = results(planned, store)
    scores, curves = (stack([r.table(name) for r in found]) for name in ("scores", "curve"))
    return AimTables(scores, curves, gains(scores, curves), _agreement(profile, planned, found), found)


def gains(scores: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """What each aim changes against plain training of the same architecture and seed.

    Columns: explained_variance, recovery, dead_latents, l0 of the aim; `ev_gain` and `recovery_gain` at the
    end; `equal_ev`, the highest explained variance that both reach, and the recovery that either has when it
    first gets there (`recovery_at_equal_ev`, `plain_at_equal_ev`).
    """
    ends: dict[tuple[str, str, Any], dict[str, float]] = {}
    for row in scores[["architecture", "aim", "seed", "metric", "value"]].itertuples(index=False):
        name, aim, seed, metric, value = row
        ends.setdefault((name, aim, seed), {})[metric] = value
    rows = []
    for (name, aim, seed), final in ends.items():
        plain = ends[name, Plain.name, seed]
        mine, base = (_path(curves, name, one, seed) for one in (aim, Plain.name))
        equal = min(mine[0].max(), base[0].max())
        about: dict[str, Any] = {"architecture": name, "aim": aim, "seed": seed}
        gained = {
            "ev_gain": final["explained_variance"] - plain["explained_variance"],
            "recovery_gain": final["recovery"] - plain["recovery"],
            "equal_ev": equal,
            "recovery_at_equal_ev": _when_first(mine, equal),
            "plain_at_equal_ev": _when_first(base, equal),
        }
        rows.append({**about, **final, **gained})
    return pd.DataFrame(rows)


Path = tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]


def _path(curves: pd.DataFrame, name: str, aim: str, seed: object) -> Path:
    """Held-out explained variance and recovery along a run."""
    of = (curves["architecture"] == name) & (curves["aim"] == aim) & (curves["seed"] == seed)
    rows = curves[of].dropna(subset=["recovery"]).sort_values("samples")
    return rows["explained_variance_held_out"].to_numpy(float), rows["recovery"].to_numpy(float)


def _when_first(path: Path, level: float) -> float:
    """Recovery where explained variance first reaches `level`, between two measurements by interpolation."""
    ev, found = path
    at = int(np.argmax(ev >= level - 1e-12))
    if at == 0:
        return float(found[0])
    part = (level - ev[at - 1]) / (ev[at] - ev[at - 1])
    return float(found[at - 1] + part * (found[at] - found[at - 1]))


def _agreement(profile: Profile, planned: list[Cell], found: list[Result]) -> pd.DataFrame:
    """Of plain runs: whether latents that another seed has too are true features more often than others."""
    features = SyntheticWorld.from_spec(world_of_grid(profile)).features
    runs: dict[str, list[tuple[int, torch.Tensor]]] = {}
    for cell, result in zip(planned, found, strict=True):
        if type(cell.config.aim) is Plain:
            W_dec = load_sae(result.folder("sae")).W_dec
            runs.setdefault(type(cell.config.arm.architecture).__name__.lower(), []).append(
                (cell.config.arm.seed, W_dec)
            )
    rows = []
    for name, seeds in runs.items():
        for (seed, W_dec), (other, against) in pairwise(seeds):
            shared = agreed_latents(W_dec, [against], AGREE)
            true = max_cosines(W_dec, features) > AGREE
            rows.append(
                {
                    "architecture": name,
                    "seeds": f"{seed}, {other}",
                    "shared": float(shared.double().mean()),
                    "chance": math.exp(log_any_above(W_dec.shape[1], len(against), AGREE)),
                    "true_if_shared": _share(true, shared),
                    "true_if_not": _share(true, ~shared),
                    "found_by_sharing": _share(shared, true),
                }
            )
    return pd.DataFrame(rows)


def _share(what: torch.Tensor, among: torch.Tensor) -> float:
    return float(what[among].double().mean()) if bool(among.any()) else float("nan")


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing.

    An aim's runs are placed in `constant, AIM`; plain ones in `constant`.
    """
    if not profile.objectives.aims:
        return pd.DataFrame(), []
    found = results(cells(profile), store)
    rows = stack([r.table("scores") for r in found])
    place = rows["aim"].map(lambda aim: "constant" if aim == Plain.name else f"constant, {aim}")
    return rows.assign(world_or_hook=place, subject=None), found
