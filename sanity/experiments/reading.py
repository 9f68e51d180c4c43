"""Reading results by the names of a profile: scores, the detail behind them, curves, gates' readings.

Everything is computed first where it is missing. Each function gives one tidy table and remembers, in the
`Reader`, which results it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import pandas as pd

from sanity.engine.cells import Cell, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals.base import GRADED_COLUMNS
from sanity.experiments.planner import plan_grids
from sanity.experiments.plans import Plan, PlannedRun, SharedCell
from sanity.experiments.readiness import make_ready
from sanity.models import Autoencoder, load_sae
from sanity.profiles import Profile


class Reader:
    """Reads the results of a profile from a store.

    >>> reader = Reader(load("quick"))                                # doctest: +SKIP
    >>> scores = reader.scores("real_activations")                    # doctest: +SKIP
    """

    def __init__(self, profile: Profile | Plan, store: LocalStore | None = None) -> None:
        if isinstance(profile, Plan):
            self.plan = profile
        self._profile = profile.made_from if isinstance(profile, Plan) else profile
        self.store = store
        self.found: list[Result] = []
        """Results that were read, for a page's provenance."""

    @property
    def profile(self) -> Profile:
        """The profile that is read; a plan of single runs has none."""
        if self._profile is None:
            raise BadInputError("these runs are not from a profile: read them by the name of their grid")
        return self._profile

    @cached_property
    def plan(self) -> Plan:
        """The profile's cells."""
        return plan_grids(self.profile)

    def results(self, cells: Sequence[Cell]) -> list[Result]:
        """The results of some cells."""
        make_ready(cells, self.store)
        found = results(cells, self.store)
        self.found.extend(found)
        return found

    def scores(self, *grids: str, evals: Iterable[str] | None = None) -> pd.DataFrame:
        """Every score of the named grids: one row per SAE and metric.

        Columns: experiment (the grid), world_or_hook, what `RunSpec.columns` says, then those of `Score`.
        """
        return self.table("scores", *grids, evals=evals)

    def table(self, name: str, *grids: str, evals: Iterable[str] | None = None) -> pd.DataFrame:
        """A table that evals keep next to each SAE's scores, of all SAEs of the named grids that have it."""
        chosen = None if evals is None else set(evals)
        asked = [
            (run, cell)
            for grid in grids
            for run in self.runs(grid)
            for one, cell in run.scored.items()
            if chosen is None or one in chosen
        ]
        found = self.results([cell for _, cell in asked])
        return _stacked(
            [(run, result) for (run, _), result in zip(asked, found, strict=True)], f"{name}.parquet"
        )

    def facts(self, grid: str, one: str) -> pd.DataFrame:
        """What an eval noted about each SAE of a grid: a row each; `refused` where it could not be asked."""
        runs = [run for run in self.runs(grid) if one in run.scored]
        found = self.results([run.scored[one] for run in runs])
        rows = [
            {**_about(run), **run.run.columns(), **result.json("facts"), "seconds": result.seconds}
            for run, result in zip(runs, found, strict=True)
        ]
        return pd.DataFrame(rows)

    def curves(self, *grids: str) -> pd.DataFrame:
        """What was measured along the training of the named grids: a row per run and step."""
        runs = [run for grid in grids for run in self.runs(grid)]
        found = self.results([run.trained for run in runs])
        return _stacked(list(zip(runs, found, strict=True)), "curve.parquet")

    def saes(self, grid: str) -> list[tuple[PlannedRun, Autoencoder]]:
        """The SAEs of a grid, each with the run that it came from."""
        runs = self.runs(grid)
        found = self.results([run.trained for run in runs])
        return [(run, load_sae(result.folder("sae"))) for run, result in zip(runs, found, strict=True)]

    def trained(self, grid: str) -> list[tuple[PlannedRun, Result]]:
        """The results of a grid's training."""
        runs = self.runs(grid)
        return list(zip(runs, self.results([run.trained for run in runs]), strict=True))

    def prepared(self, one: str) -> list[tuple[SharedCell, Result]]:
        """What an eval prepared, one result per source."""
        return self._shared(self.plan.prepared, one)

    def references(self, one: str) -> list[tuple[SharedCell, Result]]:
        """An eval's floors, ceilings and untrained references, one result per source and seed."""
        return self._shared(self.plan.references, one)

    def graded(self, *evals: str) -> pd.DataFrame:
        """How evals read their own reference, corrupted in steps; all evals where none is named."""
        asked = [one for one in self.plan.graded if not evals or one.eval in evals]
        found = self.results([one.cell for one in asked])
        readings = stack(
            [
                result.table("graded").assign(eval=one.eval, place=one.place, subject=one.source.subject)
                for one, result in zip(asked, found, strict=True)
            ]
        )
        columns = [*GRADED_COLUMNS, "eval", "place", "subject"]
        return readings if len(readings) else pd.DataFrame(columns=columns)

    def runs(self, grid: str) -> list[PlannedRun]:
        """The runs of a grid; unknown grids are refused."""
        runs = self.plan.grid(grid)
        if not runs and not (self._profile and grid in self._profile.grids):
            there = self._profile.grids if self._profile else {run.grid: None for run in self.plan.runs}
            raise BadInputError(f"there is no grid {grid!r} here; there are: {', '.join(there)}")
        return runs

    def _shared(self, kept: Sequence[SharedCell], one: str) -> list[tuple[SharedCell, Result]]:
        asked = [shared for shared in kept if shared.eval == one]
        return list(zip(asked, self.results([shared.cell for shared in asked]), strict=True))


def stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The frames one below the other, with a fresh index; an empty frame for none."""
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def _stacked(found: Sequence[tuple[PlannedRun, Result]], file: str) -> pd.DataFrame:
    name = file.removesuffix(".parquet")
    return stack([result.table(name).assign(**_about(run)) for run, result in found if file in result.files])


def _about(run: PlannedRun) -> dict[str, str]:
    return {"experiment": run.grid, "world_or_hook": run.place}
