"""Causal editing in the manner of RAVEL: swap latents between entities and see which answers change.

Huang et al. 2024 (arXiv 2402.17700) set the task, SAEBench (arXiv 2503.09532) the learned mask over the
latents of a sparse autoencoder.
"""

from __future__ import annotations

from sanity.evals.causal_editing.asking import AskedSubject, EditedPair, FactQuestions
from sanity.evals.causal_editing.choosing import (
    Choice,
    answers,
    choose_templates,
    generator,
    make_task,
    shares_known,
)
from sanity.evals.causal_editing.dictionaries import (
    Dictionary,
    Swap,
    matched_in_frequency,
    neurons,
    planted_dictionary,
    principal_components,
    read,
    sae_dictionary,
)
from sanity.evals.causal_editing.eval import CausalEditing
from sanity.evals.causal_editing.fitting import Fitting, fit_mask, fit_rotation, subspace_edit
from sanity.evals.causal_editing.questions import Asked, ask
from sanity.evals.causal_editing.scoring import (
    CEILING,
    PAIR,
    PARTS,
    PLANTED,
    Reach,
    graded_dictionary,
    largest,
    masked_edits,
    mean_scores,
    reach,
    row,
    scored_pairs,
    with_range,
)
from sanity.evals.causal_editing.seen_entities import SeenEntities
from sanity.evals.causal_editing.tasks import (
    Edited,
    EditingTask,
    Side,
    TooFewKnownError,
    do_nothing,
    edited,
    make_side,
    swap_all,
)

__all__ = [
    "CEILING",
    "PAIR",
    "PARTS",
    "PLANTED",
    "Asked",
    "AskedSubject",
    "CausalEditing",
    "Choice",
    "Dictionary",
    "Edited",
    "EditedPair",
    "EditingTask",
    "FactQuestions",
    "Fitting",
    "Reach",
    "SeenEntities",
    "Side",
    "Swap",
    "TooFewKnownError",
    "answers",
    "ask",
    "choose_templates",
    "do_nothing",
    "edited",
    "fit_mask",
    "fit_rotation",
    "generator",
    "graded_dictionary",
    "largest",
    "make_side",
    "make_task",
    "masked_edits",
    "matched_in_frequency",
    "mean_scores",
    "neurons",
    "planted_dictionary",
    "principal_components",
    "reach",
    "read",
    "row",
    "sae_dictionary",
    "scored_pairs",
    "shares_known",
    "subspace_edit",
    "swap_all",
    "with_range",
]
