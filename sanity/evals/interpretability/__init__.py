"""Interpretability of latents from what they fire on; the contexts are shared with a judge."""

from __future__ import annotations

from sanity.evals.interpretability.collecting import collect_contexts, divided, parts_of
from sanity.evals.interpretability.concepts import corrupted, graded_scores, known_concepts
from sanity.evals.interpretability.contexts import (
    ALIVE_FREQUENCY,
    Context,
    Counts,
    DrawnContexts,
    LatentContexts,
    Part,
)
from sanity.evals.interpretability.drawing import Contexts, contexts_of
from sanity.evals.interpretability.encoder import SentenceEncoder, TextTokens
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.frequencies import FREQUENCY_MATCHED, frequency_matched
from sanity.evals.interpretability.predicting import Interpretability
from sanity.evals.interpretability.ranking import auroc, matched_auroc
from sanity.evals.interpretability.scoring import COLUMNS, VERSION, Scoring, score_latents, summarise
from sanity.evals.interpretability.unseen_text import load_pool
from sanity.evals.interpretability.windows import Pool, cut_windows, pieces_of
from sanity.evals.interpretability.words import PoolWords

__all__ = [
    "ALIVE_FREQUENCY",
    "COLUMNS",
    "FREQUENCY_MATCHED",
    "VERSION",
    "Context",
    "Contexts",
    "Counts",
    "DrawnContexts",
    "Interpretability",
    "LatentContexts",
    "Part",
    "Pool",
    "PoolFeatures",
    "PoolWords",
    "Scoring",
    "SentenceEncoder",
    "TextTokens",
    "auroc",
    "collect_contexts",
    "contexts_of",
    "corrupted",
    "cut_windows",
    "divided",
    "frequency_matched",
    "graded_scores",
    "known_concepts",
    "load_pool",
    "matched_auroc",
    "parts_of",
    "pieces_of",
    "score_latents",
    "summarise",
]
