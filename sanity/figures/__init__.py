"""The book's plots: each takes a tidy table and returns a matplotlib figure."""

from sanity.figures.arms import arms_by_metric, recovery_by_frequency
from sanity.figures.curves import against_l0, budget_curves, gap_against_tokens
from sanity.figures.judgement import places_between, smallest_margins, verdict_strips
from sanity.figures.style import ARCHITECTURE_NAMES, arm_name, house_style

__all__ = [
    "ARCHITECTURE_NAMES",
    "against_l0",
    "arm_name",
    "arms_by_metric",
    "budget_curves",
    "gap_against_tokens",
    "house_style",
    "places_between",
    "recovery_by_frequency",
    "smallest_margins",
    "verdict_strips",
]
