"""The validity gates as a table among the results: which metrics verdicts may rest on.

The chapter on validity publishes one row per metric and place. A metric that failed anywhere is turned off
everywhere; "not available" is shown as such and turns nothing off.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from sanity.errors import BadInputError

GATE_TABLE = "validity_gates"
GATE_TABLE_COLUMNS = ("metric", "place", "state", "reason")
STATES = ("failed", "not available", "passed")
"""From the worst to the best."""


def stored_gates(profile: str, folder: Path | None = None) -> pd.DataFrame:
    """The gates among the result tables of a profile; an empty table where there are none yet."""
    from sanity.engine.store import home

    place = folder if folder is not None else home() / "_build" / "results" / profile
    file = place / f"{GATE_TABLE}.parquet"
    return pd.read_parquet(file) if file.exists() else pd.DataFrame(columns=list(GATE_TABLE_COLUMNS))


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
        raise BadInputError(f"the table of gates lacks the column(s) {', '.join(missing)}")
    if unknown := sorted(set(table["state"]) - set(STATES)):
        raise BadInputError(f"a gate's state is {unknown[0]!r}; there are: {', '.join(STATES)}")
