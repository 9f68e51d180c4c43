"""Which references are corrupted and which autoencoders scrambled, and the tables that this makes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sanity.engine.cells import Cell, Cost, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.experiments import real_activations, sparse_probing, synthetic_recovery
from sanity.experiments.grid import stack
from sanity.experiments.metric_validity.corrupting import (
    KINDS,
    ActivationCorruption,
    TruthCorruption,
    corrupt_activation,
    corrupt_truth,
)
from sanity.experiments.metric_validity.scrambling import (
    Alignments,
    ProbedScrambles,
    RealScrambles,
    ToyScrambles,
    align_directions,
    scramble_probing,
    scramble_real,
    scramble_toy,
)
from sanity.experiments.real_activations import PlaceCells
from sanity.models import Trained
from sanity.profiles import Profile, World

# Seconds of one thread: one reading of 2,048 samples with 640 features in 40 dimensions takes 0.1.
_SECONDS_PER_READING = 0.1 / (2048 * 640 * 40)
# One pass of a token through the layers above the hook, as tokens harvested; and one model load.
_PASS, _LOAD_SECONDS = 2.4, 4.0


def truth_cells(profile: Profile) -> list[Cell]:
    """Every kind of corruption of every world's true dictionary."""
    return [_truth_cell(profile, world, kind) for world in profile.toy.worlds for kind in KINDS]


def _truth_cell(profile: Profile, world: World, kind: str) -> Cell:
    grid = profile.validity
    config = TruthCorruption(
        synthetic_recovery.spec_of(world),
        profile.toy.l0,
        kind,
        grid.levels,
        grid.seeds,
        grid.samples,
        profile.device,
    )
    each = _SECONDS_PER_READING * grid.samples * world.n_features * world.d_in
    return corrupt_truth.cell(
        config,
        label=f"{world.probabilities} world, the truth {kind}",
        stage="toy",
        cost=Cost(1.0 + each * len(grid.levels) * len(grid.seeds)),
    )


def activation_cells(profile: Profile) -> list[Cell]:
    """The activation on its way to its mean, at every place."""
    grid, made = profile.validity, []
    for model in profile.models:
        place = real_activations.plan_place(profile, model)
        config = ActivationCorruption(
            place.loss[0].config.place, grid.levels, grid.seeds, grid.rows, grid.tokens, profile.device
        )
        passes = len(grid.seeds) * (len(grid.levels) + 2) * grid.tokens
        made.append(
            corrupt_activation.cell(
                config,
                inputs=place.activations,
                label=f"{model.subject} {model.hook}, the activation towards its mean",
                stage="downstream",
                cost=Cost(_LOAD_SECONDS + _PASS * passes / model.tokens_per_second),
            )
        )
    return made


def scramble_cells(profile: Profile) -> list[Cell]:
    """A trained arm of every world and place, scrambled."""
    grid = profile.validity
    seed = grid.seeds[0]
    made = []
    for world in profile.toy.worlds:
        sae = _trained_toy(profile, world)
        config = ToyScrambles(sae.config, grid.samples, seed)
        label = f"{world.probabilities} world, scrambled"
        made.append(scramble_toy.cell(config, inputs={"sae": sae}, label=label, stage="toy", cost=Cost(3.0)))
    for model in profile.models:
        place = real_activations.plan_place(profile, model)
        real = RealScrambles(place.loss[0].config.place, grid.rows, grid.tokens, seed, profile.device)
        made.append(
            scramble_real.cell(
                real,
                inputs={"sae": _trained_real(place), **place.activations},
                label=f"{model.subject} {model.hook}, scrambled",
                stage="downstream",
                cost=Cost(2 + _LOAD_SECONDS + _PASS * 10 * grid.tokens / model.tokens_per_second),
            )
        )
    return made


def probing_cells(profile: Profile) -> list[Cell]:
    """A trained arm of every place, scrambled and probed."""
    made = []
    for model in profile.models:
        sae = _trained_real(real_activations.plan_place(profile, model))
        probing, seed = sparse_probing.plan(profile, model), sae.config.arm.seed
        inputs = {"texts": probing.texts, "train": probing.train, "references": probing.references[seed]}
        config = ProbedScrambles(model.hook, seed, profile.validity.seeds[0], profile.device)
        made.append(
            scramble_probing.cell(
                config,
                inputs={"sae": sae, **inputs},
                label=f"{model.subject} {model.hook}, scrambled and probed",
                stage="downstream",
                cost=Cost(4.0),
            )
        )
    return made


def alignment_cells(profile: Profile) -> list[Cell]:
    """The directions of every arm of the primary grids, on the first seed."""
    made = []
    for model in profile.models:
        place = real_activations.plan_place(profile, model)
        first = [c for c in place.primary if c.config.arm.seed == profile.real.seeds[0]]
        inputs = {f"arm {number}": cell for number, cell in enumerate(first)}
        arms = tuple((name, cell.config.arm, cell.config.l0) for name, cell in inputs.items())
        made.append(
            align_directions.cell(
                Alignments(arms, model.hook),
                inputs={"train": place.activations["train"], **inputs},
                label=f"{model.subject} {model.hook}, directions",
                stage="downstream",
                cost=Cost(2.0),
            )
        )
    return made


def _trained_toy(profile: Profile, world: World) -> Cell:
    """The trained arm of a world's first architecture and seed."""
    spec = synthetic_recovery.spec_of(world)
    return next(
        cell
        for cell in synthetic_recovery.grid_cells(profile)
        if cell.config.world == spec and cell.config.arm.constraint == Trained()
    )


def _trained_real(place: PlaceCells) -> Cell:
    return next(cell for cell in place.primary if cell.config.arm.constraint == Trained())


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return [
        *truth_cells(profile),
        *activation_cells(profile),
        *scramble_cells(profile),
        *probing_cells(profile),
        *alignment_cells(profile),
    ]


@dataclass(frozen=True)
class ValidityTables:
    """What the chapter shows: readings of corrupted references, of scrambled arms, and directions."""

    graded: pd.DataFrame
    """place, kind, metric, level, seed, value, floor, ceiling, n."""
    scrambled: pd.DataFrame
    """place, sae, scramble, metric, value, floor, ceiling, n."""
    alignment: pd.DataFrame
    found: list[Result]


def graded(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Readings of the corrupted references that this chapter makes itself."""
    found = results([*truth_cells(profile), *activation_cells(profile)], store)
    return stack([result.table("graded") for result in found]), found


def tables(profile: Profile, store: LocalStore | None = None) -> ValidityTables:
    """The chapter's tables, computed first where they are missing."""
    readings, found = graded(profile, store)
    scrambled = results([*scramble_cells(profile), *probing_cells(profile)], store)
    aligned = results(alignment_cells(profile), store)
    return ValidityTables(
        graded=readings,
        scrambled=stack([result.table("scrambled") for result in scrambled]),
        alignment=stack([result.table("alignment") for result in aligned]),
        found=[*found, *scrambled, *aligned],
    )
