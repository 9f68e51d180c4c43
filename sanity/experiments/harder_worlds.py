"""Cells of the chapter `harder_worlds`: worlds beyond the paper's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sanity.data import Correlation, HarderSpec, Hierarchy, Zipf
from sanity.engine.cells import Cell, Cost, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.experiments.grid import arm, stack
from sanity.experiments.harder_worlds_runs import (
    EXPERIMENT,
    HELD_OUT_SAMPLES,
    Comparison,
    HarderRun,
    about_arm,
    compare_with_sae_lens,
    sae_lens_version,
    train_on_harder_world,
)
from sanity.models import Training
from sanity.profiles import ArmNames, Profile
from sanity.profiles.worlds import HarderWorldEntry, Misfit

__all__ = ["EXPERIMENT", "HarderTables", "cells", "scores", "spec_of", "tables"]

CLAIMED = (
    "explained_variance", "l0", "dead_latents", "recovery", "frequency_weighted_recovery", "mean_max_cosine",
    "mean_matched_cosine", "detection_f1",
)  # fmt: skip
"""Metrics that the ledger of claims knows."""

Placed = tuple[str, Cell]
"""A cell with the name of its world, which is no part of what is computed."""


def spec_of(profile: Profile, world: HarderWorldEntry) -> HarderSpec:
    """The world that a profile's entry describes."""
    grid = profile.worlds
    return HarderSpec(
        d_in=grid.d_in,
        n_features=grid.d_sae,
        expected_l0=float(grid.l0),
        zipf=None if world.zipf is None else Zipf(**world.zipf.model_dump()),
        correlation=None if world.correlation is None else Correlation(**world.correlation.model_dump()),
        hierarchy=None if world.hierarchy is None else Hierarchy(**world.hierarchy.model_dump()),
        noise=world.noise,
    )


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    placed = [*world_cells(profile), *misfit_cells(profile), *comparison_cells(profile)]
    return [cell for _, cell in placed]


def world_cells(profile: Profile) -> list[Placed]:
    """Worlds x arms x seeds."""
    grid = profile.worlds
    return [
        (world.name, _cell(profile, world, names, seed, Misfit(name="")))
        for world in grid.worlds
        for seed in grid.seeds
        for names in grid.arms
    ]


def misfit_cells(profile: Profile) -> list[Placed]:
    """The first world with dictionaries of another sparsity or size."""
    grid = profile.worlds
    return [
        (misfit.name, _cell(profile, grid.worlds[0], names, seed, misfit))
        for misfit in grid.misfits
        for seed in grid.misfit_seeds
        for names in grid.misfit_arms
    ]


def comparison_cells(profile: Profile) -> list[Placed]:
    """The first seed's arms of every world as sae-lens scores them; none where it is not installed."""
    version, grid = sae_lens_version(), profile.worlds
    if version is None:
        return []
    made = []
    for name, cell in world_cells(profile):
        if cell.config.arm.seed == grid.seeds[0]:
            config = Comparison(cell.config, HELD_OUT_SAMPLES, version)
            comparison = compare_with_sae_lens.cell(
                config,
                inputs={"sae": cell},
                label=f"{name} world, {cell.config.arm.label}: scored by sae-lens too",
                stage="toy",
                cost=Cost(_COMPARISON_SECONDS, disk_bytes=10_000, memory_bytes=1_500_000_000),
            )
            made.append((name, comparison))
    return made


_COMPARISON_SECONDS = 0.3
"""Loading the library included, which is done once for all of them."""
_MEASURING_SECONDS = 0.4
"""Per arm, beside its steps."""
_STEP_SECONDS = 0.9e-3
"""Per step, for arms so small that their products are not all that a step costs."""
_DRAWING_SECONDS = 8e-9
"""Per sample and feature, where features are dependent: drawn on the CPU once for all arms of a group."""


def _cell(profile: Profile, world: HarderWorldEntry, names: ArmNames, seed: int, misfit: Misfit) -> Cell:
    grid = profile.worlds
    made = arm(
        names,
        architecture_name=grid.architecture,
        l0=misfit.l0 or grid.l0,
        d_sae=misfit.d_sae or grid.d_sae,
        seed=seed,
        learning_rate=grid.learning_rate,
    )
    run = HarderRun(
        spec_of(profile, world),
        made,
        grid.batch_size,
        grid.steps,
        Training(),
        profile.precision,
        profile.device,
    )
    seconds = _training_seconds(profile, world, made.d_sae)
    return train_on_harder_world.cell(
        run,
        label=f"{misfit.name or world.name} world, {made.label}",
        stage="toy",
        cost=Cost(seconds if made.constraint.learns else 0.5, disk_bytes=8 * made.d_sae * grid.d_in + 50_000),
    )


def _training_seconds(profile: Profile, world: HarderWorldEntry, d_sae: int) -> float:
    grid = profile.worlds
    trained = profile.training_seconds(
        batch_size=grid.batch_size, steps=grid.steps, d_sae=d_sae, d_in=grid.d_in
    )
    drawn = 0.0
    if profile.device == "cpu" and (world.correlation is not None or world.hierarchy is not None):
        drawn = _DRAWING_SECONDS * grid.steps * grid.batch_size * grid.d_sae / len(grid.arms)
    # `training_seconds` counts a second beside the steps.
    return trained - 1.0 + _MEASURING_SECONDS + _STEP_SECONDS * grid.steps + drawn


@dataclass(frozen=True)
class HarderTables:
    """What the chapter shows.

    `scores` and `curves` are of the worlds, `misfits` final scores of dictionaries that do not fit;
    `absorption` has a row per arm that recovered a parent; `comparison` a row per arm and score.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    misfits: pd.DataFrame
    absorption: pd.DataFrame
    comparison: pd.DataFrame
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> HarderTables:
    """The chapter's tables, computed first where they are missing."""
    worlds, misfits, compared = (part(profile) for part in (world_cells, misfit_cells, comparison_cells))
    found = results([cell for _, cell in (*worlds, *misfits, *compared)], store)
    ends = (len(worlds), len(worlds) + len(misfits))
    main, other, side = found[: ends[0]], found[ends[0] : ends[1]], found[ends[1] :]
    absorbed = [
        pd.DataFrame([{**_about(name, cell), **result.json("absorption")}])
        for (name, cell), result in zip(worlds, main, strict=True)
        if result.json("absorption")
    ]
    both = [
        result.table("scores").assign(**_about(name, cell.inputs[0][1]))
        for (name, cell), result in zip(compared, side, strict=True)
    ]
    return HarderTables(
        scores=_named(worlds, main, "scores"),
        curves=_named(worlds, main, "curve"),
        misfits=_named(misfits, other, "scores"),
        absorption=stack(absorbed),
        comparison=stack(both),
        found=found,
    )


def _named(placed: Sequence[Placed], found: Sequence[Result], table: str) -> pd.DataFrame:
    return stack(
        [r.table(table).assign(world_or_hook=name) for (name, _), r in zip(placed, found, strict=True)]
    )


def _about(name: str, cell: Cell) -> dict[str, Any]:
    return {**about_arm(cell.config.arm), "world_or_hook": name}


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing."""
    if not profile.worlds.worlds:
        return pd.DataFrame(), []
    made = tables(profile, store)
    rows = stack([made.scores, made.misfits])
    return rows[rows["metric"].isin(CLAIMED)].assign(subject=None), made.found
