"""Which scores judge a claim, and the scale of the metric that they are on.

Seeds that the ledger names as pilots measure a metric's range and reseed noise and are never judged; all
others are judged and never set a margin. Without pilot seeds the range declared in the ledger is used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sanity.claims.ledger import Claim, Ledger
from sanity.claims.schema import ArmOf, Scope, metrics_of, scope_of
from sanity.claims.selection import NoRowsError, Primary, check_scores, rows_at, rows_of
from sanity.claims.sizes import at_another_scale, size_of
from sanity.stats import seed_table

# Means of equal numbers may differ in their last digits.
FLOOR_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Span:
    """How far a metric reaches, and how much of that is noise; in its own units."""

    for_margin: float
    """Of which margins are fractions: measured on pilot seeds, else declared in the ledger."""
    measured_in: str
    """Where those pilot seeds were run: the name of an imported run, or "this run"; empty where declared."""
    available: float
    """Ceiling minus floor of the scores themselves."""
    reseed_sd: float | None


@dataclass(frozen=True)
class ScoreChoice:
    """The scores and what decides which of them a claim reads."""

    scores: pd.DataFrame
    ledger: Ledger
    primary: Primary
    failed_gates: Mapping[str, str]
    on_shared_seeds: bool = False
    """Whether arms may be on more seeds than others, and are compared on those that they share."""
    flat: Mapping[str, str] = field(default_factory=dict)
    """Metrics that do not rise along training, and why they cannot rank arms: none decides a comparison."""

    @functools.cached_property
    def _by_metric(self) -> dict[str, pd.DataFrame]:
        return {str(name): rows for name, rows in self.scores.groupby("metric", sort=False)}

    def of(self, metric: str) -> pd.DataFrame:
        """The rows of a metric; all where it has none, so that what asks for them says so."""
        return self._by_metric.get(metric, self.scores)

    def rows(self, claim: Claim, arm: ArmOf, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The arm's rows on judged seeds and on pilot seeds."""
        scope = scope_of(claim, metric)
        rows = rows_of(self.of(metric), scope=scope, arm=arm, metric=metric, primary=self.primary)
        pilot = rows["seed"].isin(self.ledger.pilot_seeds)
        return rows[~pilot].assign(arm=arm.label), rows[pilot].assign(arm=arm.label)

    def judged(self, claim: Claim, arm: ArmOf, metric: str) -> pd.Series:
        """The arm's scores, indexed by seed, pilots left out."""
        rows, _ = self.rows(claim, arm, metric)
        if rows.empty:
            raise NoRowsError(f"{arm.label} has been run on pilot seeds only")
        return seed_table(rows, arms="arm", what=f"claim {claim.id!r}, {metric}: the scores")[arm.label]

    def span(self, claim: Claim, arms: tuple[ArmOf, ...], metric: str) -> Span:
        """The metric's range, as declared or as measured on pilots, and its reseed noise."""
        pairs = [self.rows(claim, arm, metric) for arm in arms]
        measured = [pilot for _, pilot in pairs if not pilot.empty] or [rows for rows, _ in pairs]
        spreads = [float(np.std(rows["value"], ddof=1)) for rows in measured if len(rows) > 1]
        for_margin, measured_in = self.reach(scope_of(claim, metric), metric)
        here = self._distance(pd.concat(measured), metric)
        return Span(
            for_margin,
            measured_in,
            available=for_margin if here is None else here,
            reseed_sd=min(spreads) if spreads else None,
        )

    def reach(self, scope: Scope, metric: str) -> tuple[float, str]:
        """How far a metric reaches at a place, and where that was measured; empty where it is declared.

        Floor and ceiling are those of the task: pilot seeds of any arm measure them for all arms.
        """
        rows = rows_at(self.of(metric), scope=scope, metric=metric, primary=self.primary)
        pilots = rows[rows["seed"].isin(self.ledger.pilot_seeds)]
        span = self._distance(pilots, metric)
        if span is None:
            return self.ledger.metrics[metric].range or math.nan, ""
        imported = pilots["imported"].dropna().unique() if "imported" in pilots else ()
        return max(span, 0.0), ", ".join(map(str, imported)) or "this run"

    def _distance(self, rows: pd.DataFrame, metric: str) -> float | None:
        """From floor to ceiling in the better direction; None where rows do not say."""
        sign = 1.0 if self.ledger.metrics[metric].direction == "higher" else -1.0
        spans = sign * (rows["ceiling"].astype(float) - rows["floor"].astype(float))
        return float(spans.mean()) if spans.notna().any() else None

    def all_at_floor(self, claim: Claim, arms: tuple[ArmOf, ...], metric: str) -> str | None:
        """A sentence where no arm's mean is better than its floor; None where one is, or nothing says so.

        The floor is what knows nothing reaches: what may be said above it (which arm is better, that both
        are alike) is not what the metric is about below it.
        """
        entry = self.ledger.metrics[metric]
        if entry.direction == "none":
            return None
        sign = 1.0 if entry.direction == "higher" else -1.0
        seen = []
        for arm in arms:
            rows, _ = self.rows(claim, arm, metric)
            value, floor = float(rows["value"].mean()), float(rows["floor"].astype(float).mean())
            if not sign * (value - floor) <= FLOOR_TOLERANCE:  # a missing floor is NaN: nothing is said
                return None
            seen.append(f"{arm.label} {value:.3g} (floor {floor:.3g})")
        return f"no arm is better than the floor, which is {entry.floor}: {'; '.join(seen)}"

    def elsewhere(self, claim: Claim) -> str:
        """In what the scores' scale differs from the one that the claim names; empty where in nothing."""
        scale = self.ledger.scales.get(claim.scale)
        if scale is None:
            return ""
        for metric in metrics_of(claim):
            try:
                rows, _ = self.rows(claim, claim.judged, metric)
            except NoRowsError:
                continue
            return at_another_scale(scale, size_of(rows))
        return ""


def chosen(
    scores: pd.DataFrame,
    ledger: Ledger,
    *,
    primary: Primary | None = None,
    failed_gates: Mapping[str, str] | None = None,
    on_shared_seeds: bool = False,
    flat: Mapping[str, str] | None = None,
) -> ScoreChoice:
    """`scores`, checked, and what decides which of them are read."""
    return ScoreChoice(
        check_scores(scores), ledger, primary or {}, failed_gates or {}, on_shared_seeds, flat or {}
    )
