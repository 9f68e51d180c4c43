"""The book's plots: each takes a tidy table and returns a matplotlib figure."""

from sanity.figures.arms import arms_by_metric, dots_by_metric, recovery_by_frequency
from sanity.figures.checking import between_floor_and_ceiling, margins_of_equivalence
from sanity.figures.crosscoders import norms_and_agreement
from sanity.figures.curves import against_l0, budget_curves, gap_against_tokens
from sanity.figures.editing import edits_by_arm, edits_by_size
from sanity.figures.interpretability import context_html, examples_html, known_concepts, score_quantiles
from sanity.figures.judgement import VERDICT_COLOURS, places_between, smallest_margins, verdict_strips
from sanity.figures.judging import judge_gates, judged_latents
from sanity.figures.lazy import (
    cosine_trajectories,
    laziness_trajectories,
    trajectories_by_frequency,
)
from sanity.figures.lazy_cones import cone_laws, latents_over_tau, quantile_bars, tau_sweep
from sanity.figures.objectives import recovery_by_objective
from sanity.figures.probing import probing_by_arm, probing_by_group, probing_by_k, probing_leads
from sanity.figures.recovery import (
    latents_in_use,
    leaving_the_truth,
    recovery_against_times_seen,
    recovery_at_a_glance,
    reference_ladder,
    threshold_sweep,
    turning,
)
from sanity.figures.shares import shares_of_lead
from sanity.figures.style import ARCHITECTURE_NAMES, arm_name, arm_words, house_style, place_name
from sanity.figures.validity import graded_readings, scramble_matrix, truth_against_corruption
from sanity.figures.worlds import misfit_moves, misses_of_parents, recovery_against_variance

__all__ = [
    "ARCHITECTURE_NAMES",
    "VERDICT_COLOURS",
    "against_l0",
    "arm_name",
    "arm_words",
    "arms_by_metric",
    "between_floor_and_ceiling",
    "budget_curves",
    "cone_laws",
    "context_html",
    "cosine_trajectories",
    "dots_by_metric",
    "edits_by_arm",
    "edits_by_size",
    "examples_html",
    "gap_against_tokens",
    "graded_readings",
    "house_style",
    "judge_gates",
    "judged_latents",
    "known_concepts",
    "latents_in_use",
    "latents_over_tau",
    "laziness_trajectories",
    "leaving_the_truth",
    "margins_of_equivalence",
    "misfit_moves",
    "misses_of_parents",
    "norms_and_agreement",
    "place_name",
    "places_between",
    "probing_by_arm",
    "probing_by_group",
    "probing_by_k",
    "probing_leads",
    "quantile_bars",
    "recovery_against_times_seen",
    "recovery_against_variance",
    "recovery_at_a_glance",
    "recovery_by_frequency",
    "recovery_by_objective",
    "reference_ladder",
    "score_quantiles",
    "scramble_matrix",
    "shares_of_lead",
    "smallest_margins",
    "tau_sweep",
    "threshold_sweep",
    "trajectories_by_frequency",
    "truth_against_corruption",
    "turning",
    "verdict_strips",
]
