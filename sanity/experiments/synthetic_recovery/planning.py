"""Which arms are trained on which worlds, and the tables that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import pandas as pd

from sanity.baselines import FrozenDecoder, Trained, Untrained
from sanity.data.synthetic import SyntheticSpec
from sanity.engine.cells import Cell, Cost, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.experiments.grid import architecture, arm, stack
from sanity.experiments.synthetic_recovery.references import UNTRAINED_RULES, dictionary_cells
from sanity.experiments.synthetic_recovery.runs import (
    EXPERIMENT,
    SignedBasis,
    ToyRun,
    TrueFeatures,
    train_on_world,
)
from sanity.models import Arm, Training
from sanity.profiles import ArmNames, Profile, World

PAPER_WORLDS = (SyntheticSpec(), SyntheticSpec(probabilities="variable"))
PAPER_L0 = 20
TRAINED = ArmNames(constraint="trained")
AUXILIARY = f"{EXPERIMENT}_auxiliary"
"""The experiment that scores of arms with the auxiliary loss are published under."""
AUXILIARY_COST = 4.0
"""How many times as long a step takes while most latents are dead and the auxiliary loss works on them."""
# An arm that only shows a reference needs no fine curve.
REFERENCE = Training(curve_points=20)


def spec_of(world: World, seed: int = 0) -> SyntheticSpec:
    """The synthetic world that a profile's entry describes."""
    return SyntheticSpec(**world.model_dump(), seed=seed)


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return [
        *grid_cells(profile),
        *rate_cells(profile),
        *auxiliary_cells(profile),
        *reference_cells(profile),
        *paper_cells(profile),
    ]


def grid_cells(profile: Profile) -> list[Cell]:
    """Worlds x architectures x arms x seeds."""
    grid = profile.toy
    made = []
    for world in grid.worlds:
        for name in grid.architectures:
            # The baselines are shown on one architecture, the trained arm and the untrained one on all.
            arms = grid.arms if name == grid.architectures[0] else _ends(grid.arms)
            made += [_named(profile, world, name, names, seed) for names in arms for seed in grid.seeds]
    return made


def rate_cells(profile: Profile) -> list[Cell]:
    """The trained arm of the named architectures at the other learning rates, on the first seed."""
    grid = profile.toy
    return [
        _named(profile, world, name, TRAINED, grid.seeds[0], learning_rate=rate)
        for rate in grid.other_learning_rates
        for world in grid.worlds
        for name in grid.learning_rate_architectures
    ]


def auxiliary_cells(profile: Profile) -> list[Cell]:
    """The trained arm of the named architectures with the auxiliary loss, on the first seed."""
    grid = profile.toy
    if grid.auxiliary is None:
        return []
    training = Training(auxiliary=grid.auxiliary.weight, dead_after_tokens=grid.auxiliary.dead_after_samples)
    return [
        _named(profile, world, name, TRAINED, grid.seeds[0], training=training)
        for world in grid.worlds
        for name in grid.auxiliary.architectures
    ]


def reference_cells(profile: Profile) -> list[Cell]:
    """What is known without learning it: the true dictionary under each encoder, and a signed basis.

    With `truth`: *untrained* is the tied encoder, *frozen decoder* a trained encoder on the true dictionary,
    *trained* starts at the truth and may leave it. The signed basis is left as it is.
    """
    grid = profile.toy
    if not grid.reference_steps:
        return []
    made = []
    for world in grid.worlds:
        spec = spec_of(world)
        for name in grid.architectures:
            tied, *learning = [
                Arm(
                    architecture(name, grid.l0),
                    world.n_features,
                    constraint,
                    TrueFeatures(spec),
                    grid.seeds[0],
                    grid.learning_rate,
                )
                for constraint in (Untrained(), FrozenDecoder(), Trained())
            ]
            if name in UNTRAINED_RULES:
                learning += [tied, replace(tied, init=SignedBasis(), d_sae=2 * world.d_in)]
            made += [_cell(profile, world, one, REFERENCE, grid.reference_steps) for one in learning]
    return made


def paper_cells(profile: Profile) -> list[Cell]:
    """Dictionaries that nobody trained, in the paper's two worlds, whatever the profile's sizes."""
    return dictionary_cells(PAPER_WORLDS, PAPER_L0)


