"""Experiments: which cells each chapter needs, in plain code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sanity.cells import Cell
    from sanity.profiles import Profile


def plan(profile: Profile) -> list[Cell]:
    """All cells of all chapters at `profile`, in the order in which a run asks for them."""
    from sanity.cells import in_order
    from sanity.experiments import real_activations, synthetic_recovery

    return in_order([*synthetic_recovery.cells(profile), *real_activations.cells(profile)])
