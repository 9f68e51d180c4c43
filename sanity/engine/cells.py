"""Cells: everything that is computed, named by the hash of what made it.

A cell is an importable pure function of a frozen configuration and of its inputs' results. Its key is
the hash of the function's declared name and `version`, the configuration and the inputs' keys: never of the
module it stands in, the commit, the machine, the thread count, or the company in which it was computed.

>>> @computes("double", version=1)
... def double(task):
...     task.save_json("answer", {"value": 2 * task.config["value"]})
>>> cell = double.cell({"value": 21}, label="double of 21")
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.engine.config import all_ours, canonical_json, digest, to_json
from sanity.engine.files import disk_errors, read_json, sha256_of, write_atomically
from sanity.errors import BadInputError, CorruptFileError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a cell is expected to take on two cores: seconds, bytes kept on disk, bytes of memory."""

    seconds: float = 1.0
    disk_bytes: int = 100_000
    memory_bytes: int = 500_000_000

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.disk_bytes + other.disk_bytes,
            max(self.memory_bytes, other.memory_bytes),
        )


@dataclasses.dataclass(frozen=True)
class CellFunction:
    """A function that computes cells, known by its name; made by `computes`."""

    name: str
    version: int
    module: str
    run: Callable[[Sequence[Task]], None]
    together: Callable[[Cell], object] | None

    def __reduce__(self) -> tuple[Any, ...]:
        return function_named, (self.name, self.module)

    @property
    def importable(self) -> bool:
        """Whether another process finds it by importing the module that declares it."""
        return self.module != "__main__" and _FUNCTIONS.get(self.name) is self

    def cell(
        self,
        config: Any,
        *,
        inputs: Mapping[str, Cell] | None = None,
        label: str,
        stage: str = "other",
        cost: Cost | None = None,
        threads: int | None = None,
    ) -> Cell:
        """The cell that applies this function to `config` and to the results of `inputs`."""
        return Cell(
            self, config, tuple(sorted((inputs or {}).items())), label, stage, cost or Cost(), threads
        )


_FUNCTIONS: dict[str, CellFunction] = {}


def function_named(name: str, module: str) -> CellFunction:
    """The cell function called `name`, which `module` declares."""
    if name not in _FUNCTIONS:
        importlib.import_module(module)
    return _FUNCTIONS[name]


def computes(
    name: str, *, version: int, together: Callable[[Cell], object] | None = None
) -> Callable[[Callable[..., None]], CellFunction]:
    """Declare a function that fills one task's folder (or, with `together`, several tasks' at once).

    Parameters
    ----------
    name : str
        Of its own, and part of every key: it stays when the function moves to another file.
    version : int
        Raise it whenever the function's numbers change: old results are then no longer found.
    together : callable, optional
        Of a cell: cells of this function with equal `together(cell)` are computed in one call
        `function(tasks)`, because they share work (a stream of batches, a reference pass). Their
        results must not depend on the company.
    """

    def declare(function: Callable[..., None]) -> CellFunction:
        def run(tasks: Sequence[Task]) -> None:
            if together is not None:
                function(tasks)
            else:
                for task in tasks:
                    function(task)

        before = _FUNCTIONS.get(name)
        if before is not None and before.module != function.__module__:
            raise BadInputError(
                f"{function.__module__} declares the cell function {name!r}, and so does {before.module}: "
                "give one of them another name"
            )
        _FUNCTIONS[name] = CellFunction(name, version, function.__module__, run, together)
        return _FUNCTIONS[name]

    return declare


@dataclasses.dataclass(frozen=True)
class Cell:
    """One thing to compute. `key` names it; `label`, `stage` and `cost` are for people.

    `threads` is how many threads it runs on, where it is no faster on more: then as many calls as fit on the
    machine's cores are computed at the same time, each in a process of its own, and `cost.seconds` are those
    of one call on that many threads. None: it uses all threads. It is no part of the key.
    """

    function: CellFunction
    config: Any
    inputs: tuple[tuple[str, Cell], ...]
    label: str
    stage: str
    cost: Cost
    threads: int | None = None

    @functools.cached_property
    def recipe(self) -> dict[str, Any]:
        """What the key is a hash of."""
        return {
            "function": self.function.name,
            "version": self.function.version,
            "config": to_json(self.config),
            "inputs": {name: cell.key for name, cell in self.inputs},
        }

    @functools.cached_property
    def key(self) -> str:
        """Twenty hex digits: equal if and only if function, version, configuration and inputs are equal."""
        return digest(self.recipe)

    @functools.cached_property
    def company(self) -> str:
        """Cells with the same `company` are computed in one call."""
        if self.function.together is None:
            return self.key
        return canonical_json([self.function.name, self.threads, self.function.together(self)])

    @property
    def runs_elsewhere(self) -> bool:
        """Whether another process can compute it: it finds the function and every class in the configuration.

        What was defined in a notebook is computed in the notebook's own process.
        """
        return self.function.importable and all_ours(self.config)


def in_order(cells: Sequence[Cell]) -> list[Cell]:
    """`cells` and everything they need, each once, inputs before what uses them."""
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.key not in found:
            for _, needed in cell.inputs:
                visit(needed)
            found[cell.key] = cell

    for cell in cells:
        visit(cell)
    return list(found.values())


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
            if not path.exists() or sha256_of(path) != self.files[name]["sha256"]:
                raise CorruptFileError(
                    f"{path} does not match its manifest (damaged or half-written): "
                    f"delete {self.root} and run again; only this result is computed anew"
                )
            self._verified.add(name)
        return path

    def folder(self, name: str) -> Path:
        """A folder inside the result whose files carry checksums of their own (activation shards, SAEs)."""
        if not any(file.startswith(f"{name}/") for file in self.files):
            raise BadInputError(f"result {self.key} has no folder {name!r}")
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


class Task:
    """What a cell function is given: configuration, inputs, a folder to fill, and scratch space.

    `scratch` survives a kill and is handed to the next attempt: long computations keep their
    checkpoints there. It is removed when the result is published. `shared` is the same for all cells
    that are computed together, and is removed when all of them are published.
    """

    def __init__(
        self, cell: Cell, inputs: Mapping[str, Result], *, folder: Path, scratch: Path, shared: Path
    ) -> None:
        self.cell = cell
        self.config = cell.config
        self.inputs = inputs
        self.folder = folder
        self.scratch = scratch
        self.shared = shared

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Keep a tidy table as `name`.parquet."""
        with disk_errors(self.folder):
            table.to_parquet(self.folder / f"{name}.parquet", index=False)

    def save_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object as `name`.json."""
        write_atomically(self.folder / f"{name}.json", json.dumps(to_json(value), indent=1))

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors as `name`.safetensors."""
        from safetensors.torch import save_file

        with disk_errors(self.folder):
            save_file({k: v.contiguous() for k, v in tensors.items()}, self.folder / f"{name}.safetensors")
