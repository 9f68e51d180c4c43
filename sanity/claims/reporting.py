"""The results as the command line and the front page show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sanity.claims.evaluation import Finding
from sanity.claims.gates import gate_state
from sanity.claims.importing import ImportedRun
from sanity.claims.ledger import Ledger
from sanity.claims.schema import ANY_SCALE, Value, is_blind, metrics_of


def result_rows(
    results: Sequence[Finding],
    *,
    profile: str,
    gates: pd.DataFrame,
    imported: Sequence[ImportedRun] = (),
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
    results: Sequence[Finding],
    *,
    profile: str = "",
    gates: pd.DataFrame | None = None,
    printed: Mapping[str, str] | None = None,
    imported: Sequence[ImportedRun] = (),
) -> pd.DataFrame:
    """The front page's table: one row per claim, in words.

    Columns: `id`, `claim`, `by`, `where`, `paper`, `the paper's own numbers` (what they would be worth at the
    margin here: `printed`, by claim), `ours` (a comparison: the two arms by name, and their difference with
    the interval that decides it: 90 % for equivalences), `share of the trained lead` (which the other arm
    has), `seeds`, `profile and scale` (imported: judged
    by a run made elsewhere), `verdict`, `fragile` (the nearest margin that would change it),
    `in detail` (what qualifies it), `stands` (yes, no, undecided), `margin or range`, `scale` (in what ours
    differs from the claim's), `would change our mind`, and with `gates` the `validity gate` of the claim's
    metrics: passed, failed or not available.
    """
    rows = [
        {
            "id": result.claim.id,
            "claim": result.claim.statement,
            "by": result.claim.by,
            "where": result.claim.where.replace("_", " "),
            "paper": result.claim.paper or "",
            "the paper's own numbers": (printed or {}).get(result.claim.id, ""),
            "ours": _number(result),
            "share of the trained lead": result.shares.words if result.shares else "",
            "seeds": str(result.verdict.n_seeds or ""),
            "profile and scale": _place(result, profile),
            "verdict": result.verdict.verdict,
            "fragile": "" if result.flips_at is None else f"another at {result.flips_at:.1%}",
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


def verdict_words(row: Mapping[str, Any]) -> str:
    """A verdict with all that decides it, in Markdown: difference, interval, margin, and what hangs on it.

    Parameters
    ----------
    row
        A row of `result_rows`.
    """
    said = f"*{row['verdict']}*"
    if row["value"] is None or row["verdict"] == "open":
        return f"{said} ({row['qualifier']})"
    if row["margin_share"] is None:  # a value in a range, and no comparison
        inside = {"equivalent": "inside the expected range", "inconclusive": "inconclusive"}
        said = f"*{inside.get(row['verdict'], 'outside the expected range')}*"
    names = [name.replace(" (iso)", "") for name in row["names"]]
    what = " minus ".join(names) if row["means"] else "value"
    number = f"{row['value']:+.3f}" if row["means"] else f"{row['value']:.3g}"
    parts = [f"{what} {number}"]
    if row["interval"] is not None and row["interval"][0] != row["interval"][1]:
        parts.append("{} interval {:.3f} to {:.3f}".format(row["confidence"], *row["interval"]))
    if row["margin"] is not None:
        parts.append(f"margin {row['margin']:.3g}")
    parts.append(f"{row['n_seeds']} seed{'' if row['n_seeds'] == 1 else 's'}")
    if row["share_over_untrained"] is not None:
        parts.append(f"{row['share_over_untrained'][0]:z.0%} of the trained lead over untrained")
    elif row["share_over_floor"] is not None:
        parts.append(f"{row['share_over_floor'][0]:z.0%} of the trained lead over the floor")
    if row.get("imported"):
        parts.append(f"imported run {row['imported']}")
    if row["fragile"]:
        parts.append(f"**fragile**: another verdict at a margin of {row['flips_at']:.1%} of the range")
    return f"{said} ({', '.join(parts)})"


def ledger_metrics(ledger: Ledger) -> pd.DataFrame:
    """Every metric with its direction, declared range, floor and ceiling: one row each."""
    rows = [{"metric": name, **dataclasses.asdict(entry)} for name, entry in ledger.metrics.items()]
    return pd.DataFrame(rows)


def _number(result: Finding) -> str:
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
    judged_name, other_name = (name.replace(" (iso)", "") for name in result.names)
    return f"{other_name} {against:.3f}, {judged_name} {judged:.3f}: difference {number}"


def _place(result: Finding, profile: str) -> str:
    if result.verdict.value is None:
        return ""
    scale = "" if result.claim.scale == ANY_SCALE else "another scale" if result.elsewhere else "same scale"
    run = f"imported: {result.imported}" if result.imported else profile
    return ", ".join(part for part in (run, scale) if part)


def _stands(result: Finding) -> str:
    if result.supported is None:
        return "undecided"
    return ("yes" if result.supported else "no") + (", at another scale" if result.elsewhere else "")


def _margin(result: Finding) -> str:
    """The expected range, or the margin in the metric's units: its share of the range, and whose that is."""
    if isinstance(result.claim, Value):
        low, high = result.claim.expected.low, result.claim.expected.high
        width = f"{low:g} to {high:g}" if None not in (low, high) else ""
        width = width or (f"at least {low:g}" if high is None else f"at most {high:g}")
    else:
        measured = f", measured in {result.range_from}" if result.range_from else ""
        share = f"{result.claim.margin.fraction:.0%} of the range{measured}"
        width = share if result.verdict.margin is None else f"{result.verdict.margin:.3g} ({share})"
    return f"{width}, {'blind' if is_blind(result.claim) else 'not blind'}"
