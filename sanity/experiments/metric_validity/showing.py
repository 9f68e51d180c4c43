"""The tables of the chapter `metric_validity`, as pages show them."""

from __future__ import annotations

import pandas as pd

from sanity.claims import Ledger, worst_state
from sanity.experiments.findings import arm_words
from sanity.experiments.metric_validity.sentences import label_of


def gate_numbers(table: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """The gates that were run, one row per metric and place, with numbers as text."""
    run = table[table["state"] != "not available"]
    return pd.DataFrame(
        {
            "metric": [label_of(name, ledger) for name in run["metric"]],
            "place": run["place"],
            "gate": run["state"],
            "rho": run["monotone"].map("{:.2f}".format),
            "range": run["range"].map("{:.3g}".format),
            "of floor to ceiling": run["share"].map(_percent),
            "reseed SD": run["reseed_noise"].map("{:.2g}".format),
            "false alarms": run["false_alarm_rate"].map(_percent),
            "levels x seeds": [f"{a} x {b}" for a, b in zip(run["levels"], run["seeds"], strict=True)],
            "units": run["n"].map("{:,}".format),
            "why": run["reason"],
        }
    ).set_index("metric")


def followed_table(followed: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """What complete corruption of the truth costs each metric: metrics by world and corruption."""
    shares = followed["share"].map(_percent)
    text = shares.where(followed["state"] == "passed", "(" + shares + ")")
    wide = followed.assign(text=text).pivot_table(
        index="metric", columns=["place", "kind"], values="text", aggfunc="first", sort=False
    )
    wide.columns = [": ".join(column) for column in wide.columns]
    return wide.rename(index=lambda name: label_of(name, ledger)).fillna("")


def alignment_table(alignment: pd.DataFrame) -> pd.DataFrame:
    """One row per place and arm with its three cosines, as text."""
    arms = [arm_words(c, i) for c, i in zip(alignment["constraint"], alignment["init"], strict=True)]
    cosines = [column for column in alignment if " to " in str(column)]
    shown = alignment[cosines].map("{:.3f}".format)
    return shown.set_index(
        pd.MultiIndex.from_arrays([alignment["world_or_hook"], arms], names=["place", "arm"])
    )


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


def _percent(share: float) -> str:
    """A share in words; a dash where it was not measured."""
    return "–" if pd.isna(share) else f"{share:.0%}"
