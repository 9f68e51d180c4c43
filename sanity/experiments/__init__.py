"""Experiments: the planner that turns a profile's grids into cells, and the analyses that are no score."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sanity.engine.cells import Cell
    from sanity.profiles import Profile


def plan(profile: Profile) -> list[Cell]:
    """All cells that the book needs at `profile`, in the order in which a run asks for them."""
    from sanity.experiments.analyses import every_cell

    return every_cell(profile)
