"""Interpretability of all arms of a grid as if their latents fired equally often: a cell per grid and place.

It compares SAEs with each other, so it is no score of one of them.
"""

from __future__ import annotations

from sanity.engine.cells import Cell, Task, computes
from sanity.evals.interpretability import Interpretability
from sanity.evals.interpretability.frequencies import frequency_matched
from sanity.experiments.plans import Plan, PlannedRun
from sanity.experiments.reading import stack


@computes("equal frequencies", version=1)
def match_frequencies(task: Task) -> None:
    """A table `scores`: a row for each SAE whose latents were scored."""
    latents = stack(
        [result.table("latents") for result in task.inputs.values() if "latents.parquet" in result.files]
    )
    task.save_table("scores", frequency_matched(latents, task.config["about"]))


def scored(plan: Plan) -> list[tuple[str, str, Cell]]:
    """Grid, place and cell wherever latents of several SAEs are scored by the same eval."""
    groups: dict[tuple[str, str, str], list[tuple[PlannedRun, Cell]]] = {}
    for run in plan.runs:
        for name, cell in run.scored.items():
            if isinstance(cell.config.eval, Interpretability):
                groups.setdefault((run.grid, run.place, name), []).append((run, cell))
    return [
        (
            grid,
            place,
            match_frequencies.cell(
                {"about": [*{**some[0][0].run.columns(), **some[0][0].scored_on.columns()}]},
                inputs={f"{i:04}": cell for i, (_, cell) in enumerate(some)},
                label=f"{name.replace('_', ' ')} in {place} at equal frequencies",
                stage=name,
                threads=1,
            ),
        )
        for (grid, place, name), some in groups.items()
    ]


def cells(plan: Plan) -> list[Cell]:
    """The cells of this analysis."""
    return [cell for _, _, cell in scored(plan)]
