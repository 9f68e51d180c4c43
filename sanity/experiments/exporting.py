"""Keeping a long run with the book: its tables, small enough to be committed, and what made them."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sanity.claims import Ledger
from sanity.engine.cells import Result
from sanity.engine.computing import compute
from sanity.engine.config import digest
from sanity.engine.files import sha256_of, write_atomically
from sanity.engine.store import LocalStore, open_store, require
from sanity.errors import BadInputError
from sanity.experiments.analyses import scored_cells
from sanity.experiments.gathering import gathering_cell
from sanity.experiments.kept_tables import PROVENANCE, kept_tables, provenance_of, results_folder
from sanity.experiments.planner import plan_grids
from sanity.experiments.plans import PlannedRun
from sanity.experiments.readiness import make_ready
from sanity.experiments.reading import Reader, stack
from sanity.experiments.verdicts import verdict_cells
from sanity.profiles import Profile

DETAILS = ("features", "latents", "geometry")
"""Tables with a row for each feature, latent or pair: kept of the first seed's arms that learn."""
# Cosines and shares are kept to four digits: more would be noise, and bytes.
DIGITS = 4
EXACT = {
    "probability",
    "times_seen",
    "samples_seen",
    "step",
    "loss",
    "frequency",
    "mean_square",
    "learning_rate",
}


def keep_run(
    profile: Profile,
    *,
    store: LocalStore | None = None,
    folder: Path | None = None,
    scheduler: str | None = None,
    finished: bool = False,
) -> Path:
    """Compute what is missing of a profile's scores, and write its tables to `results/<profile>`.

    Runs that are kept there already are not computed again while their keys are the same, and those of their
    scores: their rows are taken over, so that a profile can be finished on several machines, a part on each.
    With `finished`, of the others only those are scored and kept that are trained.

    Tables: `scores` and `gates`, exact; `curves`, and in detail `features`, `latents`, `geometry` of the
    first seed, rounded; all as parquet; and `provenance.json`. The files of an earlier run of the profile
    are replaced one by one, the provenance last.
    """
    store = store or open_store()
    plan = plan_grids(profile)
    if not plan.runs:
        raise BadInputError(f"the profile {profile.name} has no runs: there is nothing to keep")
    cells = verdict_cells(plan)
    read_by = _how_read(cells.ledger, profile)
    before = kept_tables(profile.name, folder)
    kept = before.runs_of(plan, read_by) if before else []
    others = [run for run in plan.runs if run not in kept]
    if finished:
        others = [run for run in others if store.sound(run.trained)]
        if not others:
            raise BadInputError(
                f"of {len(plan.runs)} runs of {profile.name} {len(kept)} are kept and none of the others is "
                "trained: there is nothing to add; without --finished they are computed"
            )
    fresh, analyses = replace(plan, runs=others), scored_cells(plan)
    keys = sorted(cell.key for _, _, cell in analyses)
    same_analyses = before is not None and before.provenance.get("analyses") == keys
    if finished or same_analyses:
        analyses = []
    scores = gathering_cell(fresh, cells.ledger, analyses)
    make_ready([scores, cells.gates], store, scheduler=scheduler)
    compute([scores, cells.gates], store, scheduler=scheduler)
    reader = Reader(fresh, store)
    trained = [pair for grid in profile.grids for pair in reader.trained(grid)]
    first = min(run.run.arm.seed for run in plan.runs)
    tables = {
        "scores": require(scores, store).table("scores"),
        "curves": _rounded(_curves(trained)),
        **{name: _rounded(_detail(reader, name, profile.grids, first)) for name in DETAILS},
    }
    if before:
        tables = {n: stack([before.rows_of(n, kept, same_analyses), table]) for n, table in tables.items()}
    tables["gates"] = require(cells.gates, store).table("gates")
    folder = (folder or results_folder()) / profile.name
    folder.mkdir(parents=True, exist_ok=True)
    written = [name for name, table in tables.items() if len(table)]
    for name in written:
        _write(tables[name], folder / f"{name}.parquet")
    facts = {
        **provenance_of(trained, before, kept),
        "about": profile.about,
        "planned": len(plan.runs),
        "analyses": keys if analyses or same_analyses else [],
        "primary": cells.verdicts.config.primary,
        "read_by": read_by,
        "files": {f"{name}.parquet": sha256_of(folder / f"{name}.parquet") for name in written},
    }
    write_atomically(folder / PROVENANCE, json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder


def _how_read(ledger: Ledger, profile: Profile) -> str:
    """The digest of how a ledger reads the grids of a profile, which decides what their scores are."""
    entries = {
        name: entry.model_dump(exclude_defaults=True)
        for name, entry in ledger.experiments.items()
        if profile.grids.keys() & {*entry.grids, *entry.pilots}
    }
    return digest(entries)


def _curves(trained: Sequence[tuple[PlannedRun, Result]]) -> pd.DataFrame:
    """What was measured along training, of arms that learn."""
    return stack(
        [
            result.table("curve").assign(experiment=run.grid, world_or_hook=run.place)
            for run, result in trained
            if run.run.arm.constraint.learns
        ]
    )


def _detail(reader: Reader, name: str, grids: Collection[str], seed: int) -> pd.DataFrame:
    table = reader.table(name, *grids)
    if table.empty:
        return table
    kept: pd.DataFrame = table[(table["seed"] == seed) & (table["constraint"] != "untrained")]
    return kept


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    for name in table.columns:
        if pd.api.types.is_float_dtype(table[name]):
            values = table[name].astype("float32")
            table[name] = values if name in EXACT else values.round(DIGITS)
        elif pd.api.types.is_integer_dtype(table[name]):
            table[name] = pd.to_numeric(table[name], downcast="integer")
    return table


def _write(table: pd.DataFrame, path: Path) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd", compression_level=19)
    write_atomically(path, buffer.getvalue())
