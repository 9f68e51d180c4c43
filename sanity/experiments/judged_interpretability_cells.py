"""Cells of judged interpretability: latents described and recognised by a language model.

Which judges there are is read from the environment and the profile when cells are planned; a cell's key has
the judge's name, the protocol's version and a seed, and neither address nor key nor price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.errors import BadInputError
from sanity.evals.judging import (
    CONCEPTS,
    AnswerCache,
    Judge,
    JudgeSpec,
    Usage,
    endpoint_from,
    estimate_protocol,
    gate_verdict,
    judge_latents,
    model_names,
    open_endpoint,
    open_local,
    registry_excerpts,
    run_gate,
    texts_of,
)
from sanity.experiments.grid import describe, score_rows
from sanity.experiments.interpretability_cells import (
    ContextCells,
    draw_seed,
    load_contexts,
    plan_contexts,
    why_none,
)
from sanity.experiments.real_activations import RealRun
from sanity.models import Arm
from sanity.profiles import Profile
from sanity.profiles.judging import JudgeAmount
from sanity.subject import weights_of

EXPERIMENT = "judged_interpretability"

# What the bundled judge takes on two cores: seconds per prompt token, per description, and to load.
_TOKEN_SECONDS = 1 / 700
_DESCRIPTION_SECONDS = 2.0
_LOAD_SECONDS = 3.0


@dataclass(frozen=True)
class GateRun:
    """A judge, and how many excerpts with known concepts it is asked about."""

    judge: JudgeSpec
    contexts: int
    seed: int
    device: str


@dataclass(frozen=True)
class JudgeRun:
    """A judge, and what it is asked about the latents of one SAE."""

    judge: JudgeSpec
    arm: Arm
    l0: int
    hook: str
    latents: int
    examples: int
    contexts: int
    gate_margin: float
    seed: int
    device: str


@computes(version=1)
def pass_gate(task: Task) -> None:
    """Ask a judge about excerpts whose concepts are known, with right and with wrong descriptions."""
    config: GateRun = task.config
    report = run_gate(
        _open(config.judge, config.device, task),
        registry_excerpts(seed=config.seed),
        n=config.contexts,
        texts_per_question=config.judge.texts_per_question,
        seed=config.seed,
    )
    task.save_table("concepts", report.concepts)
    task.save_table("items", report.items)
    task.save_table("transcript", report.transcript)


def _shares_judge(cell: Cell) -> object:
    """SAEs whose latents the same judge is asked about: it is loaded once."""
    return [cell.config.judge, cell.config.device, dict(cell.inputs)["pool"].key]


@computes(version=2, together=_shares_judge)
def judge_contexts(tasks: Sequence[Task]) -> None:
    """Have a judge describe latents of each SAE and recognise their contexts."""
    judge: Judge | None = None
    for task in tasks:
        if why := _why_not(task):
            # The book says so; a judge that is paid is not asked where its answers would not count.
            task.save_json("none", {"why": why})
            continue
        judge = judge or _open(task.config.judge, task.config.device, tasks[0])
        _judge_one(judge, task)


def _why_not(task: Task) -> str | None:
    """Why a judge is not asked about an SAE, if it is not."""
    config: JudgeRun = task.config
    passed, why = gate_verdict(task.inputs["gate"].table("concepts"), margin=config.gate_margin)
    if not passed and config.judge.kind == "endpoint":
        return f"the judge did not pass its gate ({why})"
    if (none := why_none(task.inputs["contexts"])) is not None:
        return none
    found = task.inputs["contexts"].json("counts")["sampled"]
    return f"{found} latent is too few: another's description takes two" if found < 2 else None


def _judge_one(judge: Judge, task: Task) -> None:
    config: JudgeRun = task.config
    contexts = load_contexts(task.inputs["pool"], task.inputs["contexts"])
    if contexts is None:
        raise BadInputError(f"no contexts were kept for {config.arm.label}")
    judged = judge_latents(
        judge,
        texts_of(
            contexts, config.latents, examples=config.examples, classified=config.contexts, seed=config.seed
        ),
        texts_per_question=config.judge.texts_per_question,
        seed=config.seed,
    )
    about = describe(EXPERIMENT, config.hook, config.arm, config.l0)
    task.save_table("latents", judged.latents.assign(**about))
    task.save_table("transcript", judged.transcript.assign(**about))
    if judged.refused:
        task.save_json("refused", {"unanswered": judged.unanswered})
    else:
        task.save_table("scores", pd.DataFrame(score_rows(about, judged.scores())))


def _open(spec: JudgeSpec, device: str, task: Task) -> Judge:
    """The judge; a local one keeps its answers with the unfinished cell, for an interrupted run."""
    if spec.kind == "endpoint":
        return open_endpoint(spec.model, seed=spec.seed)
    return open_local(spec.model, device=device, cache=AnswerCache(task.scratch / "answers"))


def judges(profile: Profile) -> list[tuple[JudgeSpec, JudgeAmount]]:
    """Who judges, and how much each is asked: those that the environment names, then the bundled ones."""
    grid = profile.judging
    remote = endpoint_from() is not None
    named = [
        (
            JudgeSpec("endpoint", name, None, grid.texts_per_question, grid.seed)
            if remote
            else JudgeSpec("local", name, weights_of(name), 1, grid.seed),
            grid.by_named,
        )
        for name in model_names()
    ]
    if remote and not named:
        raise BadInputError(
            "SANITY_JUDGE_URL is set and SANITY_JUDGE_MODEL is not: name the model that shall judge"
        )
    bundled = [
        (JudgeSpec("local", name, weights_of(name), 1, grid.seed), grid.by_bundled) for name in grid.bundled
    ]
    return [*named, *bundled]


@dataclass(frozen=True)
class JudgeCells:
    """The cells of one judge: its gate, and one per SAE with the place's subject."""

    spec: JudgeSpec
    amount: JudgeAmount
    gate: Cell
    judged: list[tuple[str, Cell]]


