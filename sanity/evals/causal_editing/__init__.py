"""Causal editing in the manner of RAVEL: swap latents between entities and see which answers change.

Huang et al. 2024 (arXiv 2402.17700) set the task, SAEBench (arXiv 2503.09532) the learned mask over the
latents of a sparse autoencoder.
"""

from __future__ import annotations

from sanity.evals.causal_editing.eval import CausalEditing
from sanity.evals.causal_editing.scoring import CEILING, PAIR, PARTS
from sanity.evals.causal_editing.seen_entities import SeenEntities

__all__ = ["CEILING", "PAIR", "PARTS", "CausalEditing", "SeenEntities"]
