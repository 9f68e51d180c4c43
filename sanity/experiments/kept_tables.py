"""Tables of a run that is too long for a reader's evening, kept with the book under `results/`: read here.

They are written by `sanity.experiments.exporting`. Every file is held against the SHA-256 that the
provenance names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.claims import Imported
from sanity.engine.files import read_json, sha256_of
from sanity.engine.store import home
from sanity.errors import BadInputError

PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class KeptTables:
    """Tables of a run made elsewhere, by name, and their provenance."""

    tables: Mapping[str, pd.DataFrame]
    provenance: dict[str, Any]

    @property
    def words(self) -> str:
        """Where the run was made: commit, machine and date."""
        facts = self.provenance
        commits = ", ".join(one[:8] for one in facts["commits"])
        return (
            f"commit {commits}, {facts['cpu']['cores']} cores ({facts['cpu']['model']}), "
            f"finished {facts['finished'][:10]}"
        )

    def of(self, table: str, experiment: str) -> pd.DataFrame:
        """The rows of an experiment in a table."""
        rows = self.tables[table]
        return rows[rows["experiment"] == experiment].reset_index(drop=True)


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
def imported_run(name: str, sha256: str) -> Imported:
    """A kept run as the ledger reads it; refused where its provenance is not that of this hash any more."""
    path = results_folder() / name / PROVENANCE
    kept = kept_tables(name)
    if kept is None or sha256_of(path) != sha256:
        raise BadInputError(f"{path.parent} changed while verdicts were computed: run the same command again")
    facts = kept.provenance
    return Imported(name, kept.words, kept.tables["scores"], kept.tables["gates"], facts["primary"])
