"""What the paper's own printed numbers would say of its claims at the ledger's margins.

A printed pair has no paired seeds, and what its +- averages over is not said: so this is a difference of two
numbers against the margin, without an interval, and no verdict in our sense.
"""

from __future__ import annotations

import math
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


def on_printed_numbers(claim: Claim, ledger: Ledger) -> str:
    """The claim held against the paper's own numbers at the ledger's margin; empty where it has none."""
    if isinstance(claim, Value):
        value = printed_score(claim, claim.judged, claim.metric)
        if math.isnan(value):
            return ""
        low, high = claim.expected.low, claim.expected.high
        inside = (low is None or value >= low) and (high is None or value <= high)
        return "as expected" if inside else "outside the expected range"
    found = {metric: _compared(claim, metric, ledger) for metric in metrics_of(claim)}
    if isinstance(claim, AllMetrics):
        labels = {name: ledger.metrics[name].label for name in found}
        return "; ".join(f"{labels[name]}: {words or 'not printed'}" for name, words in found.items())
    return found[claim.metric]


def _compared(claim: Claim, metric: str, ledger: Ledger) -> str:
    """One metric of a comparison: within the margin, or which arm is better, and by how much of it."""
    assert not isinstance(claim, Value)
    entry = ledger.metrics[metric]
    sign = 1.0 if entry.direction == "higher" else -1.0
    others = claim.against if isinstance(claim, BestOfSeveral) else (claim.against,)
    judged = printed_score(claim, claim.judged, metric)
    gaps = [sign * (judged - printed_score(claim, arm, metric)) for arm in others]
    if any(map(math.isnan, gaps)):
        return ""
    # rounding, so that a gap of exactly one margin is not decided by the last bit
    gap, margin = round(min(gaps), 6), round(claim.margin.fraction * float(entry.range or math.nan), 6)
    word = "within the margin" if abs(gap) <= margin else "trained better" if gap > 0 else "baseline better"
    return f"{word} ({sign * gap:+.3f}, margin {margin:g})"
