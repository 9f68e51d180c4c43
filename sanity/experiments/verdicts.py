"""Verdicts as cells: every score in one table, the validity gates, and what they say about each claim.

Front page, chapter and command line read the same rows, by `verdict_tables`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.claims import (
    Ledger,
    ScoreChoice,
    book_folder,
    choices_of,
    chosen,
    claims_table,
    evaluate_with,
    gate_table,
    ledger_of,
    on_printed_numbers,
    printed_gaps,
    read_ledger,
    repeated,
    result_rows,
    with_imported,
    with_references,
)
from sanity.claims.schema import Scope, metrics_of, scope_of
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, missing, open_store, require
from sanity.evals.base import Eval
from sanity.evals.metric import METRICS, Metric
from sanity.experiments.analyses import analysis_modules, scored_cells
from sanity.experiments.gathering import gathered, gathering_cell
from sanity.experiments.kept_tables import imported_run, kept_runs
from sanity.experiments.planner import plan_grids
from sanity.experiments.plans import Plan
from sanity.experiments.reading import stack
from sanity.profiles import Profile

log = logging.getLogger("sanity")


@dataclass(frozen=True)
class Gating:
    """Which readings of corrupted references there are: (eval, place, subject, key); see `gate_table`."""

    readings: tuple[tuple[str, str, str | None, str], ...]
    alternatives: tuple[tuple[str, ...], ...]
    metrics: Mapping[str, Metric]


@computes("gates", version=1)
def judge_gates(task: Task) -> None:
    """The table `gates`: passed, failed or not available, for every metric and place."""
    task.save_table("gates", gates_of(task.config, {result.key: result for result in task.inputs.values()}))


def gates_of(config: Gating, results: Mapping[str, Result]) -> pd.DataFrame:
    """The gates of the readings that are there."""
    graded = [
        results[key].table("graded").assign(eval=one, place=place, subject=subject)
        for one, place, subject, key in config.readings
        if key in results
    ]
    return gate_table(stack(graded), metrics=config.metrics, alternatives=config.alternatives)


@dataclass(frozen=True)
class Judging:
    """The ledger as data, and what a claim means where its scope is silent."""

    profile: str
    ledger: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    primary: Mapping[str, Mapping[str, Any]]
    printed: Mapping[str, Mapping[str, float]]
    """What the paper prints on each claim, by metric: see `sanity.claims.printed_gaps`."""
    imported: tuple[tuple[str, str], ...] = ()
    """Runs made elsewhere that judge what this profile cannot: name, and hash of the provenance."""


@computes("verdicts", version=5)
def judge_claims(task: Task) -> None:
    """Every claim's verdict: `results` as data, and the front page's table `claims`."""
    scores, gates = task.inputs["scores"].table("scores"), task.inputs["gates"].table("gates")
    rows, table = judged(task.config, scores, gates)
    task.save_json("results", {"results": rows})
    task.save_table("claims", table)


def judged(
    config: Judging, scores: pd.DataFrame, gates: pd.DataFrame
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """The verdicts as data and as the front page's table."""
    ledger = ledger_of(config.ledger, metrics=config.metrics)
    runs = [imported_run(name, sha256) for name, sha256 in config.imported]
    own = choices_of(scores, gates, ledger, config.primary, runs)[""]
    found = with_imported(evaluate_with(own), ledger, runs)
    printed = {}
    for claim in ledger.claims:
        ranges = {metric: own.reach(scope_of(claim, metric), metric)[0] for metric in metrics_of(claim)}
        printed[claim.id] = on_printed_numbers(claim, ledger, config.printed.get(claim.id, {}), ranges)
    rows = result_rows(found, profile=config.profile, gates=gates, imported=runs)
    table = claims_table(found, profile=config.profile, gates=gates, printed=printed, imported=runs)
    return rows, table


@dataclass(frozen=True, eq=False)
class VerdictCells:
    """The three cells, each of which reads the one before."""

    scores: Cell
    gates: Cell
    verdicts: Cell
    ledger: Ledger

    @property
    def all(self) -> list[Cell]:
        """In order."""
        return [self.scores, self.gates, self.verdicts]


def verdict_cells(plan: Plan, ledger: Ledger | None = None) -> VerdictCells:
    """The cells that judge a ledger at a plan's profile: the book's, with the runs that are kept with it."""
    imported = () if ledger else tuple(kept_runs(but=plan.profile.name))
    ledger = ledger or book_ledger()
    metrics = _metrics(plan, ledger)
    scores = gathering_cell(plan, ledger, scored_cells(plan))
    readings = tuple((one.eval, one.place, one.source.subject, one.cell.key) for one in plan.graded)
    gates = judge_gates.cell(
        Gating(readings, tuple(_alternatives(plan.profile, ledger)), metrics),
        inputs={one.cell.key: one.cell for one in plan.graded},
        label="validity gates",
        stage="verdicts",
        cost=Cost(2.0),
    )
    verdicts = judge_claims.cell(
        Judging(
            plan.profile.name,
            ledger.content,
            metrics,
            primary_of(plan.profile, ledger),
            {claim.id: gaps for claim in ledger.claims if (gaps := printed_gaps(claim, ledger))},
            imported,
        ),
        inputs={"scores": scores, "gates": gates},
        label="verdicts on all claims",
        stage="verdicts",
        cost=Cost(5.0),
    )
    return VerdictCells(scores, gates, verdicts, ledger)


