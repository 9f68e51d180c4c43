"""Pairs of arms, seed by seed: the only unit of replication that the verdicts know.

A seed is one initial matrix, one order of the data and one set of evaluation draws, shared by all arms, so
the difference between two arms on the same seed carries less noise than either score. Latents, prompts and
data sets are nested inside a seed and never count as replicates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Shaped

from sanity.errors import BadInputError

Numbers = Sequence[float | int] | Shaped[np.ndarray, " _"] | pd.Series

# Differences of stored float64 scores that should be equal may differ in their last bits.
ROUNDING = 1e-12


def vector(values: Numbers, *, what: str, for_test: str = "") -> Float[np.ndarray, " n"]:
    """`values` as a finite, one-dimensional float64 array; for a test, which is named, of two seeds or more.

    Raises `BadInputError` for anything that is not a list of finite numbers, naming the first offender.
    """
    try:
        array: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{what} must be numbers, not {values!r}") from error
    if array.ndim != 1:
        raise BadInputError(f"{what} must be one number per unit, not an array of shape {array.shape}")
    broken = np.flatnonzero(~np.isfinite(array))
    if broken.size:
        raise BadInputError(
            f"{what} holds {array[broken[0]]} at position {broken[0]} ({broken.size} of {array.size} are not "
            "finite): find out why that score failed; it is not dropped here"
        )
    if for_test and array.size < 2:
        raise BadInputError(f"{for_test} needs at least 2 seeds, not {array.size}: run more seeds")
    return array


def constant(differences: Float[np.ndarray, " n"]) -> bool:
    """Whether all differences are one number, up to rounding: their noise cannot be estimated."""
    return bool(np.ptp(differences) <= ROUNDING * max(1.0, float(np.abs(differences).max())))


def identical(differences: Float[np.ndarray, "*units"]) -> bool:
    """Whether all differences are zero, up to rounding."""
    return bool(np.abs(differences).max() <= ROUNDING)


def seed_table(rows: pd.DataFrame, *, arms: str | list[str], what: str = "the scores") -> pd.DataFrame:
    """Tidy rows as a table with one row per seed and one column per arm.

    Parameters
    ----------
    rows
        Columns `seed`, `value` and those in `arms`; one row per seed and arm.
    arms
        The column (or columns) whose values tell the arms apart.
    what
        What to call the rows in an error.

    Raises
    ------
    BadInputError
        Two rows for one seed and arm, an arm that lacks a seed which another has, or a score that is not
        finite. Nothing is dropped: a seed lost by one arm is usually lost because that arm failed.
    """
    names = [arms] if isinstance(arms, str) else arms
    missing = [name for name in ("seed", "value", *names) if name not in rows.columns]
    if missing:
        raise BadInputError(f"{what} lack the columns: {', '.join(missing)}; they have {list(rows.columns)}")
    if rows.empty:
        raise BadInputError(f"{what} are empty: there is nothing to pair")
    double = rows[rows.duplicated(["seed", *names], keep=False)]
    if not double.empty:
        raise BadInputError(_more_than_one(double, what))
    broken = rows[~np.isfinite(rows["value"].to_numpy(dtype=np.float64))]
    if not broken.empty:
        first = broken.iloc[0]
        raise BadInputError(
            f"{what} hold {first['value']} for seed {first['seed']} of {_label(first, names)}: "
            "a score that is not finite cannot be compared; repair or rerun that cell"
        )
    table = rows.pivot(index="seed", columns=arms, values="value").sort_index()
    holes = table.isna()
    if holes.to_numpy().any():
        arm = next(column for column in table.columns if holes[column].any())
        seeds = table.index[holes[arm]].tolist()
        raise BadInputError(
            f"{what} are not paired: {arm} has no score for seeds {seeds}, which other arms have; "
            "run the missing cells, or compare only the seeds that all arms share"
        )
    return table


def paired_differences(judged: pd.Series, against: pd.Series, *, what: str = "the scores") -> pd.Series:
    """`judged - against` for every seed, both series being indexed by seed.

    Raises `BadInputError` where the seeds differ, repeat, or a score is not finite.

    >>> paired_differences(pd.Series({0: 0.8, 1: 0.9}), pd.Series({1: 0.7, 0: 0.7})).round(3).tolist()
    [0.1, 0.2]
    """
    rows = pd.concat(
        [pd.DataFrame({"arm": arm, "seed": scores.index, "value": scores.to_numpy(dtype=np.float64)})
         for arm, scores in (("the judged arm", judged), ("the arm it is compared with", against))]
    )  # fmt: skip
    table = seed_table(rows, arms="arm", what=what)
    if table.shape[1] < 2:
        raise BadInputError(f"{what} are not paired: one of the two arms has no scores at all")
    return table["the judged arm"] - table["the arm it is compared with"]


def _label(row: pd.Series, names: list[str]) -> str:
    return ", ".join(str(row[name]) for name in names)


def _more_than_one(double: pd.DataFrame, what: str) -> str:
    """Why two rows claim one cell: the columns in which they differ."""
    first = double.iloc[0]
    group = double[double["seed"] == first["seed"]]
    telling = [
        f"{name} ({', '.join(map(str, group[name].unique()[:4]))})"
        for name in group.columns
        if name not in ("seed", "value") and group[name].nunique(dropna=False) > 1
    ]
    where = f"they differ in {'; '.join(telling)}" if telling else "they are the same cell twice"
    return f"{what} have {len(group)} rows for seed {first['seed']} of one arm, wanted 1: {where}"
