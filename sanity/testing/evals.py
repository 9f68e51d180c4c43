"""Checks of an eval, through the planner and a store, as the book uses it."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pandas as pd

from sanity.baselines import Untrained
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore
from sanity.evals import METRICS, Eval, Score
from sanity.evals.base import GRADED_COLUMNS
from sanity.experiments.planner import plan_runs
from sanity.experiments.reading import Reader
from sanity.models import Arm, TopK, Trained
from sanity.sources import Budget, RunSpec, Source
from sanity.testing.contract import SMALL_WORLD, check_name, require


def check_eval(one: Eval, source: Source = SMALL_WORLD, *, d_sae: int = 32, l0: int = 3) -> pd.DataFrame:
    """It plans, scores SAEs alone as in company, declares what it measures, and grades its own reference.

    Trains four small SAEs on `source` (two seeds, trained and untrained) in a temporary store.

    Returns
    -------
    Its scores, to be looked at.
    """
    check_name(one)
    where = type(one).__name__
    require(one.version >= 1, f"{where} needs a version of at least 1")
    require(bool(one.metrics), f"{where} declares no metrics")
    undeclared = [name for name in one.metrics if METRICS.get(name) != one.metrics[name]]
    require(not undeclared, f"{where} and another eval declare {undeclared} differently")
    budget = Budget(steps=30, batch_size=128)
    runs = [
        RunSpec(Arm(TopK(l0), d_sae, constraint, seed=seed), source, budget)
        for constraint in (Trained(), Untrained())
        for seed in (0, 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(plan_runs(runs, {one.name: one}), LocalStore(Path(folder) / "together"))
        scores = reader.scores("runs", evals=[one.name])
        _check_scores(one, scores, len(runs))
        alone = Reader(plan_runs(runs[:1], {one.name: one}), LocalStore(Path(folder) / "alone"))
        same = alone.scores("runs", evals=[one.name])
        own = scores[(scores["constraint"] == "trained") & (scores["seed"] == 0)].reset_index(drop=True)
        pd.testing.assert_frame_equal(same, own, check_dtype=False)
        _check_keys(one, runs)
        if reader.plan.graded:
            compute([graded.cell for graded in reader.plan.graded], reader.store)
            _check_grades(one, reader.graded())
    return scores


def _check_scores(one: Eval, scores: pd.DataFrame, runs: int) -> None:
    where = type(one).__name__
    missing = [name for name in Score.__dataclass_fields__ if name not in scores]
    require(len(scores) > 0 and not missing, f"{where} gives no tidy scores: they lack {missing or 'rows'}")
    each = scores.groupby("metric").size()
    require(bool((each == runs).all()), f"{where} does not score every SAE on every metric: {each.to_dict()}")
    known = set(one.metrics) & set(scores["metric"])
    require(bool(known), f"{where} declares {list(one.metrics)} and scores others")
    for name, metric in one.metrics.items():
        rows = scores[scores["metric"] == name]
        if metric.direction != "none" and len(rows) and rows["ceiling"].notna().all():
            sign = 1 if metric.direction == "higher" else -1
            better = sign * (rows["ceiling"] - rows["floor"]).astype(float) >= 0
            require(bool(better.all()), f"{where}: the ceiling of {name} is worse than its floor")


def _check_keys(one: Eval, runs: list[RunSpec]) -> None:
    """Another version of the eval is another key for its scores, and none for the SAEs."""

    class NextVersion(type(one)):  # type: ignore[misc]
        name = ""
        version = one.version + 1

    later = NextVersion(**{field.name: getattr(one, field.name) for field in dataclasses.fields(one)})
    now, then = (plan_runs(runs[:1], {"it": made}).runs[0] for made in (one, later))
    require(now.trained.key == then.trained.key, "the version of an eval is part of the key of SAEs")
    require(now.scored["it"].key != then.scored["it"].key, "its version is no part of its scores' key")


def _check_grades(one: Eval, graded: pd.DataFrame) -> None:
    where = type(one).__name__
    missing = [name for name in GRADED_COLUMNS if name not in graded]
    require(not missing, f"{where}.grade lacks the columns {missing}")
    kinds = set(graded["kind"])
    gated = {name for name, metric in one.metrics.items() if metric.gate in kinds}
    own = {name for name, metric in one.metrics.items() if metric.gate}
    require(bool(gated) or not own, f"{where} corrupts {sorted(kinds)}, and its metrics are gated by others")
    ends = graded.groupby("metric")["level"].agg(["min", "max"])
    whole = bool((ends["min"] == 0).all() and (ends["max"] == 1).all())
    require(whole, f"{where} does not grade from 0 to 1")
