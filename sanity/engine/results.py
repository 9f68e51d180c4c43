"""What was computed: the files of a result, and the manifest by which every damage to them is noticed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sanity.engine.config import digest
from sanity.engine.files import is_intact, read_json, read_sealed, sha256_of, write_sealed
from sanity.engine.machine import provenance
from sanity.errors import BadInputError, CorruptFileError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

MANIFEST = "manifest.json"

_Amount = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _File(_Record):
    bytes: _Amount
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Recipe(_Record):
    function: str
    version: int
    config: Any
    inputs: dict[str, str]


class _Provenance(_Record):
    commit: str
    cpu: dict[str, Any]
    memory_bytes: _Amount
    platform: str
    threads: _Amount
    versions: dict[str, str]


class _Manifest(_Record):
    key: str
    recipe: _Recipe
    label: str
    stage: str
    files: Annotated[dict[str, _File], Field(min_length=1)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    finished: str
    provenance: _Provenance


def write_manifest(folder: Path, of: Mapping[str, Any], *, seconds: float, threads: int) -> Mapping[str, Any]:
    """Hash every file in `folder`, and write the manifest that makes it a result; `of` says of what."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    made = {
        **of,
        "files": files,
        "seconds": seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "provenance": provenance(threads=threads),
    }
    write_sealed(folder / MANIFEST, made)
    return made


def read_manifest(folder: Path, key: str) -> Mapping[str, Any]:
    """The manifest in `folder`, which must be the result of `key` and hold every file in its size.

    Raises `CorruptFileError` for anything else: no folder, no manifest, one that was changed or is another's.
    """
    manifest = checked_manifest(folder, key)
    for name, facts in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != facts["bytes"]:
            raise CorruptFileError(f"{file} is missing or cut short: {_way_out(folder)}")
    return manifest


def _way_out(folder: Path) -> str:
    return f"delete {folder} and run again; only this result is computed again"


def checked_manifest(folder: Path, key: str) -> Mapping[str, Any]:
    """The manifest in `folder`, which must be that of `key`; its files may be elsewhere."""
    way_out = _way_out(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise CorruptFileError(f"{folder} is no result, since it has no {MANIFEST}: {way_out}")
    manifest: Mapping[str, Any] = read_sealed(path, unsealed=True)
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CorruptFileError(f"{path} is damaged ({where}: {first['msg']}): {way_out}") from error
    if not manifest["key"] == key == digest(manifest["recipe"]):
        raise CorruptFileError(f"{path} is not that of {key}: {way_out}")
    return manifest


class Result:
    """A stored result: files that are checked against their manifest when they are first read."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.root = folder
        self.manifest = manifest
        self._verified: set[str] = set()

    @property
    def key(self) -> str:
        """The key of the cell that this is the result of."""
        return str(self.manifest["key"])

    @property
    def seconds(self) -> float:
        """How long it took to compute, shared work divided evenly among cells computed together."""
        return float(self.manifest["seconds"])

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Each file's size and SHA-256, by its name inside the result."""
        files: Mapping[str, Mapping[str, Any]] = self.manifest["files"]
        return files

    def local(self, name: str) -> Path:
        """A verified local copy of the file `name`. Raises `CorruptFileError` when it was damaged."""
        if name not in self.files:
            raise BadInputError(
                f"result {self.key} has no file {name!r}; it has: {', '.join(sorted(self.files)) or 'none'}"
            )
        path = self.root / name
        if name not in self._verified:
            if not is_intact(path, self.files[name]["sha256"]):
                raise CorruptFileError(
                    f"{path} does not match its manifest (damaged or half-written): "
                    f"delete {self.root} and run again; only this result is computed again"
                )
            self._verified.add(name)
        return path

    def folder(self, name: str) -> Path:
        """A folder inside the result, whose manifest is checked here and checks the others (shards, SAEs)."""
        inside = [file for file in self.files if file.startswith(f"{name}/")]
        if not inside:
            raise BadInputError(f"result {self.key} has no folder {name!r}")
        for file in inside:
            if file.endswith(".json"):
                self.local(file)
        return self.root / name

    def verify(self) -> None:
        """Read every file once; raises `CorruptFileError` on the first that differs from the manifest."""
        for name in self.files:
            self.local(name)

    def table(self, name: str) -> pd.DataFrame:
        """The table `name` as a pandas frame."""
        import pandas as pd

        return pd.read_parquet(self.local(f"{name}.parquet"))

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object `name`."""
        return read_json(self.local(f"{name}.json"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors stored under `name`, on the CPU."""
        from safetensors.torch import load_file

        loaded: dict[str, Tensor] = load_file(self.local(f"{name}.safetensors"))
        return loaded
