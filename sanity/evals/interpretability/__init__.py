"""Interpretability of latents from what they fire on; the contexts are shared with a judge."""

from __future__ import annotations

from sanity.evals.interpretability.contexts import Context
from sanity.evals.interpretability.drawing import Contexts
from sanity.evals.interpretability.frequencies import frequency_matched
from sanity.evals.interpretability.predicting import Interpretability

__all__ = ["Context", "Contexts", "Interpretability", "frequency_matched"]
