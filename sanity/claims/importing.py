"""Scores of a run made elsewhere and kept with the book: they judge what the reader's own run cannot.

An imported score never stands next to an own one in a comparison: a claim is judged by one run or the
other. It is judged by an imported one where the own scores leave it open, are of another scale than the
claim's, or are one seed that decides nothing, and the imported ones are of that scale. A kept run may hold
some arms on fewer seeds than others, by its plan or since it is kept in parts: they are compared on the seeds
that they share.

What judges nothing is the exception. Pilot seeds measure how far a metric reaches, and serve the scores of
any run that has none. An SAE of a random transformer is what an equivalence is held against: it serves the
scores that were measured on SAEs of the same size, on the same seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sanity.claims.budget import flat_metrics, trajectory
from sanity.claims.choosing import ScoreChoice, chosen
from sanity.claims.evaluation import Finding, evaluate_with
from sanity.claims.gates import failed_metrics
from sanity.claims.ledger import Ledger
from sanity.claims.selection import Primary


@dataclass(frozen=True, eq=False)
class ImportedRun:
    """A run's scores and gates, and where they come from."""

    name: str
    words: str
    """Commit, machine and date."""
    scores: pd.DataFrame
    gates: pd.DataFrame
    primary: Primary

    def choice(self, ledger: Ledger) -> ScoreChoice:
        """The run's scores, as they judge a ledger's claims."""
        return chosen(
            self.scores,
            ledger,
            primary=self.primary,
            failed_gates=failed_metrics(self.gates),
            on_shared_seeds=True,
        )


def with_imported(own: Sequence[Finding], ledger: Ledger, imported: Sequence[ImportedRun]) -> list[Finding]:
    """The results, each replaced by that of the first imported run that can judge its claim as made."""
    results = list(own)
    for run in imported:
        there = evaluate_with(run.choice(ledger))
        results = [
            replace(other, imported=run.name) if _replaces(other, one) else one
            for one, other in zip(results, there, strict=True)
        ]
    return results


def choices_of(
    scores: pd.DataFrame,
    gates: pd.DataFrame,
    ledger: Ledger,
    primary: Primary,
    imported: Sequence[ImportedRun],
) -> dict[str, ScoreChoice]:
    """The reader's own scores as they judge claims, by "", and those of imported runs, by their names.

    Among the own ones, a metric that does not rise along training decides nothing.
    """
    scores = with_references(scores, ledger, imported)
    snapshots, whose = trajectory(scores, {run.name: run.scores for run in imported})
    failed, flat = failed_metrics(gates), flat_metrics(snapshots, whose)
    own = chosen(scores, ledger, primary=primary, failed_gates=failed, flat=flat)
    return {"": own} | {run.name: run.choice(ledger) for run in imported}


_OF_ONE_SIZE = ("metric", "seed", "architecture", "learning_rate", "l0_target", "d_sae", "samples")
"""What a control shares with the trained arm that it is held against."""


def with_references(scores: pd.DataFrame, ledger: Ledger, imported: Sequence[ImportedRun]) -> pd.DataFrame:
    """The scores with what judges nothing and was run elsewhere; its rows name the run in `imported`.

    That is pilot seeds of the experiments that have none among the scores, and controls that were not run,
    of the size of the trained arms among them.
    """
    more = []
    for run in imported:
        for rows in (_pilots(scores, run.scores, ledger), _controls(scores, run.scores, ledger)):
            if len(rows):
                more.append(rows.assign(imported=run.name))
    return pd.concat([scores, *more], ignore_index=True) if more else scores


def _pilots(scores: pd.DataFrame, there: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    known = scores.loc[scores["seed"].isin(ledger.pilot_seeds), "experiment"].unique()
    return there[there["seed"].isin(ledger.pilot_seeds) & ~there["experiment"].isin(known)]


def _controls(scores: pd.DataFrame, there: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    named = {one.arm.experiment for one in ledger.controls.values()} - {None, *scores["experiment"].unique()}
    rows = there[there["experiment"].isin(named) & ~there["seed"].isin(ledger.pilot_seeds)]
    columns = [name for name in _OF_ONE_SIZE if name in scores and name in rows]
    trained = scores[scores["constraint"] == "trained"]
    sizes = set(trained[columns].itertuples(index=False, name=None))
    fits = [one in sizes for one in rows[columns].itertuples(index=False, name=None)]
    return rows[fits]


def _replaces(other: Finding, own: Finding) -> bool:
    """Whether a kept run's result is of the claim's scale, and says what the own one cannot."""
    if own.imported or other.verdict.verdict == "open" or other.elsewhere:
        return False
    one_seed = own.verdict.n_seeds == 1 < other.verdict.n_seeds and own.supported is None
    return own.verdict.verdict == "open" or bool(own.elsewhere) or one_seed
