"""All scores in one table: those of grids and analyses, at the end of training or before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from sanity.claims import SCORE_COLUMNS, Ledger
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.experiments.plans import Plan
from sanity.experiments.reading import stack


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores, and the experiment that it belongs to. An analysis has no grid and no eval."""

    experiment: str
    grid: str
    place: str
    eval: str
    scores: str
    """Key of the result with the table."""
    curve: str = ""
    """Key of the run, where the scores are those before the end of its training."""
    known_as: ClassVar[str] = "Part"


@dataclass(frozen=True)
class Gathering:
    """Which tables of scores there are, and how the ledger reads them."""

    parts: tuple[ScoreTable, ...]
    experiments: Mapping[str, Mapping[str, Any]]
    """Fields of `sanity.claims.Experiment` by name; the others are simply the grids of their name."""


@computes("gather scores", version=1)
def gather_scores(task: Task) -> None:
    """The table `scores`: all scores of all grids and analyses, one row per SAE and metric."""
    task.save_table("scores", gathered(task.config, {one.key: one for one in task.inputs.values()}))


def gathering_cell(plan: Plan, ledger: Ledger, analyses: Iterable[tuple[str, str, Cell]]) -> Cell:
    """The cell that gathers a plan's scores, with those of `analyses`: experiment, world or hook, cell."""
    parts: list[ScoreTable] = []
    cells: dict[str, Cell] = {}
    for run in plan.runs:
        for one, cell in run.scored.items():
            cells[cell.key] = cell
            for experiment in _experiments_of(run.grid, one, ledger):
                entry = ledger.experiments.get(experiment)
                early = entry is not None and entry.at is not None
                curve = run.trained.key if early else ""
                parts.append(ScoreTable(experiment, run.grid, run.place, one, cell.key, curve))
                cells |= {run.trained.key: run.trained} if early else {}
    for experiment, place, cell in analyses:
        parts.append(ScoreTable(experiment, "", place, "", cell.key))
        cells[cell.key] = cell
    experiments = {name: entry.model_dump() for name, entry in ledger.experiments.items()}
    return gather_scores.cell(
        Gathering(tuple(parts), experiments),
        inputs=cells,
        label="all scores in one table",
        stage="verdicts",
        cost=Cost(1.0 + 0.01 * len(cells)),
    )


def _experiments_of(grid: str, one: str, ledger: Ledger) -> list[str]:
    """The experiments that a grid's scores by an eval belong to: that of its name, or those that name it."""
    named = [
        name
        for name, entry in ledger.experiments.items()
        if grid in (*entry.grids, *entry.pilots) and (not entry.evals or one in entry.evals)
    ]
    taken = any(ledger.experiments[name].at is None for name in named)
    return named if taken else [grid, *named]


def gathered(config: Gathering, results: Mapping[str, Result]) -> pd.DataFrame:
    """The scores of those parts whose results are there, each once.

    Scores whose eval has noted the fact that `counts` is False are left out. Columns: those of the tables,
    `experiment`, `world_or_hook` and `eval` (its name in the profile).
    """
    kept: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for part in config.parts:
        rows = _rows(part, config.experiments.get(part.experiment, {}), results)
        if len(rows):
            kept.setdefault(part.experiment, {}).setdefault(part.grid, []).append(rows)
    frames: list[pd.DataFrame] = []
    for experiment, by_grid in kept.items():
        entry = config.experiments.get(experiment, {})
        listed = [grid for grid in entry.get("grids", ()) if grid in by_grid]
        grids = [*listed, *(grid for grid in by_grid if grid not in listed)]
        pilots = [grid for grid in grids if grid in entry.get("pilots", ())]
        judged = [grid for grid in grids if grid not in pilots]
        for grid in [*(judged[:1] if entry.get("only_first") else judged), *pilots]:
            frames += by_grid[grid]
    if not frames:
        return pd.DataFrame(columns=[*SCORE_COLUMNS, "eval"])
    scores = stack(frames)
    scores["objective"] = scores["objective"].fillna("plain") if "objective" in scores else "plain"
    if "trained_on_noise" in scores:
        scores["trained_on_noise"] = scores["trained_on_noise"].eq(True)
    return scores.drop_duplicates([c for c in scores if c != "eval"], ignore_index=True)


def _rows(part: ScoreTable, entry: Mapping[str, Any], results: Mapping[str, Result]) -> pd.DataFrame:
    """The scores of a part; none where they are missing or do not count."""
    result, curve = results.get(part.scores), results.get(part.curve)
    nothing = pd.DataFrame()
    if result is None or (part.curve and (curve is None or "curve.parquet" not in curve.files)):
        return nothing  # what was made and not trained (an MLP's own neurons, say) has no curve
    if "facts.json" in result.files and result.json("facts").get("counts") is False:
        return nothing
    scores = result.table("scores")
    if curve is not None:
        scores = scores_before_the_end(scores, curve.table("curve"), entry["at"], entry["metrics"])
    about = {"experiment": part.experiment, "world_or_hook": part.place, "eval": part.eval}
    return scores.assign(**{name: value for name, value in about.items() if name not in scores})


def scores_before_the_end(
    scores: pd.DataFrame, curve: pd.DataFrame, at: float, metrics: Sequence[str]
) -> pd.DataFrame:
    """The scores of a run as they were after the share `at` of its samples, read off its curve.

    Taken is the step nearest to it at which everything asked for was measured; floor, ceiling and the rest
    stay those of the end. Metrics that the curve does not have are left out.
    """
    held_out = {name: f"{name}_held_out" for name in metrics if f"{name}_held_out" in curve}
    columns = {name: name for name in metrics if name in curve} | held_out
    rows = scores[scores["metric"].isin(list(columns))]
    known = curve.dropna(subset=list(columns.values()))
    if rows.empty or known.empty:
        return rows.iloc[:0]
    distance = (known["samples_seen"] - at * known["samples_seen"].max()).abs()
    then = known.loc[distance.idxmin()]
    return rows.assign(value=[float(then[columns[name]]) for name in rows["metric"]])
