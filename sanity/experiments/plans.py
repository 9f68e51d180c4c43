"""What a plan holds: the runs of every grid, and what evals compute once for several of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sanity.engine.cells import Cell, Cost, in_order
from sanity.errors import BadInputError
from sanity.models.footprint import room_for_arms
from sanity.profiles import Profile
from sanity.sources import Pace, RunSpec, Snapshot, Source

ALONE = 1.57
"""How much longer a language model, and steps on its activations, take on one thread than on two: measured,
with another beside it. Two at a time are so through in 0.78 of the time that one after the other takes."""


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run of a grid: its cells, and the names that readers know it by."""

    grid: str
    place: str
    """World or hook, as tables name it."""
    run: RunSpec
    trained: Cell
    scored_on: Source
    scored: Mapping[str, Cell]
    """By the eval's name in the profile, or that by which another eval needs it."""


@dataclass(frozen=True, eq=False)
class SharedCell:
    """What an eval computes once for a source (and seed): its cell, and the names that readers know it by."""

    eval: str
    place: str
    source: Source
    cell: Cell
    seed: int | None = None


@dataclass(eq=False)
class Plan:
    """Everything that a profile asks for. Cells that several grids share are made once."""

    made_from: Profile | None
    """None for runs that are not from a profile."""
    runs: list[PlannedRun] = field(default_factory=list)
    prepared: list[SharedCell] = field(default_factory=list)
    references: list[SharedCell] = field(default_factory=list)
    graded: list[SharedCell] = field(default_factory=list)

    @property
    def profile(self) -> Profile:
        """The profile that it was made from; refused where there was none."""
        if self.made_from is None:
            raise BadInputError("this plan was made from runs, not from a profile: use plan_grids(profile)")
        return self.made_from

    def analysis(self, name: str) -> dict[str, Any]:
        """What the profile says of an analysis."""
        return {} if self.made_from is None else self.made_from.analyses.get(name, {})

    def grid(self, name: str) -> list[PlannedRun]:
        """The runs of a grid; none where the profile leaves it out."""
        return [run for run in self.runs if run.grid == name]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell of every grid, inputs before what needs them."""
        runs = [cell for run in self.runs for cell in (run.trained, *run.scored.values())]
        return in_order([*runs, *(one.cell for one in (*self.prepared, *self.references, *self.graded))])


@dataclass(frozen=True, eq=False)
class RunRequest:
    """A run that is asked for by itself: what keeps its SAE where it is not trained, where it is scored."""

    run: RunSpec
    made: Cell | None = None
    """The cell that keeps its SAE as `sae`; None: training."""
    scored_on: Source | None = None
    """None: what it is trained on."""
    evals: Collection[str] | None = None
    """Names of those evals that it is scored by; None: all."""


def on_its_threads(cell: Cell, source: Source) -> Cell:
    """A cell that was told for two cores, with what it takes on as many threads as its source's arms."""
    if cell.wants_card or cell.threads != 1 or source.subject is None:
        return cell
    cost = replace(cell.cost, seconds=cell.cost.seconds * ALONE, once=cell.cost.once * ALONE)
    return replace(cell, cost=cost)


KEEPING = 0.5
"""Seconds until an SAE is at its L0 and kept: of the flat second of each arm, what arms do not share."""


def training_cost(run: RunSpec, pace: Pace) -> Cost:
    """What training an arm takes, and how much of that in common with others that see the same batches.

    They share the reading of their source; on a card, where they are stacked, the start and the steps'
    launches, too; and snapshots, one training.
    """
    arm, source, budget = run.arm, run.source, run.budget
    seconds = pace.training_seconds(samples=budget.samples, d_sae=arm.d_sae, d_in=source.d_in)
    seconds = seconds if arm.constraint.learns else 1.0
    reading = source.reading_seconds(budget.samples, pace)
    once = reading + (1.0 - KEEPING if run.device != "cpu" else 0.0)
    need, common = run.footprint, Cost().memory_bytes + source.buffer_bytes
    cost = Cost(
        seconds + reading,
        disk_bytes=9 * arm.d_sae * source.d_in + 200_000,
        memory_bytes=common + need.whole,
        once=once,
        each_bytes=need.kept,
        room_bytes=int(
            max(1, room_for_arms(run.device, taken=source.buffer_bytes, planned=True) - need.passing)
        ),
    )
    if isinstance(run, Snapshot):
        return replace(cost, once=seconds + reading - KEEPING, each_bytes=0, room_bytes=0)
    return cost
