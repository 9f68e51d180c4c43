"""Tables of a long run, small enough to be committed, with what made them: written here, and read again."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from torch.nn import functional

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.cells import Result
from sanity.engine.config import digest
from sanity.engine.files import read_json, sha256_of, write_atomically
from sanity.engine.store import LocalStore, home
from sanity.errors import BadInputError
from sanity.experiments.grid import INITS, score_rows, stack
from sanity.experiments.synthetic_recovery.measuring import Truth, measured
from sanity.experiments.synthetic_recovery.runs import truth_of
from sanity.models import Init, gaussian_matrix, load_sae

_INITS: dict[str, Init] = {type(init).__name__: init for init in INITS.values()}
NAMES = ("scores", "curves", "features", "latents", "geometry")
# Cosines and shares are kept to four digits: more would be noise, and bytes.
DIGITS = 4
EXACT = {"probability", "times_seen", "samples", "step", "loss", "frequency", "mean_square"}


@dataclass(frozen=True)
class Exported:
    """Tables of a run made elsewhere, as `ToyTables` names them, and their provenance."""

    scores: pd.DataFrame
    curves: pd.DataFrame
    features: pd.DataFrame
    latents: pd.DataFrame
    geometry: pd.DataFrame
    provenance: dict[str, Any]


def finished_runs(store: LocalStore) -> list[Result]:
    """Every finished run of the grid on a synthetic world that `store` holds, of whatever version."""
    found = [result for key in store.list() if (result := store.get(key)) is not None]
    return [result for result in found if _is_run(result)]


def export(results: Sequence[Result], folder: Path, *, about: str = "") -> Path:
    """Write the tables of finished runs to `folder` as parquet, with `provenance.json`.

    Final scores are measured anew from each run's SAE, so that runs of an earlier version of the code carry
    everything that is measured now; curves are as they were recorded. Features are kept of arms that learn,
    latents of trained ones.

    Raises `BadInputError` when there is nothing to export.
    """
    results = [result for result in results if _is_run(result)]
    if not results:
        raise BadInputError("no finished run on a synthetic world was given: there is nothing to export")
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in NAMES}
    for result in sorted(results, key=lambda r: str(r.manifest["label"])):
        for name, table in _measured_anew(result).items():
            parts[name].append(table)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tables in parts.items():
        _write(stack(tables), folder / f"{name}.parquet")
    files = {f"{name}.parquet": sha256_of(folder / f"{name}.parquet") for name in NAMES}
    facts = {**_provenance(results, about), "files": files}
    write_atomically(folder / "provenance.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder


def imported(folder: Path | None = None) -> Exported | None:
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
    return Exported(**tables, provenance=facts)


def _is_run(result: Result) -> bool:
    """Whether this is an arm of the grid: with a random start, and without the auxiliary loss."""
    recipe = result.manifest["recipe"]
    if not str(recipe["function"]).endswith(":train_on_world"):
        return False
    config = recipe["config"]
    return config["arm"]["init"]["kind"] in _INITS and not config["training"]["auxiliary"]


def _measured_anew(result: Result) -> dict[str, pd.DataFrame]:
    config = result.manifest["recipe"]["config"]
    arm = config["arm"]
    stored = result.table("scores")
    about = {str(name): stored[name].iloc[0] for name in stored.columns if name not in _SCORE_FIELDS}
    world = json.dumps({k: v for k, v in config["world"].items() if k != "kind"}, sort_keys=True)
    truth = _truth(world, config["batch_size"], arm["seed"], config["steps"])
    gaussian = gaussian_matrix(arm["seed"], arm["d_sae"], truth.features.shape[1])
    directions = _INITS[arm["init"]["kind"]].directions(gaussian, lambda: truth.covariance)
    initial = functional.normalize(directions, dim=1)
    found = measured(load_sae(result.folder("sae")), initial, truth, l0=config["l0"])
    kept = {"scores": pd.DataFrame(score_rows(about, found.scores)), "curves": result.table("curve")}
    kept["geometry"] = found.geometry.assign(**about)
    if about["constraint"] not in ("untrained", "frozen_both"):
        kept["features"] = found.features.assign(**about)
    if about["constraint"] == "trained":
        kept["latents"] = found.latents.assign(**about)
    return kept


_SCORE_FIELDS = {"metric", "value", "floor", "ceiling", "higher_is_better", "n", "unit", "version"}


@cache
def _truth(world: str, batch_size: int, seed: int, steps: int) -> Truth:
    spec = SyntheticSpec(**json.loads(world))
    stream = SyntheticStream(SyntheticWorld.from_spec(spec), batch_size=batch_size, seed=seed)
    return truth_of(stream, steps=steps)


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
    return {
        "about": about,
        "commits": sorted({str(one["commit"]) for one in made}),
        "cpu": made[0]["cpu"],
        "memory_bytes": made[0]["memory_bytes"],
        "platform": made[0]["platform"],
        "threads": sorted({one["threads"] for one in made}),
        "versions": made[0]["versions"],
        "functions": sorted(
            {f"{m['recipe']['function']} version {m['recipe']['version']}" for m in manifests}
        ),
        "configuration": digest([m["recipe"] for m in sorted(manifests, key=lambda m: str(m["key"]))]),
        "samples": sorted(
            {m["recipe"]["config"]["steps"] * m["recipe"]["config"]["batch_size"] for m in manifests}
        ),
        "seeds": sorted({m["recipe"]["config"]["arm"]["seed"] for m in manifests}),
        "runs": {str(m["label"]): {"key": m["key"], "seconds": round(m["seconds"], 1)} for m in manifests},
        "seconds": round(sum(m["seconds"] for m in manifests), 1),
        "finished": max(m["finished"] for m in manifests),
    }
