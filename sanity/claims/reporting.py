"""The ledger as the command line and the front page show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.claims.evaluation import Result, evaluate_all
from sanity.claims.gates import failed_metrics, gate_state, stored_gates
from sanity.claims.ledger import Ledger, read_ledger
from sanity.claims.schema import ANY_SCALE, Value, is_blind, metrics_of
from sanity.claims.selection import ANY_OTHER, SCORE_COLUMNS, Primary, check_scores
from sanity.claims.sizes import measured_sizes
from sanity.profiles import Profile, load

SCORE_TABLE = "all_scores"
"""The result table that the chapter on verdicts leaves, and that claims are judged on everywhere."""


def verdicts(
    profile: str, *, scores: pd.DataFrame | None = None, gates: pd.DataFrame | None = None
) -> list[dict[str, Any]]:
    """Every claim with `id`, `verdict`, `value`, `interval` and its metrics' validity `gate`, as JSON data.

    Parameters
    ----------
    profile
        Name of a profile; its primary grid fills what the claims leave out.
    scores
        Tidy scores; by default those that the chapter on verdicts gathered at this profile. Before it has
        run, every claim is open.
    gates
        The validity gates; by default those that their chapter left at this profile.
    """
    found = stored_scores(profile) if scores is None else scores
    table = stored_gates(profile) if gates is None else gates
    results = judge(load(profile), found, gates=table)
    return [
        {**result.to_json(), "gate": gate_state(table, metrics_of(result.claim)), "profile": profile}
        for result in results
    ]


def judge(profile: Profile, scores: pd.DataFrame, *, gates: pd.DataFrame | None = None) -> list[Result]:
    """Every claim of the book's ledger, judged on `scores` at the profile's primary grid and scale.

    Verdicts on metrics that failed in `gates` (see `stored_gates`) are turned off.
    """
    return evaluate_all(
        read_ledger(),
        scores,
        primary=primary_grid(profile),
        failed_gates=None if gates is None else failed_metrics(gates),
        sizes=measured_sizes(profile),
    )


def stored_scores(profile: str, folder: Path | None = None) -> pd.DataFrame:
    """The scores that the chapter on verdicts gathered and judged; an empty table before it has run.

    No other table is read: chapters leave many that look like scores (variants, sweeps, what an earlier
    version published), and the front page must judge the rows that the verdicts are about.
    """
    from sanity.engine.store import home

    place = folder if folder is not None else home() / "_build" / "results" / profile
    file = place / f"{SCORE_TABLE}.parquet"
    return check_scores(pd.read_parquet(file)) if file.exists() else pd.DataFrame(columns=list(SCORE_COLUMNS))


def primary_grid(profile: Profile) -> Primary:
    """Per experiment, the settings that a claim means when it does not name them."""
    real = {
        "world_or_hook": profile.models[0].hook,
        "architecture": profile.real.architecture,
        "l0_target": profile.real.l0,
        "learning_rate": profile.real.learning_rate,
    }
    toy = {"l0_target": profile.toy.l0, "learning_rate": profile.toy.learning_rate}
    return {
        "synthetic_recovery": toy,
        "synthetic_recovery_early": toy,
        "lazy_training": {},
        "lazy_training_tenth": {},
        "lazy_training_noise": {},
        "cone_geometry": {},
        ANY_OTHER: real,
    }


def claims_table(
    results: Sequence[Result], *, profile: str = "", gates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The front page's table: one row per claim, in words.

    Columns: `id`, `claim`, `by`, `where`, `paper`, `ours` (a comparison: other arm against judged arm, as
    the paper prints pairs, and their difference with its interval), `seeds`, `profile and scale`, `verdict`,
    `in detail` (what qualifies it), `stands` (yes, no, undecided), `margin or range`, `scale` (in what
    ours differs from the claim's), `would change our mind`, and with `gates` the `validity gate` of the
    claim's metrics: passed, failed or not available.
    """
    rows = [
        {
            "id": result.claim.id,
            "claim": result.claim.statement,
            "by": result.claim.by,
            "where": result.claim.where,
            "paper": result.claim.paper or "",
            "ours": _number(result),
            "seeds": str(result.verdict.n_seeds or ""),
            "profile and scale": _place(result, profile),
            "verdict": result.verdict.verdict,
            "in detail": result.verdict.qualifier,
            "stands": _stands(result),
            "margin or range": _margin(result),
            "scale": result.elsewhere,
            "would change our mind": result.claim.overturned_by,
        }
        for result in results
    ]
    table = pd.DataFrame(rows)
    if gates is not None:
        table["validity gate"] = [gate_state(gates, metrics_of(result.claim)) for result in results]
    return table


def ledger_metrics(ledger: Ledger) -> pd.DataFrame:
    """Every metric with its direction, declared range, floor and ceiling: one row each."""
    return pd.DataFrame([{"metric": name, **entry.model_dump()} for name, entry in ledger.metrics.items()])


def _number(result: Result) -> str:
    found = result.verdict
    if found.value is None:
        return ""
    number = f"{found.value:+.3g}" if result.means else f"{found.value:.3g}"
    if found.interval is not None and found.interval.low != found.interval.high:
        number += f" [{found.interval.low:.3g}, {found.interval.high:.3g}]"
    if result.means is None:
        return number
    judged, against = result.means
    return f"{against:.3f} against {judged:.3f}: {number}"


def _place(result: Result, profile: str) -> str:
    if result.verdict.value is None:
        return ""
    scale = "" if result.claim.scale == ANY_SCALE else "another scale" if result.elsewhere else "same scale"
    return ", ".join(part for part in (profile, scale) if part)


def _stands(result: Result) -> str:
    if result.supported is None:
        return "undecided"
    return ("yes" if result.supported else "no") + (", at another scale" if result.elsewhere else "")


def _margin(result: Result) -> str:
    if isinstance(result.claim, Value):
        low, high = result.claim.expected.low, result.claim.expected.high
        width = f"{low:g} to {high:g}" if None not in (low, high) else ""
        width = width or (f"at least {low:g}" if high is None else f"at most {high:g}")
    else:
        width = "" if result.verdict.margin is None else f"{result.verdict.margin:.3g}"
    return width if is_blind(result.claim) else f"{width} (not blind)".strip()
