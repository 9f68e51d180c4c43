"""Tables of a long run, small enough to be committed, with what made them: written here, and read again."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.engine.cells import Result
from sanity.engine.config import digest
from sanity.engine.files import read_json, sha256_of, write_atomically
from sanity.engine.store import home
from sanity.errors import BadInputError
from sanity.experiments.reading import Reader

NAMES = ("scores", "curves", "features", "latents", "geometry")
# Cosines and shares are kept to four digits: more would be noise, and bytes.
DIGITS = 4
EXACT = {"probability", "times_seen", "samples_seen", "step", "loss", "frequency", "mean_square"}


@dataclass(frozen=True)
class KeptTables:
    """Tables of a run made elsewhere, and their provenance."""

    scores: pd.DataFrame
    curves: pd.DataFrame
    features: pd.DataFrame
    """Of arms that learn."""
    latents: pd.DataFrame
    """Of trained arms."""
    geometry: pd.DataFrame
    provenance: dict[str, Any]


def export(reader: Reader, grid: str, folder: Path, *, about: str = "") -> Path:
    """Write the tables of a grid on synthetic worlds to `folder` as parquet, with `provenance.json`.

    Raises `BadInputError` when there is nothing to export.
    """
    if not reader.runs(grid):
        raise BadInputError(
            f"the grid {grid} has no runs at {reader.profile.name}: there is nothing to export"
        )
    tables = {
        "scores": reader.scores(grid),
        "curves": reader.curves(grid),
        **{name: reader.table(name, grid) for name in ("features", "latents", "geometry")},
    }
    still = ("untrained", "frozen_both")
    tables["features"] = tables["features"][~tables["features"]["constraint"].isin(still)]
    tables["latents"] = tables["latents"][tables["latents"]["constraint"] == "trained"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        _write(tables[name], folder / f"{name}.parquet")
    files = {f"{name}.parquet": sha256_of(folder / f"{name}.parquet") for name in NAMES}
    results = [result for _, result in reader.trained(grid)]
    facts = {**_provenance(results, about), "files": files}
    write_atomically(folder / "provenance.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder


def kept_tables(folder: Path | None = None) -> KeptTables | None:
    """The tables that `export` wrote to `folder`, or None where there are none.

    Without a folder, those committed as `results/overnight_toy`. Raises `BadInputError` for a file that is
    not the one whose SHA-256 the provenance names.
    """
    folder = folder or home() / "results" / "overnight_toy"
    if not (folder / "provenance.json").exists():
        return None
    facts: dict[str, Any] = read_json(folder / "provenance.json")
    files: dict[str, str] = facts["files"]
    for name, sha256 in files.items():
        if not (folder / name).exists() or sha256_of(folder / name) != sha256:
            raise BadInputError(
                f"{folder / name} is missing or is not the file that provenance.json names: "
                "restore the folder from the repository"
            )
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in NAMES}
    return KeptTables(**tables, provenance=facts)


def _write(table: pd.DataFrame, path: Path) -> None:
    table = table.copy()
    for name in table.columns:
        if pd.api.types.is_float_dtype(table[name]):
            values = table[name].astype("float32")
            table[name] = values if name in EXACT else values.round(DIGITS)
        elif pd.api.types.is_integer_dtype(table[name]):
            table[name] = pd.to_numeric(table[name], downcast="integer")
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
