"""The chapter `judged_interpretability`: what judges said of latents, and whether it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sanity.engine.cells import Cell, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.evals.judging import JudgeSpec, gate_verdict, graded_accuracy
from sanity.experiments.grid import stack
from sanity.experiments.judged_interpretability_cells import EXPERIMENT, JudgeCells, plan_judges
from sanity.profiles import Profile
from sanity.profiles.judging import JudgeAmount

__all__ = ["EXPERIMENT", "JudgeTables", "cells", "chosen", "graded", "scores", "summary", "tables"]


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return [
        cell for judge in plan_judges(profile) for cell in (judge.gate, *(cell for _, cell in judge.judged))
    ]


@dataclass(frozen=True)
class JudgeTables:
    """What one judge said, and whether it counts."""

    spec: JudgeSpec
    amount: JudgeAmount
    passed: bool
    why: str
    concepts: pd.DataFrame
    """The gate: a row per known concept."""
    items: pd.DataFrame
    """The gate: a row per concept and excerpt."""
    gate_transcript: pd.DataFrame
    scores: pd.DataFrame
    """A row per arm and seed that has a score."""
    latents: pd.DataFrame
    """A row per latent."""
    transcript: pd.DataFrame
    """A row per question."""
    silent: list[tuple[str, str]]
    """Arms without a score, and why."""
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> list[JudgeTables]:
    """The chapter's tables, one entry per judge, computed first where they are missing."""
    return [_tables(profile, judge, store) for judge in plan_judges(profile)]


def _tables(profile: Profile, judge: JudgeCells, store: LocalStore | None) -> JudgeTables:
    (gate,) = results([judge.gate], store)
    found = results([cell for _, cell in judge.judged], store)
    passed, why = gate_verdict(gate.table("concepts"), margin=profile.judging.gate_margin)

    def gathered(name: str) -> pd.DataFrame:
        return stack(
            [
                result.table(name).assign(subject=subject)
                for (subject, _), result in zip(judge.judged, found, strict=True)
                if f"{name}.parquet" in result.files
            ]
        )

    silent = [
        (cell.config.arm.label, reason)
        for (_, cell), result in zip(judge.judged, found, strict=True)
        if (reason := _no_score(result))
    ]
    return JudgeTables(
        judge.spec,
        judge.amount,
        passed,
        why,
        gate.table("concepts"),
        gate.table("items"),
        gate.table("transcript"),
        gathered("scores"),
        gathered("latents"),
        gathered("transcript"),
        silent,
        [gate, *found],
    )


def _no_score(result: Result) -> str | None:
    if "none.json" in result.files:
        return str(result.json("none")["why"])
    if "refused.json" in result.files:
        return f"{float(result.json('refused')['unanswered']):.0%} of the contexts have no usable answer"
    return None


def chosen(found: Sequence[JudgeTables]) -> JudgeTables | None:
    """The judge whose scores claims are judged by: the first that passed its gate."""
    return next((judge for judge in found if judge.passed), None)


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge: of the first judge that passed its gate, and none if no judge did."""
    found = tables(profile, store)
    kept = [result for judge in found for result in judge.found]
    judge = chosen(found)
    return (pd.DataFrame() if judge is None else judge.scores), kept


def graded(profile: Profile, store: LocalStore | None = None) -> pd.DataFrame:
    """Accuracy on known concepts as their descriptions are corrupted in grades.

    Of the judge that claims use, or of the first one where none passed. Columns: metric, level, seed, value,
    floor, ceiling, n, and `judge`.
    """
    plans = plan_judges(profile)
    gates = results([judge.gate for judge in plans], store)
    margin = profile.judging.gate_margin
    passed = [gate_verdict(gate.table("concepts"), margin=margin)[0] for gate in gates]
    index = passed.index(True) if any(passed) else 0
    table = graded_accuracy(gates[index].table("items"), seeds=range(profile.judging.reseeds))
    return table.assign(judge=plans[index].spec.label)


def summary(judge: JudgeTables) -> pd.DataFrame:
    """A row per arm: mean over seeds of the accuracy with own and others' descriptions; share above 0.7."""
    if judge.latents.empty:
        return pd.DataFrame()
    rows: list[dict[str, Any]] = []
    for (constraint, init), part in judge.latents.groupby(["constraint", "init"], sort=False):
        rows.append(
            {
                "constraint": constraint,
                "init": init,
                "accuracy": part.groupby("seed")["accuracy"].mean().mean(),
                "shuffled descriptions": part.groupby("seed")["shuffled"].mean().mean(),
                "latents above 0.7": (part["accuracy"] > 0.7).mean(),
                "said yes": part["said_yes"].mean(),
                "unanswered": part["unanswered"].mean(),
                "latents": len(part),
                "seeds": part["seed"].nunique(),
                "contexts each": int(part["contexts"].median()),
            }
        )
    return pd.DataFrame(rows)
