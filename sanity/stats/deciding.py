"""What a verdict is, and the rules by which measured differences become one.

`trained better`, `baseline better`, `equivalent`, `inconclusive`; `equivalent, but so is an untrained
dictionary` (or an SAE of a random transformer) where the metric does not see what training adds
(`sanity.claims.sensitivity`); `no range` where it cannot tell arms apart, and `open` where there is no usable
result. "Trained" is the arm that is judged and "baseline" whatever it is compared with.

The rules for the cases that textbooks leave out:

===============================  ==================================================================
a single seed                    inconclusive: the value is shown, without an interval
every difference exactly zero    equivalent (identical), from two seeds, whatever the margin
every difference the same        decided at face value from three seeds, else inconclusive
a margin of zero                 only identical arms are equivalent; differences are still detected
range within reseed noise        no range (see `has_range`)
all arms at or below the floor   no range: arms equally bad, or one less bad, decide nothing
a metric that failed its gate    open: its verdicts are turned off, its number is still shown
===============================  ==================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from sanity.stats.intervals import Interval, t_interval
from sanity.stats.pairing import constant

Word = Literal[
    "trained better",
    "baseline better",
    "equivalent",
    "equivalent, but so is an untrained dictionary",
    "equivalent, but so is an SAE of a random transformer",
    "inconclusive",
    "no range",
    "open",
]
WORDS: tuple[Word, ...] = get_args(Word)
HOLLOW: Word = "equivalent, but so is an untrained dictionary"
ALIKE_RANDOM: Word = "equivalent, but so is an SAE of a random transformer"
WITHOUT_TRAINING: frozenset[Word] = frozenset({HOLLOW, ALIKE_RANDOM})
"""Equivalences that hold for a control, too."""
UNDECIDED: frozenset[Word] = WITHOUT_TRAINING | {"inconclusive", "no range", "open"}

# A range must exceed the band of two reseed SDs on either side of a score, or reseeding moves across it.
RANGE_SDS = 4.0
# Two equal differences may be a coincidence of a coarse metric.
SEEDS_WITHOUT_NOISE = 3
NO_VARIANCE: tuple[Word, str] = ("inconclusive", "no variance over seeds")


@dataclass(frozen=True)
class Verdict:
    """What the scores say about one comparison.

    Attributes
    ----------
    verdict
        One of `WORDS`.
    qualifier
        What the verdict does not say: "identical", "detectably better, within the margin", "single seed".
    value
        Mean paired difference, judged arm minus baseline, in the metric's own units and direction.
    interval
        Its two-sided (1 - alpha) t-interval over seeds; None with fewer than two seeds.
    tight
        The (1 - 2 alpha) interval: inside the margin exactly where TOST succeeds.
    margin
        Half-width of the equivalence region, in the metric's units.
    p_difference, p_equivalence, p_sign_flip
        Two-sided paired t, TOST, and two-sided sign-flip p-values.
    words
        The same as a sentence.
    """

    verdict: Word
    qualifier: str
    value: float | None
    interval: Interval | None
    n_seeds: int
    margin: float | None
    words: str
    tight: Interval | None = None
    p_difference: float | None = None
    p_equivalence: float | None = None
    p_sign_flip: float | None = None

    @property
    def decisive(self) -> tuple[Interval | None, str]:
        """The interval that the verdict rests on, and its confidence in words."""
        by_margin = self.verdict == "equivalent" or self.verdict in WITHOUT_TRAINING
        return (self.tight, "90 %") if by_margin and self.tight is not None else (self.interval, "95 %")


def open_verdict(qualifier: str, words: str, *, value: float | None = None, n_seeds: int = 0) -> Verdict:
    """A comparison without a usable result."""
    return Verdict("open", qualifier, value, None, n_seeds, None, words)


def has_range(metric_range: float, *, reseed_sd: float | None, margin: float) -> bool:
    """Whether a metric can tell arms apart: its range exceeds reseed noise, and two margins.

    Parameters
    ----------
    metric_range
        Ceiling minus floor of the task (or reference minus floor), in the metric's units.
    reseed_sd
        SD of one arm's score over seeds, the steadiest arm's: an arm that sometimes collapses shows its own
        instability and not the metric's. None where only one seed is known.
    """
    if metric_range <= 2 * margin:
        return False
    return reseed_sd is None or metric_range > RANGE_SDS * reseed_sd


@dataclass(frozen=True)
class Measurement:
    """A comparison's numbers, from which the verdict is read."""

    value: float
    interval: Interval
    tight: Interval
    p_difference: float | None
    p_equivalence: float | None
    p_sign_flip: float | None