def book_ledger(path: Path | None = None) -> Ledger:
    """The book's ledger (or that at `path`), once all metrics are declared that it may name."""
    analysis_modules()
    return read_ledger(path)


def book_verdict_cells(plan: Plan) -> list[Cell]:
    """The cells that judge the book's ledger; none where there is no book."""
    return verdict_cells(plan).all if (book_folder() / "claims.yml").exists() else []


def _alternatives(profile: Profile, ledger: Ledger) -> Iterator[tuple[str, ...]]:
    """Evals of which the first counts that may: those of the grids of which only the first counts."""
    for entry in ledger.experiments.values():
        if entry.only_first:
            blocks = [block for grid in entry.grids for block in profile.grids.get(grid, ())]
            yield tuple(dict.fromkeys(one for block in blocks for one in block.evals))


def _metrics(plan: Plan, ledger: Ledger) -> dict[str, Metric]:
    """What the plan's evals and analyses measure, and what the ledger speaks of.

    Evals that somebody has declared and the profile does not use are left out: they change no key.
    """
    used = {type(cell.config.eval) for run in plan.runs for cell in run.scored.values()}
    unused = {name for kind in Eval.known.values() if kind not in used for name in kind.metrics}
    kept = {name for kind in used for name in kind.metrics} | {
        n for c in ledger.claims for n in metrics_of(c)
    }
    return {name: metric for name, metric in METRICS.items() if name in kept or name not in unused}


def primary_of(profile: Profile, ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Per experiment, what a claim means when it does not say it: the first values of its grid."""
    primary = {}
    for grid, (block, *_) in profile.grids.items():
        primary[grid] = {
            "world_or_hook": profile.place_of(block.scored_on or block.sources[0]),
            "architecture": block.architectures[0],
            "l0_target": block.l0[0],
            "learning_rate": block.learning_rates[0],
        }
    for name, entry in ledger.experiments.items():
        there = [grid for grid in (*entry.grids, *entry.pilots) if grid in profile.grids]
        if there:
            primary[name] = primary[there[0]]
    return primary


@dataclass(frozen=True, eq=False)
class VerdictTables:
    """What can be said of the claims at a profile."""

    scores: pd.DataFrame
    """Every score, one row per SAE and metric."""
    gates: pd.DataFrame
    """See `sanity.claims.gate_table`."""
    results: list[dict[str, Any]]
    """Every claim's verdict as data."""
    claims: pd.DataFrame
    """See `sanity.claims.claims_table`."""
    missing: int
    """Tables of scores and of gates that are not computed yet; what depends on them is open."""
    ledger: Ledger
    primary: Mapping[str, Mapping[str, Any]]
    choices: Mapping[str, ScoreChoice]
    """The scores as they judge claims: the reader's own by "", those of imported runs by their names."""
    imports: Mapping[str, str]
    """Commit, machine and date of the imported runs, by their names."""
    found: list[Result]
    """What was read, for provenance."""

    @property
    def judged_by(self) -> dict[str, str]:
        """Claim -> the imported run that judged it; empty for the reader's own."""
        return {row["id"]: row["imported"] for row in self.results}


def range_in_use(profile: Profile, scores: pd.DataFrame, experiment: str, metric: str) -> tuple[float, str]:
    """The range that margins on a metric are shares of, and the run whose pilot seeds measured it.

    Pilot seeds among `scores`, which are of `profile`, else an imported run's; else it is the declared one.
    """
    ledger, runs = book_ledger(), [imported_run(*one) for one in kept_runs(but=profile.name)]
    with_pilots = with_references(scores, ledger, runs)
    return chosen(with_pilots, ledger).reach(Scope(experiment=experiment), metric)


def verdict_tables(
    profile: Profile,
    store: LocalStore | None = None,
    *,
    ledger: Ledger | None = None,
    compute_missing: bool = False,
) -> VerdictTables:
    """The verdicts on a ledger (the book's) at `profile`, from the scores that are there.

    With `compute_missing` everything that is missing is computed first, training included. Else only the
    verdicts themselves are: where scores are missing, the others are judged, and nothing is stored.
    """
    store = store or open_store()
    cells = verdict_cells(plan_grids(profile), ledger)
    own = {cell.key for cell in cells.all}
    if compute_missing or all(cell.key in own for cell in missing(cells.all, store)):
        compute(cells.all, store, verify=False)
        found = [require(cell, store) for cell in cells.all]
        scores, gates = found[0].table("scores"), found[1].table("gates")
        rows, table = found[2].json("results")["results"], found[2].table("claims")
        absent = 0
    else:
        inputs = dict(cells.scores.inputs) | dict(cells.gates.inputs)
        known = {key: result for key in inputs if (result := store.get(key)) is not None}
        scores, gates = gathered(cells.scores.config, known), gates_of(cells.gates.config, known)
        rows, table = judged(cells.verdicts.config, scores, gates)
        found, absent = list(known.values()), len(inputs) - len(known)
    twice = repeated(scores)
    if len(twice):
        log.warning("%d scores have two values, so that claims on them are refused:\n%s", len(twice), twice)
    primary = cells.verdicts.config.primary
    runs = [imported_run(name, sha256) for name, sha256 in cells.verdicts.config.imported]
    choices = choices_of(scores, gates, cells.ledger, primary, runs)
    imports = {run.name: run.words for run in runs}
    scores = choices[""].scores
    return VerdictTables(scores, gates, rows, table, absent, cells.ledger, primary, choices, imports, found)
