"""One SAE against the seeds of a null: does it lie outside their spread?

A single SAE has no mean over its seeds, and no t-test. What can be asked is whether it could be one more seed
of the null: by a prediction interval (Gaussian), and by its rank among the seeds (exact, whatever the
distribution, where it would be exchangeable with them; with n seeds its smallest p-value is 1 / (n + 1)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from sanity.errors import BadInputError
from sanity.stats.deciding import Measurement, Verdict, decide, refusal
from sanity.stats.equivalence import check_margin
from sanity.stats.intervals import Interval
from sanity.stats.pairing import Numbers, vector


@dataclass(frozen=True)
class Spread:
    """How much seeds of nulls differ: the SD within each null, pooled over nulls."""

    sd: float
    df: int
    """Seeds less nulls."""


def pooled_spread(leads: Mapping[str, Numbers]) -> Spread:
    """The SD of leads over seeds within nulls, pooled; nulls of one seed add nothing."""
    several = [values for given in leads.values() if (values := vector(given, what="leads")).size > 1]
    df = sum(values.size - 1 for values in several)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in several)
    return Spread(math.sqrt(squares / df) if df else math.nan, df)


@dataclass(frozen=True)
class Placement:
    """Where one SAE lies among the seeds of a null."""

    verdict: Verdict
    """Its interval holds what the SAE leads a further seed of the null by."""
    rank: int
    """1: better than every seed; ties count against the SAE."""
    of: int
    p_rank: float
    """One-sided, that it is one more seed of the null."""
    spread: Spread
    smallest_margin: float | None
    """Below it, the null cannot be called equivalent."""


def place(
    leads: Numbers,
    *,
    spread: Spread,
    margin: float,
    metric_range: float | None = None,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    gate_failure: str | None = None,
    all_at_floor: str | None = None,
    names: tuple[str, str] = ("the given SAE", "the null"),
) -> Placement:
    """Place one SAE among the seeds of a null.

    Parameters
    ----------
    leads : shape [seeds]
        The SAE's score minus that of each seed of the null, both asked the same.
    spread
        Of the null's seeds, see `pooled_spread`.
    margin, metric_range, higher_is_better, gate_failure, all_at_floor
        As for `verdict`.

    Examples
    --------
    >>> leads = [0.30, 0.31, 0.29]
    >>> found = place(leads, spread=pooled_spread({"null": leads}), margin=0.05)
    >>> found.verdict.verdict, found.rank, found.of, found.p_rank
    ('trained better', 1, 4, 0.25)
    """
    check_margin(margin)
    values = vector(leads, what="the leads")
    if not values.size:
        raise BadInputError("a null without seeds: run at least one")
    sign = 1 if higher_is_better else -1
    better = int((sign * values <= 0).sum())
    rank, of = better + 1, values.size + 1

    def placed_with(found: Verdict, smallest: float | None = None) -> Placement:
        return Placement(found, rank, of, rank / of, spread, smallest)

    known = spread.df > 0
    reseed = spread.sd if known else None
    refused = refusal(values, margin, metric_range, reseed, gate_failure, all_at_floor)
    if refused is not None and refused.qualifier != "single seed":
        return placed_with(refused)
    value = float(values.mean())
    placed = f"{names[0]} against {names[1]}: rank {rank} of {of} (p {rank / of:.2g})"
    if not known:
        words = f"{placed}; {value:.4g} ahead of one seed: two or more show how much seeds differ"
        qualifier = "single seed of the null"
        return placed_with(Verdict("inconclusive", qualifier, value, None, 1, margin, words))
    measured = _measured(value, values, spread, margin, alpha)
    word, qualifier = decide(measured, margin, higher_is_better, alpha, "one SAE, prediction interval")
    low, high = measured.interval
    words = (
        f"{placed}: {word} ({qualifier}); ahead of a further seed by {value:.4g} [{low:.4g}, {high:.4g}], "
        f"margin {margin:.3g}"
    )
    found = Verdict(word, qualifier, n_seeds=values.size, margin=margin, words=words, **vars(measured))
    smallest = max(abs(measured.tight.low), abs(measured.tight.high))
    return placed_with(found, smallest)


def _measured(
    value: float, values: Float[np.ndarray, " seeds"], spread: Spread, margin: float, alpha: float
) -> Measurement:
    """The prediction interval of the lead over a further seed, and its two tests."""
    scale = spread.sd * math.sqrt(1 + 1 / values.size)
    if scale == 0:
        outside = 0.0 if value else 1.0
        return Measurement(value, Interval(value, value), Interval(value, value), outside,
                        float(abs(value) >= margin), None)  # fmt: skip
    t = stats.t(spread.df)

    def around(confidence: float) -> Interval:
        half = float(t.ppf(0.5 + confidence / 2)) * scale
        return Interval(value - half, value + half)

    return Measurement(
        value,
        around(1 - alpha),
        around(1 - 2 * alpha),
        float(2 * t.sf(abs(value) / scale)),
        float(max(t.sf((value + margin) / scale), t.cdf((value - margin) / scale))),
        None,
    )
