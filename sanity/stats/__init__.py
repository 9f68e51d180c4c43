"""Statistics over training seeds: paired differences, equivalence, power, and verdicts."""

from sanity.stats.deciding import (
    ALIKE_RANDOM,
    HOLLOW,
    UNDECIDED,
    WITHOUT_TRAINING,
    WORDS,
    Verdict,
    Word,
    has_range,
    open_verdict,
)
from sanity.stats.equivalence import equivalence_curve, tost
from sanity.stats.families import BestOf, best_of, holm
from sanity.stats.interactions import Interaction, interaction
from sanity.stats.intervals import Interval, hierarchical_bootstrap, sign_flip, t_interval, t_test
from sanity.stats.joint import verdict_all
from sanity.stats.orders import compared_orders
from sanity.stats.pairing import paired_differences, seed_table
from sanity.stats.power import (
    difference_power,
    equivalence_power,
    minimum_detectable_difference,
    minimum_margin,
    sd_upper_limit,
    seeds_for_margin,
)
from sanity.stats.ratios import Ratio, ratio_of_means
from sanity.stats.single import Placement, Spread, place, pooled_spread
from sanity.stats.unpaired import verdict_unpaired
from sanity.stats.validity import GATE_COLUMNS, Gate, gate, gates, not_available
from sanity.stats.verdicts import verdict, verdict_best_of, verdict_within

__all__ = [
    "ALIKE_RANDOM",
    "GATE_COLUMNS",
    "HOLLOW",
    "UNDECIDED",
    "WITHOUT_TRAINING",
    "WORDS",
    "BestOf",
    "Gate",
    "Interaction",
    "Interval",
    "Placement",
    "Ratio",
    "Spread",
    "Verdict",
    "Word",
    "best_of",
    "compared_orders",
    "difference_power",
    "equivalence_curve",
    "equivalence_power",
    "gate",
    "gates",
    "has_range",
    "hierarchical_bootstrap",
    "holm",
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
    "sign_flip",
    "t_interval",
    "t_test",
    "tost",
    "verdict",
    "verdict_all",
    "verdict_best_of",
    "verdict_unpaired",
    "verdict_within",
]
