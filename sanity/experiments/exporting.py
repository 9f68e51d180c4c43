"""Keeping a long run with the book: its tables, small enough to be committed, and what made them."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.engine.cells import Result
from sanity.engine.computing import compute
from sanity.engine.config import digest
from sanity.engine.files import sha256_of, write_atomically
from sanity.engine.store import LocalStore, open_store, require
from sanity.errors import BadInputError
from sanity.experiments.kept_tables import PROVENANCE, results_folder
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
EXACT = {"probability", "times_seen", "samples_seen", "step", "loss", "frequency", "mean_square"}


def keep_run(
    profile: Profile,
    *,
    store: LocalStore | None = None,
    folder: Path | None = None,
    scheduler: str | None = None,
) -> Path:
    """Compute what is missing of a profile's scores, and write its tables to `results/<profile>`.

    Tables: `scores` and `gates`, exact; `curves`, and in detail `features`, `latents`, `geometry` of the
    first seed, rounded; all as parquet; and `provenance.json`. The files of an earlier run of the profile
    are replaced one by one, the provenance last.
    """
    store = store or open_store()
    plan = plan_grids(profile)
    if not plan.runs:
        raise BadInputError(f"the profile {profile.name} has no runs: there is nothing to keep")
    cells = verdict_cells(plan)
    make_ready([cells.scores, cells.gates], store)
    compute([cells.scores, cells.gates], store, scheduler=scheduler)
    reader = Reader(plan, store)
    trained = [pair for grid in profile.grids for pair in reader.trained(grid)]
    details = {"curves": _curves(trained)} | {n: _detail(reader, n, profile.grids) for n in DETAILS}
    tables = {
        "scores": require(cells.scores, store).table("scores"),
        "gates": require(cells.gates, store).table("gates"),
        **{name: _rounded(table) for name, table in details.items() if len(table)},
    }
    folder = (folder or results_folder()) / profile.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        _write(table, folder / f"{name}.parquet")
    facts = {
        **_provenance([result for _, result in trained], profile.about),
        "primary": cells.verdicts.config.primary,
        "files": {f"{name}.parquet": sha256_of(folder / f"{name}.parquet") for name in tables},
    }
    write_atomically(folder / PROVENANCE, json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder


def _curves(trained: Sequence[tuple[PlannedRun, Result]]) -> pd.DataFrame:
    """What was measured along training, of arms that learn."""
    return stack(
        [
            result.table("curve").assign(experiment=run.grid, world_or_hook=run.place)
            for run, result in trained
            if run.run.arm.constraint.learns
        ]
    )


def _detail(reader: Reader, name: str, grids: Collection[str]) -> pd.DataFrame:
    table = reader.table(name, *grids)
    if table.empty:
        return table
    first = table["seed"] == table["seed"].min()
    kept: pd.DataFrame = table[first & (table["constraint"] != "untrained")]
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


def _provenance(results: Sequence[Result], about: str) -> dict[str, Any]:
    """Where the runs come from: commit, machine, versions, seconds, and the hash of all recipes."""
    manifests = [result.manifest for result in results]
    made = [manifest["provenance"] for manifest in manifests]
    recipes = [m["recipe"] for m in sorted(manifests, key=lambda m: str(m["key"]))]
    budgets = [m["recipe"]["config"]["budget"] for m in manifests]
    return {
        "about": about,
        "commits": sorted({str(one["commit"]) for one in made}),
        "cpu": made[0]["cpu"],
        "memory_bytes": made[0]["memory_bytes"],
        "platform": made[0]["platform"],
        "threads": sorted({one["threads"] for one in made}),
        "versions": made[0]["versions"],
        "functions": sorted({f"{r['function']} version {r['version']}" for r in recipes}),
        "configuration": digest(recipes),
        "samples": sorted({budget["steps"] * budget["batch_size"] for budget in budgets}),
        "seeds": sorted({m["recipe"]["config"]["arm"]["seed"] for m in manifests}),
        "runs": {str(m["label"]): {"key": m["key"], "seconds": round(m["seconds"], 1)} for m in manifests},
        "seconds": round(sum(m["seconds"] for m in manifests), 1),
        "finished": max(m["finished"] for m in manifests),
    }
