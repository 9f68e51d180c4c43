"""What judges make of one SAE, and which of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sanity.engine.cells import Result
from sanity.evals.base import EvalResult
from sanity.evals.judging.asking import JudgeSpec
from sanity.evals.judging.scoring import Judgement


@dataclass(frozen=True)
class Opinion:
    """What one judge makes of one SAE."""

    judge: JudgeSpec
    passed: bool
    why: str
    """What the gate says of the judge."""
    judged: Judgement | None
    silent: str
    """Why there is no score; empty where there is one."""


def why_silent(spec: JudgeSpec, passed: bool, why: str, contexts: Result) -> str:
    """Why a judge is not asked about an SAE; empty where it is.

    A paid judge is not called when its answer would not count.
    """
    if not passed and spec.kind == "endpoint":
        return f"the judge did not pass its gate ({why})"
    facts = contexts.json("facts")
    if "refused" in facts:
        return str(facts["refused"])
    found = facts["sampled"]
    return f"{found} latent is too few: another's description takes two" if found < 2 else ""


def scored(opinions: Sequence[Opinion]) -> EvalResult:
    """The score of the first judge that passed, or else of the first, and what all of them said."""
    chosen = next((one for one in opinions if one.passed), opinions[0])
    judges = [
        {"judge": one.judge.label, "passed": one.passed, "why": one.why, "silent": one.silent}
        for one in opinions
    ]
    tables = {"judges": pd.DataFrame(judges)}
    asked = [(one.judge.label, one.judged) for one in opinions if one.judged is not None]
    if asked:
        tables["latents"] = pd.concat([said.latents.assign(judge=judge) for judge, said in asked])
        tables["transcript"] = pd.concat([said.transcript.assign(judge=judge) for judge, said in asked])
    scores = chosen.judged.scores() if chosen.judged is not None and not chosen.silent else []
    facts = {"judge": chosen.judge.label, "counts": chosen.passed, "why": chosen.why}
    return EvalResult(scores, tables, facts, refused=chosen.silent)
