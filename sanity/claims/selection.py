"""Finding in a tidy frame of scores the rows that a claim speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sanity.claims.schema import ArmOf, Scope
from sanity.errors import BadInputError, SanityError

SCORE_COLUMNS = (
    "experiment", "world_or_hook", "architecture", "constraint", "init", "seed", "metric", "value",
    "floor", "ceiling", "n", "unit", "learning_rate", "l0_target",
)  # fmt: skip

RUN_COLUMNS = (
    "experiment", "world_or_hook", "architecture", "constraint", "init", "seed", "metric", "learning_rate",
    "l0_target",
)  # fmt: skip
"""What tells one score from another, with those of `MORE_COLUMNS` that a frame has."""

MORE_COLUMNS = ("subject", "objective", "d_sae", "samples")

Primary = Mapping[str, Mapping[str, Any]]
"""Experiment -> column -> the value that a claim means when its scope does not give one."""


class NoRowsError(SanityError):
    """No score fits the claim: it stays open."""


def check_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """`scores` if it has the columns of a tidy frame of scores."""
    missing = [name for name in SCORE_COLUMNS if name not in scores.columns]
    if missing:
        raise BadInputError(
            f"the scores lack the columns {', '.join(missing)}: they are not a tidy frame of scores"
        )
    return scores


def repeated(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that give one run two values of a metric; claims on them would be refused."""
    run = [name for name in (*RUN_COLUMNS, *MORE_COLUMNS) if name in scores.columns]
    distinct = scores.drop_duplicates([*run, "value"])
    return distinct[distinct.duplicated(run, keep=False)]


def rows_of(
    scores: pd.DataFrame, *, scope: Scope, arm: ArmOf, metric: str, primary: Primary | None = None
) -> pd.DataFrame:
    """The rows of one arm on one metric, one per seed if the claim and the frame fit together.

    Raises `NoRowsError`, which says at which condition the rows ran out and what there is instead.
    """
    asked = {**scope.model_dump(), **{k: v for k, v in arm.model_dump().items() if v is not None}}
    rows = _narrow(scores, {"metric": metric, "experiment": asked.pop("experiment")}, arm)
    experiments = rows["experiment"].unique()
    if len(experiments) == 1:
        filled = (primary or {}).get(experiments[0], {})
        asked = {column: filled.get(column) if wanted is None else wanted for column, wanted in asked.items()}
    return _narrow(rows, asked, arm)


def rows_at(
    scores: pd.DataFrame, *, scope: Scope, metric: str, primary: Primary | None = None
) -> pd.DataFrame:
    """Every arm's rows on a metric where a scope is, of any architecture, L0 and rate; may be none."""
    rows = scores[scores["metric"] == metric]
    if scope.experiment is not None:
        rows = rows[rows["experiment"] == scope.experiment]
    place = scope.world_or_hook or (primary or {}).get(str(scope.experiment), {}).get("world_or_hook")
    return rows if place is None else rows[rows["world_or_hook"] == place]


def _narrow(rows: pd.DataFrame, asked: Mapping[str, Any], arm: ArmOf) -> pd.DataFrame:
    for column, wanted in asked.items():
        if wanted is None or (column in MORE_COLUMNS and column not in rows):
            continue
        fits = _equal(rows[column], wanted)
        if not fits.any():
            there = ", ".join(sorted(map(str, rows[column].dropna().unique()))) or "none"
            raise NoRowsError(
                f"no score of {arm.label} has {column} = {wanted}; those that fit so far have {there}"
            )
        rows = rows[fits]
    return rows


def _equal(column: pd.Series, wanted: Any) -> pd.Series:
    if isinstance(wanted, float):
        return pd.Series(np.isclose(column.astype(float), wanted, rtol=1e-9), index=column.index)
    return column.eq(wanted)
