"""The gate of every metric of the ledger: passed, failed, or not available and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from types import MappingProxyType

import pandas as pd

from sanity.claims import GATE_TABLE_COLUMNS, Ledger, read_ledger
from sanity.engine.cells import Result
from sanity.engine.store import LocalStore
from sanity.experiments.grid import stack
from sanity.experiments.metric_validity.planning import graded
from sanity.profiles import Profile
from sanity.stats import GATE_COLUMNS, Gate, gates, not_available

MEAN = "mean"
TRUTH = "mixed"
OWN_KIND: Mapping[str, str] = MappingProxyType(
    {
        "explained_variance": MEAN,
        "ce_recovered": MEAN,
        "kl_recovered": MEAN,
        "recovery": TRUTH,
        "frequency_weighted_recovery": TRUTH,
        "mean_max_cosine": TRUTH,
        "mean_matched_cosine": TRUTH,
        "detection_f1": TRUTH,
        "cosine_to_init": TRUTH,
        "dead_latents": "silenced",
    }
)
"""The corruption by which a metric is gated: that of what it says it measures. Others are shown beside it.

Explained variance and the losses speak of the reconstructed activation, so their reference is the activation.
What explained variance says of the true dictionary is a finding, and turns nothing off.
"""
REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        MEAN: "the activation itself, moved towards its mean",
        TRUTH: "the true directions, each mixed with a random one",
        "silenced": "the true dictionary, a share of its latents silenced",
    }
)
TASK_EVALS: Mapping[str, str] = MappingProxyType(
    {
        "sparse_probing_top1": "sparse_probing",
        "sparse_probing_top5": "sparse_probing",
        "ravel_disentanglement": "causal_editing",
        "autointerp_auroc": "interpretability",
        "autointerp_auroc_token_matched": "interpretability",
        "autointerp_judge": "judged_interpretability",
    }
)
"""Metric -> the experiment that corrupts its task's reference, in its function `graded(profile, store)`."""
TASK_REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "sparse_probing": "the probing task's own reference",
        "causal_editing": "the editing task's own reference",
        "interpretability": "latents whose examples are known",
        "judged_interpretability": "descriptions that are known to be right",
    }
)
UNGATED: Mapping[str, str] = MappingProxyType(
    {
        "l0": "it is a quantity to be matched, of which no value is better",
        "log10_cone_bound": "it is computed from a formula and measures nothing",
        "cone_reach": "it is computed from a formula and measures nothing",
    }
)


def gate_table(
    profile: Profile,
    store: LocalStore | None = None,
    *,
    ledger: Ledger | None = None,
    metrics: Collection[str] | None = None,
) -> tuple[pd.DataFrame, list[Result]]:
    """The gate of every metric of the ledger, or of `metrics`, and the results that this chapter adds to it.

    One row per metric and place; columns: `GATE_TABLE_COLUMNS`, then the numbers of `Gate`. What trained and
    random arms score takes no part. Only what the metrics need is read (and computed, where it is missing).
    """
    ledger = ledger or read_ledger()
    wanted = [name for name in ledger.metrics if metrics is None or name in metrics]
    judged: list[tuple[str, Gate]] = []
    found: list[Result] = []
    if any(name in OWN_KIND for name in wanted):
        readings, found = graded(profile, store)
        judged += own_gates(readings, ledger)
    for module in dict.fromkeys(TASK_EVALS[name] for name in wanted if name in TASK_EVALS):
        judged += task_gates(module, profile, store, ledger)
    have = {gate.metric for _, gate in judged}
    for name in wanted:
        if name not in have:
            why = UNGATED.get(name, "no reference of it is corrupted at this profile")
            judged.append(("", not_available(name, why)))
    rows = [{**gate.row(), "place": place} for place, gate in judged if gate.metric in wanted]
    table = pd.DataFrame(rows).sort_values("metric", key=lambda names: names.map(wanted.index), kind="stable")
    columns = [*GATE_TABLE_COLUMNS, *(c for c in table.columns if c not in GATE_TABLE_COLUMNS)]
    return table[columns].reset_index(drop=True), found


def own_gates(readings: pd.DataFrame, ledger: Ledger) -> list[tuple[str, Gate]]:
    """(place, gate) for every metric that this chapter's own readings can judge."""
    own = readings[readings["metric"].map(OWN_KIND).eq(readings["kind"])]
    judged = []
    for place, part in own.groupby("place", sort=False):
        references = {metric: REFERENCES[OWN_KIND[metric]] for metric in OWN_KIND}
        found = gates(part, references=references, higher_is_better=_directions(ledger))
        judged += [(str(place), gate) for gate in found.values()]
    return judged


def task_gates(
    module: str, profile: Profile, store: LocalStore | None, ledger: Ledger
) -> list[tuple[str, Gate]]:
    """(place, gate) for the metrics whose reference an experiment of its own corrupts."""
    metrics = [metric for metric, name in TASK_EVALS.items() if name == module]
    readings = task_readings(module, profile, store)
    if readings.empty:
        why = "no reference of its task is corrupted at this profile"
        return [("", not_available(metric, why)) for metric in metrics]
    judged = []
    for place, part in readings.groupby("place", sort=False):
        references = dict.fromkeys(metrics, TASK_REFERENCES[module])
        found = gates(part, references=references, higher_is_better=_directions(ledger))
        judged += [(str(place), gate) for name, gate in found.items() if name in ledger.metrics]
    return judged


def task_readings(module: str, profile: Profile, store: LocalStore | None) -> pd.DataFrame:
    """How an experiment's metrics read their task's own reference; empty where it corrupts none."""
    graded_of = getattr(import_module(f"sanity.experiments.{module}"), "graded", None)
    readings: pd.DataFrame = pd.DataFrame() if graded_of is None else graded_of(profile, store)
    if not len(readings):
        return pd.DataFrame(columns=[*GATE_COLUMNS, "place"])
    return readings.assign(place=readings.get("world_or_hook", module.replace("_", " ")))


def gated_readings(profile: Profile, readings: pd.DataFrame, store: LocalStore | None = None) -> pd.DataFrame:
    """The readings that the gates rest on: this chapter's `readings` and those of every task."""
    own = readings[readings["metric"].map(OWN_KIND).eq(readings["kind"])]
    tasks = [task_readings(module, profile, store) for module in dict.fromkeys(TASK_EVALS.values())]
    columns = [*GATE_COLUMNS, "place"]
    return stack([frame[columns] for frame in (own, *tasks) if len(frame)])


def truth_followed(readings: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """Whether each metric follows the truth, corruption by corruption: the same conditions, as a finding.

    One row per place, kind and metric with the columns of `Gate`; metrics without two ends are left out.
    """
    rows = []
    truth = readings[readings["kind"].ne(MEAN) & readings["ceiling"].notna()]
    for (place, kind), part in truth.groupby(["place", "kind"], sort=False):
        found = gates(part, higher_is_better=_directions(ledger))
        rows += [{"place": place, "kind": kind, **gate.row()} for gate in found.values()]
    return pd.DataFrame(rows)


def _directions(ledger: Ledger) -> dict[str, bool]:
    """Metric -> whether higher is better, where one side is."""
    return {
        name: entry.direction == "higher"
        for name, entry in ledger.metrics.items()
        if entry.direction != "none"
    }
