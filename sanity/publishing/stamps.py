"""What a chapter that ran has left, and the stamp by which it is known again when it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sanity.engine.files import is_intact, read_sealed, remove, remove_leftovers, sha256_of, write_sealed
from sanity.errors import CorruptFileError

FAILED = ".failed.ipynb"
"""How the name of a notebook ends that was not executed to its end."""


def executed_folder(root: Path, profile: str) -> Path:
    """Where the executed notebooks of a profile lie, with their stamps."""
    return root / "_build" / "executed" / _name_of(profile)


def notebook_path(root: Path, profile: str, name: str) -> Path:
    """Where the executed notebook of the chapter `name` lies."""
    return executed_folder(root, profile) / f"{name}.ipynb"


def tables_path(root: Path, profile: str, name: str) -> Path:
    """Where a chapter notes, while it runs, the SHA-256 of the result tables that it has published."""
    return executed_folder(root, profile) / f"{name}.tables.json"


def results_folder(root: Path, profile: str) -> Path:
    """Where the result tables of a profile lie."""
    return root / "_build" / "results" / _name_of(profile)


def _name_of(profile: str) -> str:
    from sanity.profiles import name_of  # loads torch, which whoever asks for help does not need

    return name_of(profile)


def stamp_path(root: Path, profile: str, name: str) -> Path:
    """Where the stamp of a chapter lies."""
    return executed_folder(root, profile) / f"{name}.json"


def stamp(root: Path, profile: str, name: str, *, fingerprint: str, seconds: float) -> None:
    """Keep what an executed chapter was made from, and the SHA-256 of all that it left."""
    noted = tables_path(root, profile, name)
    tables = read_sealed(noted) if noted.exists() else {}
    left = {
        notebook_path(root, profile, name): sha256_of(notebook_path(root, profile, name)),
        **{results_folder(root, profile) / table: sha256 for table, sha256 in tables.items()},
        **({noted: sha256_of(noted)} if tables else {}),
    }
    facts = {
        "fingerprint": fingerprint,
        "seconds": seconds,
        "files": {path.relative_to(root).as_posix(): sha256 for path, sha256 in left.items()},
    }
    write_sealed(stamp_path(root, profile, name), facts)


def stamped(root: Path, profile: str, name: str) -> Mapping[str, Any]:
    """What `stamp` kept of a chapter; `CorruptFileError` when anything that it left is not as it was."""
    facts = read_sealed(stamp_path(root, profile, name))
    for file, sha256 in facts["files"].items():
        if not is_intact(root / file, sha256):
            raise CorruptFileError(
                f"{root / file} is not what the chapter {name} left there: "
                f"run it again with: sanity reproduce --profile {profile}"
            )
    return facts


def tables_of(root: Path, profile: str, name: str) -> list[Path]:
    """The result tables that a chapter has published, as it left them."""
    return [
        root / file for file in stamped(root, profile, name)["files"] if file.endswith((".parquet", ".csv"))
    ]


def sweep(root: Path, profile: str) -> None:
    """Delete what runs of chapters left that were killed or failed."""
    for folder in (executed_folder(root, profile), results_folder(root, profile)):
        remove_leftovers(folder)
    for left in executed_folder(root, profile).rglob(f"*{FAILED}"):
        remove(left)
