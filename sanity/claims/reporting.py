"""The results as the command line and the front page show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sanity.claims.evaluation import Result
from sanity.claims.gates import gate_state
from sanity.claims.importing import Imported
from sanity.claims.ledger import Ledger
from sanity.claims.schema import ANY_SCALE, Value, is_blind, metrics_of


def result_rows(
    results: Sequence[Result],
    *,
    profile: str,
    gates: pd.DataFrame,
    imported: Sequence[Imported] = (),
) -> list[dict[str, Any]]:
    """Every claim as JSON data: `id`, `verdict`, `value`, `interval`, its metrics' `gate`, and more.

    `profile` is that of the reader's own run, and the name of the `imported` one where that judged a claim.
    """
    by_name = {run.name: run.gates for run in imported}
    return [
        {
            **result.to_json(),
            "gate": gate_state(by_name.get(result.imported, gates), metrics_of(result.claim)),
            "profile": result.imported or profile,
        }
        for result in results
    ]


def claims_table(
    results: Sequence[Result],
    *,
    profile: str = "",
    gates: pd.DataFrame | None = None,
    printed: Mapping[str, str] | None = None,
    imported: Sequence[Imported] = (),
) -> pd.DataFrame:
    """The front page's table: one row per claim, in words.

    Columns: `id`, `claim`, `by`, `where`, `paper`, `the paper's own numbers` (what they would be worth at the
    margin here: `printed`, by claim), `ours` (a comparison: other arm against judged arm, as the paper prints
    pairs, and their difference with the interval that decides it: 90 % for equivalences), `seeds`,
    `profile and scale` (imported: judged by a run made elsewhere), `verdict`, `in detail` (what qualifies
    it), `stands` (yes, no, undecided), `margin or range`, `scale` (in what ours differs from the claim's),
    `would change our mind`, and with `gates` the `validity gate` of the claim's metrics: passed, failed or
    not available.
    """
    rows = [
        {
            "id": result.claim.id,
            "claim": result.claim.statement,
            "by": result.claim.by,
            "where": result.claim.where,
            "paper": result.claim.paper or "",
            "the paper's own numbers": (printed or {}).get(result.claim.id, ""),
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
        by_name = {run.name: run.gates for run in imported}
        table["validity gate"] = [
            gate_state(by_name.get(result.imported, gates), metrics_of(result.claim)) for result in results
        ]
    return table


def ledger_metrics(ledger: Ledger) -> pd.DataFrame:
    """Every metric with its direction, declared range, floor and ceiling: one row each."""
    rows = [{"metric": name, **dataclasses.asdict(entry)} for name, entry in ledger.metrics.items()]
    return pd.DataFrame(rows)


def _number(result: Result) -> str:
    found = result.verdict
    if found.value is None:
        return ""
    number = f"{found.value:+.3g}" if result.means else f"{found.value:.3g}"
    interval, confidence = found.decisive
    if interval is not None and interval.low != interval.high:
        number += f" [{interval.low:.3g}, {interval.high:.3g}]" + (" (90 %)" if confidence == "90 %" else "")
    if result.means is None:
        return number
    judged, against = result.means
    return f"{against:.3f} against {judged:.3f}: {number}"


def _place(result: Result, profile: str) -> str:
    if result.verdict.value is None:
        return ""
    scale = "" if result.claim.scale == ANY_SCALE else "another scale" if result.elsewhere else "same scale"
    run = f"imported: {result.imported}" if result.imported else profile
    return ", ".join(part for part in (run, scale) if part)


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
