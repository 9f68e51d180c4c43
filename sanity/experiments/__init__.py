"""Experiments: which cells each chapter needs, in plain code."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sanity.engine.cells import Cell
    from sanity.profiles import Profile

CHAPTERS = (
    "synthetic_recovery",
    "harder_worlds",
    "objectives",
    "lazy_training",
    "real_activations",
    "interpretability",
    "judged_interpretability",
    "sparse_probing",
    "causal_editing",
    "metric_validity",
)
"""Modules of this room with a function `cells(profile)`, in the order in which a run asks for them."""


def plan(profile: Profile) -> list[Cell]:
    """All cells of all chapters at `profile`, in the order in which a run asks for them."""
    from sanity.engine.cells import in_order

    modules = [import_module(f"sanity.experiments.{name}") for name in CHAPTERS]
    return in_order([cell for module in modules for cell in module.cells(profile)])