def plan_judges(profile: Profile) -> list[JudgeCells]:
    """Gates and judgements of every judge."""
    places = plan_contexts(profile)
    return [_plan_judge(profile, spec, amount, places) for spec, amount in judges(profile)]


def _plan_judge(
    profile: Profile, spec: JudgeSpec, amount: JudgeAmount, places: Sequence[ContextCells]
) -> JudgeCells:
    grid = profile.judging
    stage = "judging" if spec.kind == "endpoint" else "downstream"
    gate = pass_gate.cell(
        GateRun(spec, amount.gate_contexts, grid.seed, profile.device),
        label=f"known concepts for the judge {spec.model}",
        stage=stage,
        cost=_cost(spec, gate_usage(spec, amount), descriptions=0) + Cost(2 * _LOAD_SECONDS, 0, 0),
    )
    judged = []
    for place in places:
        for sae, contexts in zip(place.saes, place.contexts, strict=True):
            run: RealRun = sae.config
            if _asked_about(run.arm, amount):
                config = JudgeRun(
                    spec,
                    run.arm,
                    run.l0,
                    run.hook,
                    amount.latents,
                    amount.examples,
                    amount.contexts,
                    grid.gate_margin,
                    draw_seed(grid.seed, run.arm),
                    profile.device,
                )
                cell = judge_contexts.cell(
                    config,
                    inputs={"pool": place.pool, "contexts": contexts, "gate": gate},
                    label=f"{spec.model} judges {run.arm.label}",
                    stage=stage,
                    cost=_cost(spec, latents_usage(profile, spec, amount), descriptions=amount.latents),
                )
                judged.append((place.model.subject, cell))
    return JudgeCells(spec, amount, gate, judged)


def _asked_about(arm: Arm, amount: JudgeAmount) -> bool:
    names = describe(EXPERIMENT, "", arm, 0)
    return arm.seed in amount.seeds and any(
        (one.constraint, one.init) == (names["constraint"], names["init"]) for one in amount.arms
    )


def gate_usage(spec: JudgeSpec, amount: JudgeAmount) -> Usage:
    """What a judge's gate may cost."""
    return estimate_protocol(
        latents=len(CONCEPTS),
        examples=0,
        contexts=2 * amount.gate_contexts,
        context_characters=130,
        texts_per_question=spec.texts_per_question,
    )


def latents_usage(profile: Profile, spec: JudgeSpec, amount: JudgeAmount) -> Usage:
    """What judging the latents of one SAE may cost."""
    return estimate_protocol(
        latents=amount.latents,
        examples=amount.examples,
        contexts=2 * amount.contexts,
        context_characters=round(4.5 * profile.interpretability.window),
        texts_per_question=spec.texts_per_question,
    )


def expected_usage(profile: Profile, judge: JudgeCells) -> Usage:
    """What all that a judge is asked may cost, without what is on disk already."""
    total = gate_usage(judge.spec, judge.amount)
    for _ in judge.judged:
        total += latents_usage(profile, judge.spec, judge.amount)
    return total


def _cost(spec: JudgeSpec, usage: Usage, *, descriptions: int) -> Cost:
    """Seconds on this machine, or of waiting for an endpoint at its default rate of a call a second."""
    if spec.kind == "endpoint":
        return Cost(2.0 + usage.calls, disk_bytes=10_000 + 2 * usage.tokens)
    # What the questions about one description have in common is run once: about 0.6 of their tokens.
    seconds = 0.4 * usage.prompt_tokens * _TOKEN_SECONDS + descriptions * _DESCRIPTION_SECONDS
    return Cost(seconds, disk_bytes=10_000 + 2 * usage.tokens, memory_bytes=3 * 10**9)
