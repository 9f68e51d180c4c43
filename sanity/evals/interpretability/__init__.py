"""Interpretability of latents from what they fire on; the contexts are shared with a judge."""

from __future__ import annotations

from sanity.evals.interpretability.collecting import collect_contexts, parts_of
from sanity.evals.interpretability.contexts import (
    ALIVE_FREQUENCY,
    Context,
    Contexts,
    Counts,
    LatentContexts,
    Part,
)
from sanity.evals.interpretability.windows import Pool, cut_windows, pieces_of

__all__ = [
    "ALIVE_FREQUENCY",
    "Context",
    "Contexts",
    "Counts",
    "LatentContexts",
    "Part",
    "Pool",
    "collect_contexts",
    "cut_windows",
    "parts_of",
    "pieces_of",
]
