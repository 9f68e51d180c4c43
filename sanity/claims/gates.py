"""The validity gates as a table: which metrics verdicts may rest on.

A metric is gated by how it reads its own reference, corrupted in the way that it declares
(`sanity.evals.metric.Metric.gate`). One that failed anywhere is turned off everywhere; "not available" is
shown as such and turns nothing off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from sanity.errors import BadInputError
from sanity.evals.metric import METRICS, Metric
from sanity.stats import gates, not_available

GATE_TABLE = "validity_gates"
"""The name under which pages publish it."""
GATE_TABLE_COLUMNS = ("metric", "place", "state", "reason")
STATES = ("failed", "not available", "passed")
"""From the worst to the best."""


def gate_table(
    graded: pd.DataFrame,
    *,
    metrics: Mapping[str, Metric] | None = None,
    alternatives: Sequence[Sequence[str]] = (),
) -> pd.DataFrame:
    """The gate of every metric: passed, failed, or not available and why. What arms score takes no part.

    Parameters
    ----------
    graded
        Readings of corrupted references: columns `eval`, `place`, `kind`, and those that `sanity.stats.gate`
        reads. Readings whose `counts` is False give way to those of an alternative eval.
    metrics
        By default all that are declared.
    alternatives
        Evals of which one is used where several measure a metric, the first one first.

    Returns
    -------
    DataFrame
        One row per metric, place and eval: `GATE_TABLE_COLUMNS`, then the numbers of `sanity.stats.Gate`.
    """
    known = METRICS if metrics is None else metrics
    better = {name: one.direction == "higher" for name, one in known.items() if one.direction != "none"}
    rows = []
    for name, one in known.items():
        found = graded.iloc[:0]
        if one.gate and len(graded):
            found = _of_one_eval(
                graded[graded["metric"].eq(name) & graded["kind"].eq(one.gate)], alternatives
            )
        by = [column for column in ("subject", "place", "eval") if column in found]
        for _, part in found.groupby(by, sort=False, dropna=False):
            gate = gates(part, references={name: one.reference}, higher_is_better=better)[name]
            rows.append({**gate.row(), "place": part["place"].iloc[0], "eval": part["eval"].iloc[0]})
        if found.empty:
            rows.append({**not_available(name, one.ungated).row(), "place": "", "eval": ""})
    table = pd.DataFrame(rows)
    return table[[*GATE_TABLE_COLUMNS, *(c for c in table.columns if c not in GATE_TABLE_COLUMNS)]]


def _of_one_eval(readings: pd.DataFrame, alternatives: Sequence[Sequence[str]]) -> pd.DataFrame:
    """The readings without those of evals whose alternative is used."""
    counts = readings["counts"].ne(False) if "counts" in readings else readings["eval"].notna()
    for some in alternatives:
        there = [name for name in some if readings["eval"].eq(name).any()]
        counted = [name for name in there if (readings["eval"].eq(name) & counts).any()]
        used = next(iter([*counted, *there]), "")
        readings = readings[~readings["eval"].isin(set(there) - {used})]
    return readings


def failed_metrics(table: pd.DataFrame) -> dict[str, str]:
    """Metric -> why it failed, place by place; what `evaluate` takes as `failed_gates`."""
    _check(table)
    failed: dict[str, str] = {}
    for row in table[table["state"] == "failed"].to_dict("records"):
        words = f"{row['place']}: {row['reason']}" if row["place"] else str(row["reason"])
        failed[row["metric"]] = f"{failed[row['metric']]}; {words}" if row["metric"] in failed else words
    return failed


def gate_state(table: pd.DataFrame, metrics: Iterable[str]) -> str:
    """The worst state of some metrics; those that the table does not know are not available."""
    _check(table)
    found = [list(table.loc[table["metric"] == name, "state"]) or ["not available"] for name in metrics]
    return worst_state(state for states in found for state in states)


def worst_state(states: Iterable[str]) -> str:
    """The worst of several states; "not available" for none."""
    return min(states, key=STATES.index, default="not available")


def _check(table: pd.DataFrame) -> None:
    missing = [name for name in GATE_TABLE_COLUMNS if name not in table.columns]
    if missing:
        raise BadInputError(f"the table of gates lacks the columns: {', '.join(missing)}")
    if unknown := sorted(set(table["state"]) - set(STATES)):
        raise BadInputError(f"a gate's state is {unknown[0]!r}; there are: {', '.join(STATES)}")
