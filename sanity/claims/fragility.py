"""Which verdicts hang on the margin: those that one a fifth smaller or larger would change."""

from __future__ import annotations

from collections.abc import Callable

from sanity.stats import Verdict

WITHIN = 0.2
"""A verdict that another margin changes, nearer to the declared one than this share of it, is fragile."""
_HALVINGS = 8


def flips_at(verdict_at: Callable[[float], Verdict], declared: float) -> float | None:
    """The margin nearest to the declared one at which the verdict is another word; None where it stands.

    Every condition of a verdict (inside the margin, range enough, controls told apart) turns once as the
    margin grows, so that the two ends of the band show every flip, and halving finds where it is.

    Parameters
    ----------
    verdict_at
        The verdict at a margin, as a fraction of the metric's range.
    declared
        The margin of the claim, as such a fraction.
    """
    word = verdict_at(declared).verdict
    found = []
    for end in (declared * (1 - WITHIN), declared * (1 + WITHIN)):
        stands, flipped = declared, end
        if verdict_at(end).verdict == word:
            continue
        for _ in range(_HALVINGS):
            middle = (stands + flipped) / 2
            stands, flipped = (middle, flipped) if verdict_at(middle).verdict == word else (stands, middle)
        found.append(flipped)
    return min(found, key=lambda margin: abs(margin - declared), default=None)
