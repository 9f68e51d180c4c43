"""What another margin, more seeds, or a baseline named in advance would make of the comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from sanity.claims.comparing import PairedComparison
from sanity.claims.sensitivity import BAR, CONFIDENCE
from sanity.stats import (
    best_of,
    equivalence_curve,
    minimum_detectable_difference,
    minimum_margin,
    sd_upper_limit,
    seeds_for_margin,
    t_interval,
)

# Margins that a reader might hold, as fractions of a metric's range; beyond one half nothing can be told.
MARGINS = sorted({*np.geomspace(0.005, 0.45, 60).tolist(), 0.05, 0.1})


def margin_sweep(compared: Iterable[PairedComparison], margins: Iterable[float] = MARGINS) -> pd.DataFrame:
    """The verdict on every comparison at every margin: one row each.

    Columns: `claim`, `metric`, `margin` (a fraction of the metric's range), `verdict`, `p_equivalence`,
    `declared` (the claim's own margin) and `smallest` (below it TOST fails, whatever the noise did).
    """
    rows = []
    for one in compared:
        range_of, several = one.span.for_margin, one.differences.shape[1] > 1
        smallest = np.nan
        if len(one.differences) > 1 and not several:
            curve = equivalence_curve(one.differences[one.nearest], margins=[range_of])
            smallest = float(curve["smallest_margin"].iloc[0]) / range_of
        for margin in margins:
            found = one.verdict(float(margin))
            rows.append(
                {
                    "claim": one.claim.id,
                    "metric": one.metric,
                    "margin": float(margin),
                    "verdict": found.verdict,
                    "p_equivalence": found.p_equivalence,
                    "declared": one.fraction,
                    "smallest": smallest,
                }
            )
    return pd.DataFrame(rows)


def sensitivity_table(compared: Iterable[PairedComparison]) -> pd.DataFrame:
    """Whether metrics see what training adds: a row for every metric, setting and control.

    Columns: `metric`, `experiment`, `architecture`, `control`, `seeds`, `lead` of the trained arm with its
    90 % interval (`low`, `high`), `wanted` (twice the largest margin of the claims on it), and `shown`.
    """
    rows = []
    for one in compared:
        margin = one.fraction * one.span.for_margin
        for control in one.controls:
            values = control.values
            ends: tuple[float, float] = (np.nan, np.nan)
            if values is not None and len(values) > 1:
                ends = t_interval(values, confidence=CONFIDENCE)
            rows.append(
                {
                    "metric": one.metric,
                    "experiment": one.claim.judged.experiment or one.claim.scope.experiment,
                    "architecture": one.claim.scope.architecture or "",
                    "control": control.control.label,
                    "seeds": 0 if values is None else len(values),
                    "lead": np.nan if values is None else float(values.mean()),
                    "low": ends[0],
                    "high": ends[1],
                    "wanted": BAR * margin,
                    "shown": control.is_shown(margin),
                }
            )
    what = ["metric", "experiment", "architecture", "control"]
    table = pd.DataFrame(rows, columns=[*what, "seeds", "lead", "low", "high", "wanted", "shown"])
    largest = table.sort_values("wanted", kind="stable").drop_duplicates(what, keep="last")
    return largest.sort_index().reset_index(drop=True)


def power_table(compared: Iterable[PairedComparison], *, power: float = 0.8) -> pd.DataFrame:
    """What the seeds that there are can show, and how many a claim's margin needs; in fractions of the range.

    `sd` is that of the paired differences (to the nearest arm, where there are several), `sd_high` its
    one-sided 80 % upper limit: an SD of two or three numbers is itself hardly known. `detectable` is the
    smallest difference that is found with `power`, `smallest_margin` and `smallest_margin_high` the smallest
    margins that equal arms meet with it at either SD, and `seeds_needed` and `seeds_needed_high` what the
    declared margin takes.
    """
    rows = []
    for one in compared:
        differences = one.differences[one.nearest].to_numpy(dtype=np.float64) / one.span.for_margin
        n, known = len(differences), len(differences) > 1
        sd = float(np.std(differences, ddof=1)) if known else np.nan
        row: dict[str, Any] = {
            "claim": one.claim.id,
            "metric": one.metric,
            "seeds": n,
            "difference": differences.mean(),
            "sd": sd,
            "margin": one.fraction,
        }
        if known and sd > 0:
            high = sd_upper_limit(sd, n_seeds=n)
            row |= {
                "sd_high": high,
                "detectable": minimum_detectable_difference(n, sd=sd, power=power),
                "smallest_margin": minimum_margin(n, sd=sd, power=power),
                "smallest_margin_high": minimum_margin(n, sd=high, power=power),
                "seeds_needed": seeds_for_margin(one.fraction, sd=sd, power=power),
                "seeds_needed_high": seeds_for_margin(one.fraction, sd=high, power=power),
            }
        rows.append(row)
    columns = (
        "claim metric seeds difference sd sd_high margin detectable smallest_margin smallest_margin_high"
    )
    return pd.DataFrame(rows, columns=[*columns.split(), "seeds_needed", "seeds_needed_high"])


def best_of_table(compared: Iterable[PairedComparison]) -> pd.DataFrame:
    """Comparisons with the best of several baselines: as if it had been named in advance, and corrected.

    Columns: `claim`, `metric`, `baselines` (how many), `best`, `seeds`, `gap` (judged minus best), its
    interval uncorrected (`plain_low`, `plain_high`) and corrected (`low`, `high`), `optimism` (by how much
    the best of as many equal arms would seem better by noise alone) and `p_max`, the max-statistic
    sign-flip p-value that any of them differs.
    """
    rows = []
    for one in compared:
        if one.differences.shape[1] < 2:
            continue
        table = one.differences if one.higher_is_better else -one.differences
        row: dict[str, Any] = {
            "claim": one.claim.id,
            "metric": one.metric,
            "baselines": table.shape[1],
            "best": one.nearest,
            "seeds": len(table),
            "gap": float(table[one.nearest].mean()),
        }
        if len(table) > 1:
            plain, found = t_interval(table[one.nearest]), best_of(table)
            row |= {
                "plain_low": plain.low, "plain_high": plain.high,
                "low": found.interval.low, "high": found.interval.high,
                "optimism": found.optimism, "p_max": found.p_sign_flip,
            }  # fmt: skip
        rows.append(row)
    columns = "claim metric baselines best seeds gap plain_low plain_high low high optimism p_max"
    return pd.DataFrame(rows, columns=columns.split())
