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
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.engine.config import all_ours, canonical_json, card_of, digest, to_json
from sanity.engine.files import disk_errors, write_atomically
from sanity.engine.machine import in_parts
from sanity.engine.results import Result as Result
from sanity.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a cell is expected to take on two cores: seconds, bytes kept on disk, bytes of memory."""

    seconds: float = 1.0
    disk_bytes: int = 100_000
    memory_bytes: int = 500_000_000
    once: float = 0.0
    """Of the seconds, those that all cells of one call take once together: as for a model that is loaded."""
    each_bytes: int = 0
    """Of the memory, what every cell of one call adds."""
    room_bytes: int = 0
    """What cells of one call may add up to: what is more comes in parts, each of which takes `once` again."""

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
        `function(tasks)`, because they share work (a stream of batches, a reference pass). The company is
        decided by what is missing then, so that no key tells of it: results may depend on it by rounding
        alone, and must say so where they do (as `stack.json` does of arms that shared a card's steps).
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
        found: dict[str, Any] = to_json(self._made_of)
        return found

    @functools.cached_property
    def key(self) -> str:
        """Twenty hex digits: equal if and only if function, version, configuration and inputs are equal."""
        return digest(self._made_of)

    @property
    def _made_of(self) -> dict[str, Any]:
        return {
            "function": self.function.name,
            "version": self.function.version,
            "config": self.config,
            "inputs": {name: cell.key for name, cell in self.inputs},
        }

    @functools.cached_property
    def company(self) -> str:
        """Cells with the same `company` are computed in one call."""
        if self.function.together is None:
            return self.key
        return canonical_json([self.function.name, self.threads, self.function.together(self)])

    @property
    def card(self) -> str | None:
        """The graphics card on which it is computed, such as `cuda`; None where it needs none."""
        return card_of(self.config)

    @functools.cached_property
    def wants_card(self) -> bool:
        """Whether it is computed on a graphics card."""
        return self.card is not None

    @property
    def runs_elsewhere(self) -> bool:
        """Whether another process can compute it: it finds the function and every class in the configuration.

        What was defined in a notebook is computed in the notebook's own process.
        """
        return self.function.importable and all_ours(self.config)


def seconds_together(cells: Collection[Cell]) -> float:
    """What cells of one call are expected to take."""
    once = max((c.cost.once for c in cells), default=0.0)
    return sum(c.cost.seconds - c.cost.once for c in cells) + parts_together(cells) * once


def parts_together(cells: Collection[Cell]) -> int:
    """In how many parts the cells of one call fit into memory."""
    room = max((c.cost.room_bytes for c in cells), default=0)
    return len(in_parts([c.cost.each_bytes for c in cells], room)) if room else 1


def memory_together(cells: Collection[Cell]) -> int:
    """What cells of one call may need of memory at once."""
    besides = max((c.cost.memory_bytes - c.cost.each_bytes for c in cells), default=0)
    each, rooms = [c.cost.each_bytes for c in cells], [c.cost.room_bytes for c in cells if c.cost.room_bytes]
    return besides + max([min([sum(each), *rooms]), *each])


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


ATTEMPT = "attempt"
"""A file that an attempt's folder has from its beginning, and that nothing puts there again."""


class Task:
    """What a cell function is given: configuration, inputs, a folder to fill, and scratch space.

    `scratch` survives a kill and is handed to the next attempt: long computations keep their
    checkpoints there. It is removed when the result is published.

    An attempt has a folder of its own. Whoever takes it over gives it another name, so that a process that
    was stopped and wakes again can neither touch nor publish what its successor makes of it.
    """

    def __init__(self, cell: Cell, inputs: Mapping[str, Result], attempt: Path) -> None:
        self.cell = cell
        self.config = cell.config
        self.inputs = inputs
        self.attempt = attempt
        self.folder = attempt / "result"
        self.scratch = attempt / "scratch"

    @property
    def superseded(self) -> bool:
        """Whether another process has taken this attempt over, since this one gave no sign of life."""
        return not (self.attempt / ATTEMPT).exists()

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
