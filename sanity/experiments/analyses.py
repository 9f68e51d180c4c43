"""What is computed next to the grids: formulas, kernels along training, comparisons of two runs.

An analysis is a module with `cells(plan)`; its numbers are no scores of one SAE. Its fields come from the
profile's `analyses`. Where claims may read it, it also has `scored(plan)`: the name of an experiment, a world
or hook, and a cell with a table `scores`, whose own columns `experiment` and `world_or_hook` count first.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from sanity.engine.cells import Cell, in_order
from sanity.experiments.planner import plan_grids
from sanity.experiments.plans import Plan
from sanity.profiles import Profile

ANALYSES: tuple[str, ...] = (
    "untrained_dictionaries",
    "scrambling",
    "sae_lens_comparison",
    "equal_frequencies",
    "separate_layers",
    "lazy_training",
)
"""Modules of this room with a function `cells(plan)`."""


def analysis_modules() -> list[ModuleType]:
    """The modules; importing them declares the metrics that they measure."""
    return [import_module(f"sanity.experiments.{name}") for name in ANALYSES]


def analysis_cells(plan: Plan) -> list[Cell]:
    """The cells of all analyses."""
    return [cell for module in analysis_modules() for cell in module.cells(plan)]


def scored_cells(plan: Plan) -> list[tuple[str, str, Cell]]:
    """Experiment, world or hook, and cell of every table of scores that analyses have for claims."""
    return [one for module in analysis_modules() if hasattr(module, "scored") for one in module.scored(plan)]


def every_cell(profile: Profile) -> list[Cell]:
    """Grids, analyses and verdicts, inputs before what needs them."""
    from sanity.experiments.verdicts import book_verdict_cells

    plan = plan_grids(profile)
    return in_order([*plan.cells, *analysis_cells(plan), *book_verdict_cells(plan)])