def _ends(arms: Sequence[ArmNames]) -> list[ArmNames]:
    return [a for a in arms if a.constraint in ("trained", "untrained")]


def _named(
    profile: Profile,
    world: World,
    name: str,
    names: ArmNames,
    seed: int,
    *,
    learning_rate: float | None = None,
    training: Training | None = None,
) -> Cell:
    grid = profile.toy
    made = arm(
        names,
        architecture_name=name,
        l0=grid.l0,
        d_sae=grid.d_sae,
        seed=seed,
        learning_rate=learning_rate or grid.learning_rate,
    )
    return _cell(profile, world, made, training or Training(), grid.steps)


def _cell(profile: Profile, world: World, made: Arm, training: Training, steps: int) -> Cell:
    grid = profile.toy
    run = ToyRun(
        spec_of(world),
        made,
        grid.l0,
        grid.batch_size,
        steps,
        training,
        profile.precision,
        profile.device,
    )
    seconds = profile.training_seconds(
        batch_size=grid.batch_size, steps=steps, d_sae=made.d_sae, d_in=world.d_in
    )
    if training.auxiliary:  # dense products with most of the dictionary, once a collapse has begun
        seconds *= AUXILIARY_COST
    extra = f" with auxiliary loss {training.auxiliary:g}" if training.auxiliary else ""
    return train_on_world.cell(
        run,
        label=f"{world.probabilities} world, {made.label}{extra}",
        stage="toy",
        cost=Cost(
            seconds if made.constraint.learns else 1.0,
            disk_bytes=8 * made.d_sae * world.d_in + 100 * (made.d_sae + world.n_features) + 100_000,
        ),
    )


@dataclass(frozen=True)
class ToyTables:
    """What the chapter shows, one row each; the first three hold the grid alone.

    `latents` and `geometry` are of the grid's arms. `rates`, `auxiliary` and `references` are final scores
    of the cells of those names, the others what their names say. `untrained`
    holds dictionaries that nobody trained, at the paper's sizes.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    features: pd.DataFrame
    found: list[Result]
    latents: pd.DataFrame = field(default_factory=pd.DataFrame)
    geometry: pd.DataFrame = field(default_factory=pd.DataFrame)
    rates: pd.DataFrame = field(default_factory=pd.DataFrame)
    rate_geometry: pd.DataFrame = field(default_factory=pd.DataFrame)
    auxiliary: pd.DataFrame = field(default_factory=pd.DataFrame)
    auxiliary_geometry: pd.DataFrame = field(default_factory=pd.DataFrame)
    references: pd.DataFrame = field(default_factory=pd.DataFrame)
    reference_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    untrained: pd.DataFrame = field(default_factory=pd.DataFrame)


def tables(profile: Profile, store: LocalStore | None = None) -> ToyTables:
    """The chapter's tables, computed first where they are missing."""
    parts = [
        part(profile) for part in (grid_cells, rate_cells, auxiliary_cells, reference_cells, paper_cells)
    ]
    found = results([cell for part in parts for cell in part], store)
    ends = list(accumulate(map(len, parts), initial=0))
    grid, rates, auxiliary, references, untrained = (found[first:last] for first, last in pairwise(ends))
    return ToyTables(
        scores=_stacked(grid, "scores"),
        curves=_stacked(grid, "curve"),
        features=_stacked(grid, "features"),
        found=found,
        latents=_stacked(grid, "latents"),
        geometry=_stacked(grid, "geometry"),
        rates=_stacked(rates, "scores"),
        rate_geometry=_stacked(rates, "geometry"),
        # The same arms as the grid's on the same seed: under its name they would be second scores of those.
        auxiliary=_stacked(auxiliary, "scores").assign(experiment=AUXILIARY),
        auxiliary_geometry=_stacked(auxiliary, "geometry"),
        references=_stacked(references, "scores"),
        reference_curves=_stacked(references, "curve"),
        untrained=_stacked(untrained, "references"),
    )


def _stacked(found: Sequence[Result], name: str) -> pd.DataFrame:
    return stack([result.table(name) for result in found])
