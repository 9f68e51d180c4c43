"""What is computed next to the grids: formulas, kernels along training, comparisons of two runs.

An analysis is a module with `cells(plan)`; its numbers are no scores of one SAE. Its fields come from the
profile's `analyses`.
"""

from __future__ import annotations

from importlib import import_module

from sanity.engine.cells import Cell, in_order
from sanity.experiments.planner import Plan, plan_grids
from sanity.profiles import Profile

ANALYSES: tuple[str, ...] = (
    "untrained_dictionaries",
    "scrambling",
    "sae_lens_comparison",
    "equal_frequencies",
)
"""Modules of this room with a function `cells(plan)`."""


def analysis_cells(plan: Plan) -> list[Cell]:
    """The cells of all analyses."""
    modules = [import_module(f"sanity.experiments.{name}") for name in ANALYSES]
    return [cell for module in modules for cell in module.cells(plan)]


def every_cell(profile: Profile) -> list[Cell]:
    """Grids and analyses, inputs before what needs them."""
    plan = plan_grids(profile)
    return in_order([*plan.cells, *analysis_cells(plan)])
