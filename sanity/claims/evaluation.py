"""From the ledger and a tidy frame of scores to a verdict for every claim.

Seeds that the ledger names as pilots measure a metric's range and reseed noise and are never judged; all
others are judged and never set a margin. Without pilot seeds the range declared in the ledger is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sanity.claims.ledger import Claim, Ledger
from sanity.claims.schema import AllMetrics, ArmOf, BestOfSeveral, Comparison, Value, is_blind
from sanity.claims.selection import NoRowsError, Primary, check_scores, rows_of, with_recovered
from sanity.errors import BadInputError
from sanity.stats import (
    Interval,
    Verdict,
    Word,
    open_verdict,
    paired_differences,
    seed_table,
    verdict,
    verdict_all,
    verdict_best_of,
    verdict_within,
)


@dataclass(frozen=True)
class Result:
    """What was found about a claim."""

    claim: Claim
    verdict: Verdict

    @property
    def supported(self) -> bool | None:
        """Whether the verdict is one that the claim predicts; None where nothing was decided."""
        if self.verdict.verdict in ("inconclusive", "no range", "open"):
            return None
        return self.verdict.verdict in self.claim.predicts

    def to_json(self) -> dict[str, Any]:
        """The result as `sanity claims --json` prints it."""
        found, claim = self.verdict, self.claim
        return {
            "id": claim.id,
            "verdict": found.verdict,
            "qualifier": found.qualifier,
            "value": found.value,
            "interval": None if found.interval is None else [found.interval.low, found.interval.high],
            "n_seeds": found.n_seeds,
            "margin": found.margin,
            "supported": self.supported,
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
) -> list[Result]:
    """A result for every claim of the ledger, in its order.

    Scores that cannot be judged (unpaired seeds, two rows for one cell, NaN) leave their own claim open
    with the reason in words, so that one broken cell does not hide the other claims.
    """
    check_scores(scores)
    results = []
    for claim in ledger.claims:
        try:
            results.append(evaluate(claim, scores, ledger, primary=primary, failed_gates=failed_gates))
        except BadInputError as error:
            results.append(Result(claim, open_verdict("refused", str(error))))
    return results


def evaluate(
    claim: Claim,
    scores: pd.DataFrame,
    ledger: Ledger,
    *,
    primary: Primary | None = None,
    failed_gates: Mapping[str, str] | None = None,
) -> Result:
    """Judge one claim.

    Parameters
    ----------
    scores
        Tidy frame with the columns `SCORE_COLUMNS`, one row per arm, seed and metric.
    primary
        What the profile's primary grid says where the claim's scope is silent; see `primary_grid`.
    failed_gates
        Metric -> why it failed its validity gate. Verdicts that rest on it are turned off.

    Raises
    ------
    BadInputError
        Scores that fit the claim and cannot be judged: unpaired seeds, several rows for one cell, NaN.
    """
    chosen = _Chosen(with_recovered(check_scores(scores)), ledger, primary or {}, failed_gates or {})
    try:
        if isinstance(claim, Value):
            found = _value(claim, chosen)
        elif isinstance(claim, AllMetrics):
            found = _all_metrics(claim, chosen)
        elif isinstance(claim, BestOfSeveral):
            found = _best_of(claim, chosen)
        else:
            found = _pair(claim, claim.metric, chosen)
    except NoRowsError as error:
        found = open_verdict("no result", str(error))
    return Result(claim, found)


@dataclass(frozen=True)
class _Chosen:
    """The scores and what decides which of them a claim reads."""

    scores: pd.DataFrame
    ledger: Ledger
    primary: Primary
    failed_gates: Mapping[str, str]

    def rows(self, claim: Claim, arm: ArmOf, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The arm's rows on judged seeds and on pilot seeds."""
        rows = rows_of(self.scores, scope=claim.scope, arm=arm, metric=metric, primary=self.primary)
        pilot = rows["seed"].isin(self.ledger.pilot_seeds)
        return rows[~pilot].assign(arm=arm.label), rows[pilot].assign(arm=arm.label)

    def judged(self, claim: Claim, arm: ArmOf, metric: str) -> pd.Series:
        """The arm's scores, indexed by seed, pilots left out."""
        rows, _ = self.rows(claim, arm, metric)
        if rows.empty:
            raise NoRowsError(f"{arm.label} has been run on pilot seeds only")
        return seed_table(rows, arms="arm", what=f"claim {claim.id!r}, {metric}: the scores")[arm.label]

    def scale(self, claim: Claim, arms: tuple[ArmOf, ...], metric: str) -> _Scale:
        """The metric's range, as declared or as measured on pilots, and its reseed noise."""
        pairs = [self.rows(claim, arm, metric) for arm in arms]
        pilots = [pilot for _, pilot in pairs if not pilot.empty]
        measured = pilots or [rows for rows, _ in pairs]
        entry = self.ledger.metrics[metric]
        sign = 1.0 if entry.direction == "higher" else -1.0
        together = pd.concat(measured)
        spans = sign * (together["ceiling"].astype(float) - together["floor"].astype(float))
        span = float(spans.mean()) if spans.notna().any() else None
        declared = entry.range or math.nan
        spreads = [float(np.std(rows["value"], ddof=1)) for rows in measured if len(rows) > 1]
        return _Scale(
            for_margin=max(span, 0.0) if pilots and span is not None else declared,
            available=declared if span is None else span,
            reseed_sd=min(spreads) if spreads else None,
        )


