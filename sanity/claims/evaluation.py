"""From the ledger and a tidy frame of scores to a verdict for every claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sanity.claims.budget import rising_lead
from sanity.claims.choosing import ScoreChoice, chosen
from sanity.claims.comparing import PairedComparison, cone_note, paired
from sanity.claims.fragility import flips_at
from sanity.claims.ledger import Claim, Ledger
from sanity.claims.schema import AllMetrics, Value, is_blind
from sanity.claims.selection import NoRowsError, Primary
from sanity.claims.shares import Shares, shares_of_lead
from sanity.errors import BadInputError
from sanity.stats import (
    UNDECIDED,
    WITHOUT_TRAINING,
    Interval,
    Ratio,
    Verdict,
    Word,
    open_verdict,
    verdict_all,
    verdict_within,
)

ANOTHER_SCALE = "another scale"


@dataclass(frozen=True)
class Finding:
    """What was found about a claim.

    Attributes
    ----------
    elsewhere
        In what the scale of the measurement differs from the claim's, in words; empty where in nothing.
    means
        Mean scores of a comparison's two arms, the judged one first; None for other claims.
    imported
        The name of the run made elsewhere whose scores judged it; empty for the reader's own.
    names
        Those two arms in words; of several others the nearest.
    shares
        What the other arm has of the trained arm's lead; None where nobody asked or nothing is known.
    range_from
        Where the range was measured of which the margin is a share; empty where the ledger declares it.
    flips_at
        The nearest margin within a fifth of the declared one at which the verdict is another, as a fraction
        of the metric's range; None where the verdict stands.
    """

    claim: Claim
    verdict: Verdict
    elsewhere: str = ""
    means: tuple[float, float] | None = None
    imported: str = ""
    names: tuple[str, str] = ("", "")
    shares: Shares | None = None
    range_from: str = ""
    flips_at: float | None = None

    @property
    def fragile(self) -> bool:
        """Whether a margin a fifth smaller or larger would give another verdict."""
        return self.flips_at is not None

    @property
    def supported(self) -> bool | None:
        """Whether the verdict is one that the claim predicts; None where nothing was decided."""
        if self.verdict.verdict in UNDECIDED:
            return None
        return self.verdict.verdict in self.claim.predicts

    def to_json(self) -> dict[str, Any]:
        """The result as `sanity claims --json` prints it."""
        found, claim = self.verdict, self.claim
        decisive, confidence = found.decisive
        return {
            "id": claim.id,
            "verdict": found.verdict,
            "qualifier": found.qualifier,
            "value": found.value,
            "interval": None if decisive is None else [decisive.low, decisive.high],
            "confidence": confidence,
            "means": None if self.means is None else list(self.means),
            "names": list(self.names),
            "n_seeds": found.n_seeds,
            "margin": found.margin,
            "range_from": self.range_from,
            "margin_share": None if isinstance(claim, Value) else claim.margin.fraction,
            "flips_at": self.flips_at,
            "fragile": self.fragile,
            "share_over_untrained": _ends(self.shares and self.shares.over_untrained),
            "share_over_floor": _ends(self.shares and self.shares.over_floor),
            "supported": self.supported,
            "another_scale": self.elsewhere,
            "imported": self.imported,
            "by": claim.by,
            "statement": claim.statement,
            "where": claim.where,
            "paper": claim.paper,
            "blind": is_blind(claim),
            "words": found.words,
        }


def evaluate_all(
    ledger: Ledger,
    scores: pd.DataFrame,
    *,
    primary: Primary | None = None,
    failed_gates: Mapping[str, str] | None = None,
    on_shared_seeds: bool = False,
) -> list[Finding]:
    """A result for every claim of the ledger, in its order.

    Scores that cannot be judged (unpaired seeds, two rows for one cell, NaN) leave their own claim open
    with the reason in words, so that one broken cell does not hide the other claims. With `on_shared_seeds`,
    as for a run that is kept in parts, arms are compared on the seeds that they share; without it one that
    lacks a seed, and may have failed, leaves its claim open.
    """
    return evaluate_with(
        chosen(scores, ledger, primary=primary, failed_gates=failed_gates, on_shared_seeds=on_shared_seeds)
    )


def evaluate_with(choice: ScoreChoice) -> list[Finding]:
    """The same with scores that are checked."""
    results = []
    for claim in choice.ledger.claims:
        try:
            results.append(_evaluated(claim, choice))
        except BadInputError as error:
            results.append(Finding(claim, open_verdict("refused", str(error))))
    return results


def evaluate(
    claim: Claim,
    scores: pd.DataFrame,
    ledger: Ledger,
    *,
    primary: Primary | None = None,
    failed_gates: Mapping[str, str] | None = None,
) -> Finding:
    """Judge one claim.

    Parameters
    ----------
    scores
        Tidy frame with the columns `SCORE_COLUMNS`, one row per arm, seed and metric.
    primary
        What the claim means where its scope is silent.
    failed_gates
        Metric -> why it failed its validity gate. Verdicts that rest on it are turned off.

    Raises
    ------
    BadInputError
        Scores that fit the claim and cannot be judged: unpaired seeds, several rows for one cell, NaN.
    """
    return _evaluated(claim, chosen(scores, ledger, primary=primary, failed_gates=failed_gates))


def _evaluated(claim: Claim, choice: ScoreChoice) -> Finding:
    """The claim's result, open where scores are missing or are of another scale than it is about."""
    try:
        result = _judged(claim, choice)
    except NoRowsError as error:
        return Finding(claim, open_verdict("no result", str(error)))
    elsewhere, found = choice.elsewhere(claim), result.verdict
    if elsewhere and (isinstance(claim, Value) or claim.only_at_scale) and found.verdict != "open":
        words = f"{elsewhere}: the claim is about that scale, so nothing is concluded from it"
        found = replace(found, verdict="open", qualifier=ANOTHER_SCALE, words=words)
    flips = None if found.verdict == "open" else result.flips_at
    return replace(result, verdict=found, elsewhere=elsewhere, flips_at=flips)


