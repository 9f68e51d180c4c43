"""What the paper's own printed numbers would say of its claims at the ledger's margins.

A printed pair has no paired seeds, and what its +- averages over is not said: so this is a difference of two
numbers against the margin, without an interval, and no verdict in our sense.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from sanity.claims.ledger import Claim, Ledger, book_folder
from sanity.claims.schema import ANY_SCALE, AllMetrics, ArmOf, BestOfSeveral, Value, metrics_of
from sanity.models import Architecture

LAYERS = {"gemma-12": 12, "gemma-19": 19, "llama-16": 16, ANY_SCALE: 12}
"""The layer that tells apart the settings of the paper's tables; claims at any scale mean the main one."""
PAPERS_L0 = 160
PAPERS_ARCHITECTURE = "batchtopk"
"""That of what the paper prints first."""
NOT_THE_PAPERS = ("transcoders", "crosscoders", "across_seeds")
"""What the names of experiments begin with on which the paper prints nothing."""
WORLD_COLUMNS = {"explained_variance": "explained_variance", "recovery": "recovered_fraction"}


@cache
def printed_numbers(folder: Path | None = None) -> pd.DataFrame:
    """Tables 2 to 4 and what the text prints: a row per arm and metric."""
    data = folder or book_folder() / "data"
    names = ("reported_frozen_baselines.csv", "reported_in_text.csv")
    return pd.concat([pd.read_csv(data / name) for name in names], ignore_index=True)


@cache
def printed_worlds(folder: Path | None = None) -> pd.DataFrame:
    """Explained variance and recovery in the synthetic worlds: a row per world and architecture."""
    return pd.read_csv((folder or book_folder() / "data") / "reported_synthetic.csv")


def printed_score(claim: Claim, arm: ArmOf, metric: str) -> float:
    """What the paper prints for an arm of a claim; NaN where its tables have no such cell."""
    if (claim.scope.experiment or "").startswith(NOT_THE_PAPERS):
        return math.nan
    asked = arm.architecture or claim.scope.architecture or PAPERS_ARCHITECTURE
    architecture = Architecture.class_named(asked).title
    if claim.scale.startswith("toy"):
        rows, world = printed_worlds(), arm.world_or_hook or claim.scope.world_or_hook
        rows = rows[rows["probability_model"].eq(str(world)) & rows["architecture"].eq(architecture)]
        known = arm.constraint == "trained" and metric in WORLD_COLUMNS and not arm.experiment
        return float(rows[WORLD_COLUMNS[metric]].iloc[0]) if known and len(rows) else math.nan
    rows = printed_numbers()
    asked_for = {
        "layer": LAYERS.get(claim.scale, -1),
        "l0": arm.l0_target or claim.scope.l0_target or PAPERS_L0,
        "architecture": architecture,
        "variant": arm.constraint,
        "init": arm.init,
        "metric": metric.removesuffix("_error_dropped"),  # which it prints under one name
    }
    found = rows[rows[list(asked_for)].eq(pd.Series(asked_for)).all(axis=1)]
    return float(found["mean"].iloc[0]) if len(found) and not arm.experiment else math.nan


def printed_gaps(claim: Claim, ledger: Ledger) -> dict[str, float]:
    """What the paper prints for a claim, by metric: its number, or by how much the judged arm is ahead.

    Of several others the nearest; in the better direction. Metrics that it does not print are left out.
    """
    found = {}
    for metric in metrics_of(claim):
        judged = printed_score(claim, claim.judged, metric)
        if not isinstance(claim, Value):
            sign = 1.0 if ledger.metrics[metric].direction == "higher" else -1.0
            others = claim.against if isinstance(claim, BestOfSeveral) else (claim.against,)
            gaps = [sign * (judged - printed_score(claim, arm, metric)) for arm in others]
            judged = math.nan if any(map(math.isnan, gaps)) else min(gaps)
        if not math.isnan(judged):
            found[metric] = judged
    return found


def on_printed_numbers(
    claim: Claim, ledger: Ledger, gaps: Mapping[str, float], ranges: Mapping[str, float] | None = None
) -> str:
    """The claim held against the paper's own numbers at the margin that is used; empty where it has none.

    Parameters
    ----------
    gaps
        See `printed_gaps`.
    ranges
        Metric -> the range of which the margin is a share; where silent, that which the ledger declares.
    """
    if isinstance(claim, Value):
        if claim.metric not in gaps:
            return ""
        low, high = claim.expected.low, claim.expected.high
        inside = (low is None or gaps[claim.metric] >= low) and (high is None or gaps[claim.metric] <= high)
        return "as expected" if inside else "outside the expected range"
    found = {}
    for metric in metrics_of(claim):
        entry = ledger.metrics[metric]
        reach = (ranges or {}).get(metric, entry.range or math.nan)
        sign = 1.0 if entry.direction == "higher" else -1.0
        found[metric] = _compared(gaps[metric], sign, claim.margin.fraction * reach) if metric in gaps else ""
    if isinstance(claim, AllMetrics):
        labels = {name: ledger.metrics[name].label for name in found}
        return "; ".join(f"{labels[name]}: {words or 'not printed'}" for name, words in found.items())
    return found[claim.metric]


def _compared(gap: float, sign: float, margin: float) -> str:
    """Within the margin, or which arm is better, and by how much."""
    # rounding, so that a gap of exactly one margin is not decided by the last bit
    gap, margin = round(gap, 6), round(margin, 6)
    word = "within the margin" if abs(gap) <= margin else "trained better" if gap > 0 else "baseline better"
    return f"{word} ({sign * gap:+.3f}, margin {margin:.3g})"