@dataclass(frozen=True)
class _Scale:
    for_margin: float
    available: float
    reseed_sd: float | None


def _pair(claim: Comparison | AllMetrics, metric: str, chosen: _Chosen) -> Verdict:
    judged = chosen.judged(claim, claim.judged, metric)
    against = chosen.judged(claim, claim.against, metric)
    scale = chosen.scale(claim, (claim.judged, claim.against), metric)
    return verdict(
        paired_differences(judged, against, what=f"claim {claim.id!r}, {metric}: the scores"),
        margin=claim.margin.fraction * scale.for_margin,
        metric_range=scale.available,
        reseed_sd=scale.reseed_sd,
        higher_is_better=chosen.ledger.metrics[metric].direction == "higher",
        gate_failure=chosen.failed_gates.get(metric),
        names=(claim.judged.label, claim.against.label),
    )


def _all_metrics(claim: AllMetrics, chosen: _Chosen) -> Verdict:
    parts: dict[str, Verdict] = {}
    ranges: dict[str, float] = {}
    for metric in claim.metrics:
        try:
            ranges[metric] = chosen.scale(claim, (claim.judged, claim.against), metric).for_margin
            parts[metric] = _pair(claim, metric, chosen)
        except NoRowsError as error:
            parts[metric] = open_verdict("no result", str(error))
    return verdict_all(parts, ranges=ranges)


def _best_of(claim: BestOfSeveral, chosen: _Chosen) -> Verdict:
    judged = chosen.judged(claim, claim.judged, claim.metric)
    what = f"claim {claim.id!r}, {claim.metric}: the scores"
    differences = {
        arm.label: paired_differences(judged, chosen.judged(claim, arm, claim.metric), what=what)
        for arm in claim.against
    }
    scale = chosen.scale(claim, (claim.judged, *claim.against), claim.metric)
    return verdict_best_of(
        pd.DataFrame(differences),
        margin=claim.margin.fraction * scale.for_margin,
        metric_range=scale.available,
        reseed_sd=scale.reseed_sd,
        higher_is_better=chosen.ledger.metrics[claim.metric].direction == "higher",
        gate_failure=chosen.failed_gates.get(claim.metric),
        judged=claim.judged.label,
    )


def _value(claim: Value, chosen: _Chosen) -> Verdict:
    values = chosen.judged(claim, claim.judged, claim.metric)
    low = -math.inf if claim.expected.low is None else claim.expected.low
    high = math.inf if claim.expected.high is None else claim.expected.high
    failure = chosen.failed_gates.get(claim.metric)
    if claim.exact and failure is None:
        return _exact(float(values.iloc[0]), low, high)
    return verdict_within(
        values,
        low=low,
        high=high,
        judged_is_baseline=claim.judged.constraint != "trained",
        higher_is_better=chosen.ledger.metrics[claim.metric].direction != "lower",
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
