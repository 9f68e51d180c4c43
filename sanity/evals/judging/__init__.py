"""A judge of latents: the paper's protocol, by comparing texts or by a language model here or elsewhere."""

from __future__ import annotations

from sanity.evals.judging import protocol
from sanity.evals.judging.asking import MOST_UNANSWERED
from sanity.evals.judging.budget import Prices, count_tokens, estimate_protocol
from sanity.evals.judging.gate import FLOOR_MARGIN, gate_verdict
from sanity.evals.judging.interpretability import JudgedInterpretability
from sanity.evals.judging.settings import endpoint_from

__all__ = [
    "FLOOR_MARGIN",
    "MOST_UNANSWERED",
    "JudgedInterpretability",
    "Prices",
    "count_tokens",
    "endpoint_from",
    "estimate_protocol",
    "gate_verdict",
    "protocol",
]