def refusal(
    values: Float[np.ndarray, " seeds"],
    margin: float,
    metric_range: float | None,
    reseed_sd: float | None,
    gate_failure: str | None,
    all_at_floor: str | None = None,
) -> Verdict | None:
    """The verdict where nothing may be concluded, whatever the differences say."""
    if values.size == 0:
        return open_verdict("no result", "no seed has been run")
    value = float(values.mean())
    if gate_failure is not None:
        words = (
            f"the metric failed its validity gate ({gate_failure}), so nothing is concluded from {value:.4g}"
        )
        return open_verdict("validity gate failed", words, value=value, n_seeds=values.size)
    interval = t_interval(values) if values.size > 1 else None
    if all_at_floor is not None:
        return Verdict(
            "no range", "no arm above the floor", value, interval, values.size, margin, all_at_floor
        )
    if metric_range is not None and not has_range(metric_range, reseed_sd=reseed_sd, margin=margin):
        noise = "" if reseed_sd is None else f", its reseed SD {reseed_sd:.2g}"
        words = (
            f"the metric's range is {metric_range:.3g}, the margin {margin:.2g}{noise}: it cannot decide this"
        )
        return Verdict("no range", "range within noise", value, interval, values.size, margin, words)
    if values.size == 1:
        words = f"{value:.4g} on a single seed: run at least 3 to learn how much of it is noise"
        return Verdict("inconclusive", "single seed", value, None, 1, margin, words)
    return None


def coincidence(values: Float[np.ndarray, " seeds"]) -> bool:
    """Whether equal numbers on so few seeds may be the coincidence of a coarse metric."""
    return values.size < SEEDS_WITHOUT_NOISE and constant(values)


def decide(
    measured: Measurement, margin: float, higher_is_better: bool, alpha: float, note: str
) -> tuple[Word, str]:
    """The word and its qualifier, from the two tests."""
    notes = [note] if note else []
    judged_wins = (measured.value > 0) == higher_is_better
    different = measured.p_difference is not None and measured.p_difference < alpha
    if measured.p_equivalence is not None and measured.p_equivalence < alpha:
        if different:
            notes.append(f"detectably {'better' if judged_wins else 'worse'}, within the margin")
        return "equivalent", "; ".join(notes)
    if different:
        beyond = measured.tight.low > margin or measured.tight.high < -margin
        notes.append("by more than the margin" if beyond else "perhaps by less than the margin")
        return ("trained better" if judged_wins else "baseline better"), "; ".join(notes)
    notes.append("margin of zero" if margin == 0 else "too few seeds or too much noise")
    return "inconclusive", "; ".join(notes)


def finish(
    measured: Measurement,
    word: Word,
    qualifier: str,
    n_seeds: int,
    margin: float | None,
    names: tuple[str, str],
) -> Verdict:
    """The verdict with its sentence."""
    found = Verdict(word, qualifier, n_seeds=n_seeds, margin=margin, words="", **vars(measured))
    interval, confidence = found.decisive
    low, high = interval or measured.interval
    numbers = f"{measured.value:.4g} [{low:.4g}, {high:.4g}] ({confidence}) over {n_seeds} seeds"
    held = f", margin {margin:.3g}" if margin is not None else ""
    words = f"{names[0]} against {names[1]}: {word} ({qualifier}); {numbers}{held}"
    return replace(found, words=words)
