"""Scores of a run made elsewhere and kept with the book: they judge what the reader's own run cannot.

An imported score never stands next to an own one in a comparison: a claim is judged by one run or the
other. It is judged by an imported one where the own scores leave it open or are of another scale than the
claim's, and the imported ones are of that scale. A kept run may hold some arms on fewer seeds than others, by
its plan or since it is kept in parts: they are compared on the seeds that they share. Pilot seeds are the
exception, since they judge nothing: they measure how far a metric reaches, and serve the scores of any run
that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sanity.claims.evaluation import Result, evaluate_all
from sanity.claims.gates import failed_metrics
from sanity.claims.ledger import Ledger
from sanity.claims.selection import Primary


@dataclass(frozen=True, eq=False)
class Imported:
    """A run's scores and gates, and where they come from."""

    name: str
    words: str
    """Commit, machine and date."""
    scores: pd.DataFrame
    gates: pd.DataFrame
    primary: Primary


def with_imported(own: Sequence[Result], ledger: Ledger, imported: Sequence[Imported]) -> list[Result]:
    """The results, each replaced by that of the first imported run that can judge its claim as made."""
    results = list(own)
    for run in imported:
        there = evaluate_all(
            ledger,
            run.scores,
            primary=run.primary,
            failed_gates=failed_metrics(run.gates),
            on_shared_seeds=True,
        )
        results = [
            replace(other, imported=run.name) if _needed(one) and _fits(other) else one
            for one, other in zip(results, there, strict=True)
        ]
    return results


def with_pilots(scores: pd.DataFrame, ledger: Ledger, imported: Sequence[Imported]) -> pd.DataFrame:
    """The scores and the imported pilot seeds of those experiments that have none among them."""
    pilots = scores.loc[scores["seed"].isin(ledger.pilot_seeds), "experiment"].unique()
    more = [
        run.scores[run.scores["seed"].isin(ledger.pilot_seeds) & ~run.scores["experiment"].isin(pilots)]
        for run in imported
    ]
    kept = [scores, *(rows.assign(imported=True) for rows in more if len(rows))]
    return pd.concat(kept, ignore_index=True) if len(kept) > 1 else scores


def _needed(own: Result) -> bool:
    return own.imported == "" and (own.verdict.verdict == "open" or bool(own.elsewhere))


def _fits(other: Result) -> bool:
    return other.verdict.verdict != "open" and not other.elsewhere