def _judged(claim: Claim, choice: ScoreChoice) -> Finding:
    """The claim's result, whatever the scale at which it was measured."""
    if isinstance(claim, Value):
        return Finding(claim, _value(claim, choice))
    if isinstance(claim, AllMetrics):
        verdict_at = _all_metrics(claim, choice)
        declared = claim.margin.fraction
        return Finding(claim, verdict_at(declared), flips_at=flips_at(verdict_at, declared))
    one = paired(claim, claim.metric, choice)
    found, other, alike = one.verdict(), one.nearest_arm, {"equivalent", *WITHOUT_TRAINING}
    found = _noted(found, cone_note(claim, choice) if found.verdict in alike else "")
    found = _noted(found, rising_lead(claim, other, choice))
    return Finding(
        claim,
        found,
        means=(one.judged_mean, one.against_mean),
        names=(claim.judged.label, other.label),
        shares=shares_of_lead(claim, other, choice),
        range_from=one.span.measured_in,
        flips_at=flips_at(one.verdict, one.fraction),
    )


def _ends(ratio: Ratio | None) -> list[float | None] | None:
    """A share with both ends of its interval as JSON data; an end that is not known is None."""
    return None if ratio is None else [None if math.isnan(one) else one for one in ratio]


def _noted(found: Verdict, note: str) -> Verdict:
    """The verdict with a note."""
    if not note or found.verdict == "open":
        return found
    qualifier = "; ".join(part for part in (found.qualifier, note) if part)
    return replace(found, qualifier=qualifier, words=f"{found.words}; {note}")


def _all_metrics(claim: AllMetrics, choice: ScoreChoice) -> Callable[[float], Verdict]:
    """The joint verdict at a margin."""
    found: dict[
        str, PairedComparison | Verdict
    ] = {}  # by the metric's label, which the verdict's words repeat
    for metric in claim.metrics:
        label = choice.ledger.metrics[metric].label
        try:
            found[label] = paired(claim, metric, choice)
        except NoRowsError as error:
            found[label] = open_verdict("no result", str(error))
    ranges = {label: one.span.for_margin for label, one in found.items() if isinstance(one, PairedComparison)}

    def verdict_at(fraction: float) -> Verdict:
        parts = {
            label: one if isinstance(one, Verdict) else one.verdict(fraction) for label, one in found.items()
        }
        return verdict_all(parts, ranges=ranges)

    return verdict_at


def _value(claim: Value, choice: ScoreChoice) -> Verdict:
    values = choice.judged(claim, claim.judged, claim.metric)
    low = -math.inf if claim.expected.low is None else claim.expected.low
    high = math.inf if claim.expected.high is None else claim.expected.high
    failure = choice.failed_gates.get(claim.metric)
    if claim.exact and failure is None:
        return _exact(float(values.iloc[0]), low, high)
    return verdict_within(
        values,
        low=low,
        high=high,
        judged_is_baseline=claim.judged.constraint != "trained",
        higher_is_better=choice.ledger.metrics[claim.metric].direction != "lower",
        gate_failure=failure,
        name=claim.judged.label,
    )


def _exact(value: float, low: float, high: float) -> Verdict:
    """The verdict on a number that is computed: it lies in the range or it does not."""
    point = Interval(value, value)
    if low <= value <= high:
        return Verdict("equivalent", "exact", value, point, 0, None, f"{value:.4g}, computed, as expected")
    side = "above" if value > high else "below"
    words = f"{value:.4g}, computed, {side} the expected {low:.4g} to {high:.4g}"
    word: Word = "baseline better" if side == "above" else "trained better"
    return Verdict(word, f"exact; {side} the expected range", value, point, 0, None, words)
