"""Tables of a run that is too long for a reader's evening, kept with the book under `results/`: read here.

They are written by `sanity.experiments.exporting`. Every file is held against the SHA-256 that the
provenance names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.claims import ImportedRun
from sanity.engine.cells import Result
from sanity.engine.files import read_json, sha256_of
from sanity.engine.store import home
from sanity.errors import BadInputError
from sanity.experiments.plans import Plan, PlannedRun

PROVENANCE = "provenance.json"
_NAMING = (
    *("world_or_hook", "architecture", "constraint", "init", "objective", "seed"),
    *("learning_rate", "l0_target", "d_sae", "samples"),
)
"""Columns that tell the SAEs of one profile apart."""


@dataclass(frozen=True)
class KeptTables:
    """Tables of a run made elsewhere, by name, and their provenance."""

    tables: Mapping[str, pd.DataFrame]
    provenance: dict[str, Any]

    @property
    def words(self) -> str:
        """Where the run was made: commit, machine, torch and date."""
        facts = self.provenance
        parts = [one.partition("+") for one in facts["commits"]]
        commits = ", ".join(f"{name[:8]}{sign}{rest}" for name, sign, rest in parts)
        machines = {
            f"{one['cpu']['cores']} cores ({one['cpu']['model']}), torch {one['versions']['torch']}": None
            for one in facts["machines"]
        }
        return f"commit {commits}, {'; '.join(machines)}, finished {facts['finished'][:10]}"

    def of(self, table: str, experiment: str) -> pd.DataFrame:
        """The rows of an experiment in a table."""
        rows = self.tables[table]
        return rows[rows["experiment"] == experiment].reset_index(drop=True)

    def runs_of(self, plan: Plan, read_by: str) -> list[PlannedRun]:
        """The runs of a plan that are kept here as they would be computed.

        `read_by` is the digest of how a ledger reads experiments, which decides what their scores are.
        """
        if self.provenance.get("read_by") != read_by:
            return []
        there = {key: set(one["cells"]) for key, one in self.provenance["runs"].items()}
        return [run for run in plan.runs if _cells(run) <= there.get(run.trained.key, set())]

    def rows_of(self, table: str, runs: Sequence[PlannedRun], analyses: bool = False) -> pd.DataFrame:
        """The rows of some runs in a table, and with `analyses` those that are no eval's."""
        rows = self.tables.get(table, pd.DataFrame())
        if rows.empty:
            return rows
        wanted = {_name({"world_or_hook": run.place, **run.run.columns()}) for run in runs}
        evals = rows["eval"] if "eval" in rows else ["some"] * len(rows)
        chosen = [
            _name(row) in wanted if one else analyses
            for one, row in zip(evals, rows[list(_NAMING)].to_dict("records"), strict=True)
        ]
        kept: pd.DataFrame = rows[chosen]
        return kept


def _cells(run: PlannedRun) -> set[str]:
    return {cell.key for cell in run.scored.values()}


def _name(row: Mapping[Any, Any]) -> str:
    """Of an SAE, from the columns of its rows; a number is the same in any type."""
    values = [row[name] for name in _NAMING]
    return "|".join(str(one) if isinstance(one, str) else f"{one:.6g}" for one in values)


def provenance_of(
    trained: Sequence[tuple[PlannedRun, Result]], before: KeptTables | None, kept: Sequence[PlannedRun]
) -> dict[str, Any]:
    """Where runs come from: each by its key, with those of its scores, its seconds and its machine; and sums.

    Those that were `kept` are taken from the provenance `before`.
    """
    nothing: dict[str, Any] = {"runs": {}, "machines": [], "commits": [], "finished": ""}
    known = before.provenance if before and kept else nothing
    machines = list(known["machines"])
    runs = {run.trained.key: known["runs"][run.trained.key] for run in kept}
    for run, result in trained:
        made = result.manifest["provenance"]
        machine = {name: made[name] for name in ("cpu", "memory_bytes", "platform", "versions")}
        if machine not in machines:
            machines.append(machine)
        runs[run.trained.key] = {
            "label": run.trained.label,
            "cells": sorted(_cells(run) | set(runs.get(run.trained.key, {}).get("cells", ()))),
            "seconds": round(result.manifest["seconds"], 1),
            "machine": machines.index(machine),
            "commit": made["commit"],
            "seed": run.run.arm.seed,
            "samples": run.run.budget.samples,
        }
    made_now = [result.manifest for _, result in trained]
    return {
        "runs": runs,
        "machines": machines,
        "commits": sorted({*known["commits"], *(str(one["provenance"]["commit"]) for one in made_now)}),
        "finished": max([known["finished"], *(one["finished"] for one in made_now)]),
        "seeds": sorted({run["seed"] for run in runs.values()}),
        "samples": sorted({run["samples"] for run in runs.values()}),
        "seconds": round(sum(run["seconds"] for run in runs.values()), 1),
    }


def results_folder() -> Path:
    """Where runs are kept: a folder for each."""
    return home() / "results"


def kept_tables(name: str, folder: Path | None = None) -> KeptTables | None:
    """The run `name` that is kept in `folder` (the book's `results/`), or None where there is none.

    Raises `BadInputError` for a file that is not the one whose SHA-256 the provenance names.
    """
    folder = (folder or results_folder()) / name
    if not (folder / PROVENANCE).exists():
        return None
    facts: dict[str, Any] = read_json(folder / PROVENANCE)
    if "machines" not in facts:
        raise BadInputError(
            f"{folder} was kept by an earlier version, which did not note how each run was scored: move it "
            f"away, and 'sanity results --profile {name}' writes it again from what is computed"
        )
    files: dict[str, str] = facts["files"]
    for file, sha256 in files.items():
        if not (folder / file).exists() or sha256_of(folder / file) != sha256:
            raise BadInputError(
                f"{folder / file} is missing or is not the file that {PROVENANCE} names: "
                "restore the folder from the repository"
            )
    return KeptTables({Path(file).stem: pd.read_parquet(folder / file) for file in files}, facts)


def kept_runs(*, but: str) -> Iterator[tuple[str, str]]:
    """Name and hash of the provenance of every run that is kept, except that of the profile `but`."""
    for path in sorted(results_folder().glob(f"*/{PROVENANCE}")):
        if path.parent.name != but:
            yield path.parent.name, sha256_of(path)


@functools.lru_cache(maxsize=8)
def imported_run(name: str, sha256: str) -> ImportedRun:
    """A kept run as the ledger reads it; refused where its provenance is not that of this hash any more."""
    path = results_folder() / name / PROVENANCE
    kept = kept_tables(name)
    if kept is None or sha256_of(path) != sha256:
        raise BadInputError(f"{path.parent} changed while verdicts were computed: run the same command again")
    facts = kept.provenance
    return ImportedRun(name, kept.words, kept.tables["scores"], kept.tables["gates"], facts["primary"])
