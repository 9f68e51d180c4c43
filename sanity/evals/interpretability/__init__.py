"""Interpretability of latents from what they fire on; the contexts are shared with a judge."""

from __future__ import annotations

from sanity.evals.interpretability.collecting import collect_contexts, divided, parts_of
from sanity.evals.interpretability.concepts import (
    GRADED_COLUMNS,
    REFERENCE,
    graded_scores,
    known_concepts,
    spoilt,
)
from sanity.evals.interpretability.contexts import (
    ALIVE_FREQUENCY,
    Context,
    Contexts,
    Counts,
    LatentContexts,
    Part,
)
from sanity.evals.interpretability.encoder import SentenceEncoder
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.ranking import auroc, matched_auroc
from sanity.evals.interpretability.scoring import (
    METRICS,
    VERSION,
    Scoring,
    score_latents,
    score_sae,
    summarise,
)
from sanity.evals.interpretability.windows import Pool, cut_windows, pieces_of

__all__ = [
    "ALIVE_FREQUENCY",
    "GRADED_COLUMNS",
    "METRICS",
    "REFERENCE",
    "VERSION",
    "Context",
    "Contexts",
    "Counts",
    "LatentContexts",
    "Part",
    "Pool",
    "PoolFeatures",
    "Scoring",
    "SentenceEncoder",
    "auroc",
    "collect_contexts",
    "cut_windows",
    "divided",
    "graded_scores",
    "known_concepts",
    "matched_auroc",
    "parts_of",
    "pieces_of",
    "score_latents",
    "score_sae",
    "spoilt",
    "summarise",
]
