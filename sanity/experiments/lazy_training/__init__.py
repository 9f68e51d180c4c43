"""The analysis `lazy_training`: how far directions move while an arm trains, and what cones allow.

The sweeps over the cone are grids of their own (`lazy_training_cones`, ...). Here is what is no score of one
SAE: followed trainings, output scales, the geometry of cones, and latents of one seed next to another's.
"""

from __future__ import annotations

import pandas as pd

from sanity.baselines import SoftFrozenDecoder, Untrained
from sanity.engine.cells import Cell
from sanity.experiments.lazy_training.geometry import PAPERS_SIZES
from sanity.experiments.lazy_training.planning import NAME, LazyFields, fields_of, parts, real_runs
from sanity.experiments.plans import Plan
from sanity.experiments.reading import Reader, stack

__all__ = ["LazyFields", "cells", "fields_of", "real_runs", "scored", "table"]


def cells(plan: Plan) -> list[Cell]:
    """All cells of the analysis."""
    return [cell for part in parts(plan).values() for _, cell in part]


def scored(plan: Plan) -> list[tuple[str, str, Cell]]:
    """Experiment, place and cell of the tables `scores` that claims may read.

    `lazy_training` is the trained arm of the primary grid on real activations at its end, next to it the
    untrained one, the directions of the soft-frozen arm, and what releasing its cone gains beyond noise;
    `lazy_training_tenth` are the same trainings at a tenth of their steps; `cone_geometry` is what the
    paper's formula and the cones' reach give, at its sizes.
    """
    found = parts(plan)
    wanted = {SoftFrozenDecoder(): "directions", Untrained(): "reconstruction"}
    others = [
        (run.place, run.scored[wanted[constraint]])
        for run in real_runs(plan)
        if (constraint := run.run.arm.constraint) in wanted and wanted[constraint] in run.scored
    ]
    papers = {size.name for size in PAPERS_SIZES}
    named = {
        NAME: [*found["end"], *others, *found["releasing"]],
        f"{NAME}_tenth": found["tenth"],
        "cone_geometry": [(size, cell) for size, cell in found["geometry"] if size in papers],
    }
    return [(experiment, place, cell) for experiment, part in named.items() for place, cell in part]


def table(read: Reader, part: str, name: str) -> pd.DataFrame:
    """The table `name` of a part of the analysis, of all its cells, with the place that each is about."""
    asked = parts(read.plan)[part]
    found = read.results([cell for _, cell in asked])
    frames = [
        result.table(name).assign(world_or_hook=place)
        for (place, _), result in zip(asked, found, strict=True)
    ]
    return stack(frames)
