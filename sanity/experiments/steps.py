"""The cells that everything is made of: train, prepare, refer, score, grade; each is written once, here.

A source's own cells (a harvest) come before them; see `sanity.sources`. What an arm is trained on and what it
is scored on are named apart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from sanity.engine.cells import Cell, Result, Task, computes
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Setting
from sanity.evals.probes import CosineToInitProbe, HeldOutEVProbe, RecoveryProbe
from sanity.evals.score import Score
from sanity.models import Autoencoder, Plain, Probe, Run, load_dictionary, save_sae, train
from sanity.models.footprint import parts_that_fit, room_for_arms
from sanity.sources import OpenedSource, RunSpec, Source

log = logging.getLogger("sanity")


# ------------------------------------------------------------------------------------------------------ train


def _same_batches(cell: Cell) -> object:
    """Runs that see the same batches: all of them, where passing these or starting a step is what takes time.

    On the cores of a processor, of a source that costs little, only such as take about as long as any other
    group: groups run next to each other there.
    """
    run: RunSpec = cell.config
    inputs = {name: needed.key for name, needed in cell.inputs}
    same: list[object] = [inputs, run.source, run.budget, run.device]
    if not run.source.one_order:
        same.append(run.arm.seed)
    if cell.wants_card or run.source.one_order:
        return same
    same.append(run.arm.learning_rate)
    return same if run.arm.objective == Plain() else [*same, run.arm]


@computes("train", version=1, together=_same_batches)
def train_arms(tasks: Sequence[Task]) -> None:
    """Train the arms that see the same batches; keep of each its curve, and the SAE at matched L0."""
    first: RunSpec = tasks[0].config
    opened = first.source.open(
        tasks[0].inputs, batch_size=first.budget.batch_size, seed=first.arm.seed, device=first.device
    )
    for some in that_fit([task.config for task in tasks]):
        _train_part(tasks[some], opened)


def _train_part(tasks: Sequence[Task], opened: OpenedSource) -> None:
    """Train and keep some arms; when it returns, nothing holds their memory."""
    runs = trained([task.config for task in tasks], opened, folders=[task.scratch for task in tasks])
    for task, run in zip(tasks, runs, strict=True):
        keep_run(task, run, opened)


def keep_run(task: Task, run: Run, opened: OpenedSource) -> Autoencoder:
    """Keep a run's curve and data, and its SAE brought to the L0 that it was asked for."""
    spec: RunSpec = task.config
    sae = at_matched_l0(run.sae, opened.calibration, spec.l0)
    task.save_table("curve", named_curve(run.curve).assign(**spec.columns()))
    save_sae(sae, task.folder / "sae")
    if run.stacked_with:
        task.save_json("stack", {"trained_with": list(run.stacked_with)})
    if opened.kept is not None and opened.held_out is not None:
        unique = getattr(opened.stream, "tokens_per_epoch", opened.kept.n_tokens)
        task.save_json(
            "data",
            {
                "tokens_unique": unique,
                "tokens_seen": spec.budget.samples,
                "epochs": spec.budget.samples / unique,
                "tokens_held_out": opened.held_out.n_tokens,
                "factor": opened.kept.factor,
            },
        )
    return sae


def trained(
    specs: Sequence[RunSpec], opened: OpenedSource, *, folders: Sequence[Path], more: Sequence[Probe] = ()
) -> list[Run]:
    """Train arms that share source and budget, and fit into memory, with their source's probes and `more`."""
    budget = specs[0].budget
    return train(
        [spec.arm for spec in specs],
        opened.stream,
        steps=budget.steps,
        training=budget.training,
        probes=[*probes_of(opened), *more],
        folder=folders,
        precision=budget.precision,
    )


def probes_of(opened: OpenedSource) -> list[Probe]:
    """What is measured along training: explained variance, turning, and recovery where there is a truth."""
    probes: list[Probe] = [HeldOutEVProbe(opened.sample, opened.sample_targets), CosineToInitProbe()]
    if opened.truth is not None:
        world = opened.truth.world
        probes.append(RecoveryProbe(world.features, probabilities=world.probabilities))
    if opened.circuit is not None:
        probes.append(RecoveryProbe(opened.circuit.circuit.out_features))
    return probes


def that_fit(runs: Sequence[RunSpec]) -> list[slice]:
    """Runs on one source in as few parts as fit into memory at once; the data pass by once per part."""
    taken = runs[0].source.buffer_bytes
    return parts_that_fit([run.footprint for run in runs], room_for_arms(runs[0].device, taken=taken))


def at_matched_l0(sae: Autoencoder, x: Tensor, target: int) -> Autoencoder:
    """The SAE with its thresholds moved by one offset so that L0 on `x` is `target` within 2 %.

    Arms are compared at one sparsity: training leaves them at slightly different ones. An SAE that cannot
    get there (too few latents are ever positive) stays as it is, which its L0 in every table shows.
    """
    try:
        return sae.calibrate_l0(x, target)
    except BadInputError as error:
        log.warning("L0 is not matched: %s", error)
        return sae


