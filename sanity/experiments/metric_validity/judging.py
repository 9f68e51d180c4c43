"""The gate of every metric of the ledger: passed, failed, or not available and why."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

import pandas as pd

from sanity.cells import Result
from sanity.claims import GATE_TABLE_COLUMNS, Ledger, read_ledger, worst_state
from sanity.experiments.metric_validity.planning import graded
from sanity.profiles import Profile
from sanity.stats import Gate, gates, not_available
from sanity.store import LocalStore

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
    profile: Profile, store: LocalStore | None = None, *, ledger: Ledger | None = None
) -> tuple[pd.DataFrame, list[Result]]:
    """The gate of every metric of the ledger, one row per metric and place, and the results behind it.

    Columns: `GATE_TABLE_COLUMNS`, then the numbers of `Gate`. What trained and random arms score takes no
    part.
    """
    ledger = ledger or read_ledger()
    readings, found = graded(profile, store)
    judged = own_gates(readings, ledger)
    for module in dict.fromkeys(TASK_EVALS.values()):
        judged += task_gates(module, profile, store, ledger)
    have = {gate.metric for _, gate in judged}
    for name in ledger.metrics:
        if name not in have:
            why = UNGATED.get(name, "no reference of it is corrupted at this profile")
            judged.append(("", not_available(name, why)))
    table = pd.DataFrame([{**gate.row(), "place": place} for place, gate in judged])
    order = {name: number for number, name in enumerate(ledger.metrics)}
    table = table.sort_values("metric", key=lambda names: names.map(order), kind="stable")
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
    graded_of = getattr(import_module(f"sanity.experiments.{module}"), "graded", None)
    if graded_of is None:
        return [("", not_available(metric, "no reference of its task is corrupted")) for metric in metrics]
    readings = graded_of(profile, store)
    if not len(readings):
        why = "no reference of its task is corrupted at this profile"
        return [("", not_available(metric, why)) for metric in metrics]
    places = readings["place"] if "place" in readings else pd.Series("", index=readings.index)
    judged = []
    for place, part in readings.groupby(places, sort=False):
        references = dict.fromkeys(metrics, TASK_REFERENCES[module])
        found = gates(part, references=references, higher_is_better=_directions(ledger))
        judged += [(str(place), gate) for name, gate in found.items() if name in ledger.metrics]
    return judged


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


def scales(table: pd.DataFrame, readings: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """Every metric with floor and ceiling: where they come from, and what the evals gave in `readings`.

    Columns: metric (its label), gate, floor, ceiling (in words), measured floor, measured ceiling, range.
    """
    rows = []
    for name, entry in ledger.metrics.items():
        part = readings[readings["metric"] == name]
        states = table.loc[table["metric"] == name, "state"]
        rows.append(
            {
                "metric": entry.label,
                "gate": worst_state(list(states)),
                "floor": entry.floor,
                "measured floor": _ends(part["floor"]),
                "ceiling": entry.ceiling,
                "measured ceiling": _ends(part["ceiling"]),
                "range for margins": "none" if entry.range is None else f"{entry.range:g}",
                "better": {"higher": "higher", "lower": "lower", "none": "neither"}[entry.direction],
            }
        )
    return pd.DataFrame(rows)


def _ends(values: pd.Series) -> str:
    """The values' range in words, empty for none."""
    known = values.dropna().astype(float)
    if known.empty:
        return ""
    low, high = (f"{end:.3g}" for end in (known.min(), known.max()))
    return low if low == high else f"{low} to {high}"


def _directions(ledger: Ledger) -> dict[str, bool]:
    """Metric -> whether higher is better, where one side is."""
    return {
        name: entry.direction == "higher"
        for name, entry in ledger.metrics.items()
        if entry.direction != "none"
    }
