"""Interpretability of latents from what they fire on; the contexts are shared with a judge."""

from __future__ import annotations

from sanity.evals.interpretability.collecting import divided
from sanity.evals.interpretability.concepts import corrupted, known_concepts
from sanity.evals.interpretability.contexts import Context, DrawnContexts, LatentContexts
from sanity.evals.interpretability.drawing import Contexts, contexts_of
from sanity.evals.interpretability.encoder import SentenceEncoder, TextTokens
from sanity.evals.interpretability.frequencies import frequency_matched
from sanity.evals.interpretability.predicting import Interpretability
from sanity.evals.interpretability.unseen_text import load_pool
from sanity.evals.interpretability.windows import Pool
from sanity.evals.interpretability.words import PoolWords

__all__ = [
    "Context",
    "Contexts",
    "DrawnContexts",
    "Interpretability",
    "LatentContexts",
    "Pool",
    "PoolWords",
    "SentenceEncoder",
    "TextTokens",
    "contexts_of",
    "corrupted",
    "divided",
    "frequency_matched",
    "known_concepts",
    "load_pool",
]