def named_curve(curve: pd.DataFrame) -> pd.DataFrame:
    """A run's curve with plain column names: `samples` seen, what recovery measured, `..._held_out`."""

    def plain(name: str) -> str:
        probe, _, value = name.rpartition(".")
        if probe == "held_out":
            return f"{value}_held_out"
        return f"cosine_to_init_{value}" if probe == "cosine_to_init" else value

    return curve.rename(columns=plain).rename(columns={"tokens": "samples_seen"})


# ----------------------------------------------------------------------------------- prepare, refer, grade


@dataclass(frozen=True)
class EvalOnSource:
    """An eval and the source it works on. The version of the eval is part of the key."""

    eval: Eval
    version: int
    source: Source
    device: str
    seed: int = 0
    d_sae: int = 0
    """Latents of the SAEs, where references are as many."""


def _setting(task: Task, *, batch_size: int = 1024) -> Setting:
    config: EvalOnSource = task.config
    return Setting(config.source, config.seed, batch_size, config.device, task.inputs)


@computes("prepare", version=1)
def prepare_eval(task: Task) -> None:
    """What all SAEs of a source share."""
    task.config.eval.prepare(task, _setting(task))


@computes("refer", version=1)
def refer_eval(task: Task) -> None:
    """Floors, ceilings and untrained references of one seed."""
    task.config.eval.refer(task, _setting(task), task.config.d_sae)


@computes("grade", version=1)
def grade_eval(task: Task) -> None:
    """The eval's own reference, corrupted in steps: the table `graded`."""
    task.save_table("graded", task.config.eval.grade(task, _setting(task)))


# ------------------------------------------------------------------------------------------------------ score


@dataclass(frozen=True)
class Scoring:
    """Which SAE is scored by which eval, on which source. The version of the eval is part of the key."""

    eval: Eval
    version: int
    source: Source
    run: RunSpec


def _shares_references(cell: Cell) -> object:
    """SAEs that an eval scores in one call: those of one source, and of one seed if it asks seeds apart."""
    config: Scoring = cell.config
    run = config.run
    own = ("sae", "sae.next")
    shared = {n: c.key for n, c in cell.inputs if n not in own and not n.endswith(".scored")}
    seed = run.arm.seed if config.eval.asks_seeds_apart else None
    return [shared, config.eval, config.source, run.budget.batch_size, run.device, seed]


ONLY_HERE: dict[str, Any] = {}
"""SAEs that cannot be kept on disk, by the key of the cell that stands for them: objects in this process."""


def _sae_of(result: Result, device: str) -> Any:
    here = ONLY_HERE.get(result.key)
    return load_dictionary(result.folder("sae")).to(device=device) if here is None else here


@computes("score", version=1, together=_shares_references)
def score_saes(tasks: Sequence[Task]) -> None:
    """Score SAEs: a table `scores` for each, the eval's own tables, and `facts`."""
    first: Scoring = tasks[0].config
    run = first.run
    setting = Setting(first.source, run.arm.seed, run.budget.batch_size, run.device, tasks[0].inputs)
    candidates = [
        Candidate(
            _sae_of(task.inputs["sae"], run.device),
            task.config.run,
            {n.removesuffix(".scored"): r for n, r in task.inputs.items() if n.endswith(".scored")},
            task.scratch,
            _sae_of(task.inputs["sae.next"], run.device) if "sae.next" in task.inputs else None,
        )
        for task in tasks
    ]
    found = first.eval.score(candidates, first.eval.open(setting), setting)
    for task, scored in zip(tasks, found, strict=True):
        keep_scores(task, scored, {**task.config.run.columns(), **first.source.columns()})


def keep_scores(task: Task, scored: EvalResult, about: Mapping[str, Any]) -> None:
    """Keep what an eval found of one SAE, with the columns that say which SAE it is."""
    task.save_table("scores", score_table(scored.scores, about))
    for name, table in scored.tables.items():
        task.save_table(name, table.assign(**{n: v for n, v in about.items() if n not in table}))
    for name, tensors in scored.tensors.items():
        task.save_tensors(name, tensors)
    task.save_json("facts", {**scored.facts, **({"refused": scored.refused} if scored.refused else {})})


def score_table(scores: Sequence[Score], about: Mapping[str, Any]) -> pd.DataFrame:
    """One tidy row per score."""
    columns = [*about, *Score.__dataclass_fields__]
    return pd.DataFrame([{**about, **score.row()} for score in scores], columns=columns)


def without_grades(one: Eval) -> Eval:
    """The eval without the fields that only its validity gate reads: those are no part of a score's key."""
    there = {name: None for name in one.not_in_scores if hasattr(one, name)}
    return replace(one, **there) if there else one


def facts_of(result: Result) -> dict[str, Any]:
    """What an eval noted about an SAE next to its scores."""
    return result.json("facts")
