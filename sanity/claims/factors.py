"""Whether the trained arm's lead depends on a factor: rows that differ in it alone, and the leads there."""

from __future__ import annotations

import pandas as pd

FACTORS = ("subject", "world_or_hook", "architecture", "l0_target", "d_sae", "learning_rate", "samples")
"""Columns that say where an arm was trained, and how."""


def along(rows: pd.DataFrame, factor: str) -> pd.DataFrame:
    """The rows that differ from the first one in the column `factor` at most, of `FACTORS`.

    >>> along(pd.DataFrame({"d_sae": [8, 8, 4], "l0_target": [2, 1, 2]}), "l0_target")["l0_target"].tolist()
    [2, 1]
    """
    others = [column for column in FACTORS if column != factor and column in rows]
    return rows[rows[others].eq(rows[others].iloc[0]).all(axis=1)] if len(rows) else rows


def leads(rows: pd.DataFrame, factor: str) -> dict[tuple[str, str], pd.DataFrame]:
    """(constraint, init) -> the trained arm's lead over it: one row per seed, one column per level.

    `rows` are the scores of one metric. Arms that are at one level only say nothing about the factor, and are
    left out.
    """
    wide = rows.pivot_table(index="seed", columns=["constraint", "init", factor], values="value")
    found = {}
    for arm in dict.fromkeys(zip(rows["constraint"], rows["init"], strict=True)):
        if arm != ("trained", "iso"):
            lead = (wide["trained", "iso"] - wide[arm]).dropna(axis=1, how="all")
            if lead.shape[1] > 1:
                found[arm] = lead
    return found


def paired_levels(lead: pd.DataFrame) -> pd.DataFrame | None:
    """The part of a lead with several seeds at several levels, as a test needs; None where there is none."""
    part = lead.loc[:, lead.notna().sum() > 1].dropna()
    return part if part.shape[0] > 1 and part.shape[1] > 1 else None
