"""The size of what was measured, against the size at which a claim was made.

A printed number is a fact about its sizes: the share of features that an SAE finds among 3,200 in 100
dimensions says nothing about 640 in 40. So an expected value is judged at the claim's scale only and stays
open elsewhere, its measured value shown. A comparison is held against a margin that is a fraction of the
metric's range, which every scale has: it is judged anywhere, and said to be at another scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from sanity.claims.schema import Scale

MeasuredSize = Mapping[str, int | str]
"""What a result was measured on, by the names of the fields of `Scale`."""

# Budgets are multiples of a batch: 500 million tokens are 122,070 batches of 4,096.
SAME = 0.01


def size_of(rows: pd.DataFrame) -> MeasuredSize:
    """What rows of scores were measured on; what they do not say, or in what they differ, is left out."""
    size: dict[str, int | str] = {}
    for field in Scale.model_fields:
        column = "l0_target" if field == "l0" else field
        found = rows[column].dropna().unique().tolist() if column in rows else []
        if len(found) == 1:
            size[field] = found[0] if isinstance(found[0], str) else int(found[0])
    return size


def at_another_scale(scale: Scale, size: MeasuredSize) -> str:
    """In what `size` differs from `scale`, in words; empty where they agree in all that the scale names."""
    claimed = scale.model_dump(exclude={"label"}, exclude_none=True)
    if not size:
        return f"made at {scale.label}; the size of what was measured here is not known"
    differing = {name: wanted for name, wanted in claimed.items() if not _same(size.get(name), wanted)}
    if not differing:
        return ""
    here = ", ".join(f"{name} {_text(size.get(name, 'not known'))}" for name in differing)
    there = ", ".join(f"{name} {_text(wanted)}" for name, wanted in differing.items())
    return f"made at {scale.label} ({there}); measured here at {here}"


def _same(found: int | str | None, wanted: int | str) -> bool:
    if isinstance(found, int) and isinstance(wanted, int):
        return math.isclose(found, wanted, rel_tol=SAME)
    return found == wanted


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
