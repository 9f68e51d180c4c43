"""Whether a lead in reconstruction still grew when training ended: a verdict at one budget is a point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sanity.claims.choosing import ScoreChoice
from sanity.claims.schema import ArmOf, BestOfSeveral, Comparison
from sanity.claims.selection import NoRowsError
from sanity.errors import BadInputError
from sanity.evals.metric import METRICS
from sanity.stats import t_interval

READ = "explained_variance"
TRAJECTORY = "trajectory"
"""The experiment whose scores are snapshots of one arm."""
RECONSTRUCTION = (READ, "least_layer_ev", "ce_recovered", "kl_recovered")
"""Metrics whose verdicts say how the lead in explained variance moved over the last doubling of samples."""


def rising_lead(claim: Comparison | BestOfSeveral, against: ArmOf, choice: ScoreChoice) -> str:
    """What to say where the lead grew between half of the samples and their end, on the same curves.

    Empty where it did not (the 90 % interval of its growth over seeds holds 0), or where no curve was read.
    """
    if claim.metric not in RECONSTRUCTION or claim.scope.experiment is None:
        return ""
    try:
        half, end = (_lead(claim, against, at, choice) for at in (0.5, 1.0))
    except (NoRowsError, BadInputError):
        return ""
    if half is None or end is None or len(end) < 2:
        return ""
    growth = (end - half) * math.copysign(1.0, end.mean())
    low, high = t_interval(growth, confidence=0.90)
    if not low > 0:
        return ""
    return (
        f"lead still rising: in explained variance by {growth.mean():.3f} [{low:.3f}, {high:.3f}] "
        "per doubling of the samples"
    )


def _lead(
    claim: Comparison | BestOfSeveral, against: ArmOf, at: float, choice: ScoreChoice
) -> pd.Series | None:
    """Judged minus other arm in explained variance after a share of the samples, seed by seed."""
    experiments = choice.ledger.experiments
    here = experiments.get(str(claim.scope.experiment))
    grids = set(here.grids) if here else {claim.scope.experiment}
    then = [
        name
        for name, one in experiments.items()
        if one.at == at and READ in one.metrics and grids & set(one.grids)
    ]
    if not then or any(arm.experiment for arm in (claim.judged, against)):
        return None
    judged, other = (
        choice.judged(claim, arm.model_copy(update={"experiment": then[0]}), READ)
        for arm in (claim.judged, against)
    )
    return (judged - other).dropna()


def trajectory(scores: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, str]:
    """The scores along training, of whichever run has most seeds of them, and its name; "" for `scores`.

    Another run counts only where its snapshots are of the same SAEs: `d_sae`, `architecture`, place, and the
    samples that they end with.
    """
    own = scores[scores["experiment"] == TRAJECTORY]
    known = {"": own}
    for name, frame in others.items():
        rows = frame[frame["experiment"] == TRAJECTORY]
        known |= {name: rows} if len(rows) and len(own) and _size(rows) == _size(own) else {}
    name = max(known, key=lambda one: known[one]["seed"].nunique())
    return known[name], name


def _size(rows: pd.DataFrame) -> tuple[object, ...]:
    columns = [name for name in ("d_sae", "architecture", "world_or_hook") if name in rows]
    end = float(rows["samples"].max()) if "samples" in rows else 0.0
    return (end, *(tuple(sorted(rows[name].astype(str).unique())) for name in columns))


def flat_metrics(rows: pd.DataFrame, whose: str = "") -> dict[str, str]:
    """Metrics that do not rise along the trained arm's own training, with why they cannot rank arms.

    `whose` names the run that the rows were imported from.
    """
    found = rises(rows)
    flat = found[found["rises"].eq(False)] if len(found) else found
    source = f"; imported: {whose}" if whose else ""
    return {str(one.metric): _does_not_rise(one, source) for one in flat.itertuples()}


def _does_not_rise(row: Any, source: str) -> str:
    return (
        f"does not rise along training ({row.gain:+.3f} [{row.low:.3f}, {row.high:.3f}] from the first "
        f"snapshot to the end, {row.seeds} seeds{source}), so it cannot rank arms"
    )


def rises(scores: pd.DataFrame) -> pd.DataFrame:
    """Whether metrics rise along one arm's own training: a row for every metric of a grid of snapshots.

    Columns: `metric`, `seeds`, the mean after each share of the samples, `gain` from the first to the last in
    the better direction with its 90 % interval (`low`, `high`), and `rises`: whether the interval is above 0
    (None on a single seed). A metric that does not rise cannot rank arms.
    """
    rows = []
    for name, part in scores.groupby("metric", sort=False):
        metric = METRICS.get(str(name))
        if metric is None or metric.direction == "none":
            continue
        wide = part.pivot_table(index="seed", columns="samples", values="value").dropna()
        sign = 1.0 if metric.direction == "higher" else -1.0
        gain = sign * (wide.iloc[:, -1] - wide.iloc[:, 0])
        low, high = t_interval(gain, confidence=0.90) if len(gain) > 1 else (math.nan, math.nan)
        at = wide.columns.to_numpy(dtype=float) / float(wide.columns[-1])
        shares = dict(zip(map("{:.0%}".format, at), wide.mean().to_list(), strict=True))
        ends = {"gain": gain.mean(), "low": low, "high": high, "rises": low > 0 if len(gain) > 1 else None}
        rows.append({"metric": str(name), "seeds": len(gain), **shares, **ends})
    return pd.DataFrame(rows)
