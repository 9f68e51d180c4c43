"""Statistics over training seeds: paired differences, equivalence, power, and verdicts."""

from sanity.stats.deciding import (
    ALIKE_RANDOM,
    HOLLOW,
    UNDECIDED,
    WITHOUT_TRAINING,
    Verdict,
    Word,
    open_verdict,
)
from sanity.stats.equivalence import equivalence_curve
from sanity.stats.families import best_of
from sanity.stats.interactions import interaction
from sanity.stats.intervals import Interval, hierarchical_bootstrap, t_interval
from sanity.stats.joint import verdict_all
from sanity.stats.orders import compared_orders
from sanity.stats.pairing import paired_differences, seed_table
from sanity.stats.power import minimum_detectable_difference, minimum_margin, sd_upper_limit, seeds_for_margin
from sanity.stats.ratios import Ratio, ratio_of_means
from sanity.stats.single import Spread, place, pooled_spread
from sanity.stats.unpaired import verdict_unpaired
from sanity.stats.validity import gates, not_available
from sanity.stats.verdicts import verdict, verdict_best_of, verdict_within

__all__ = [
    "ALIKE_RANDOM",
    "HOLLOW",
    "UNDECIDED",
    "WITHOUT_TRAINING",
    "Interval",
    "Ratio",
    "Spread",
    "Verdict",
    "Word",
    "best_of",
    "compared_orders",
    "equivalence_curve",
    "gates",
    "hierarchical_bootstrap",
    "interaction",
    "minimum_detectable_difference",
    "minimum_margin",
    "not_available",
    "open_verdict",
    "paired_differences",
    "place",
    "pooled_spread",
    "ratio_of_means",
    "sd_upper_limit",
    "seed_table",
    "seeds_for_margin",
    "t_interval",
    "verdict",
    "verdict_all",
    "verdict_best_of",
    "verdict_unpaired",
    "verdict_within",
]
