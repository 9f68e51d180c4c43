"""The planner: from the grids of a profile to cells.

    grid = sources x architectures x L0 x latents x arms x objectives x learning rates x seeds, and evals

Each combination is one run; each run and eval is one score. What runs share (a harvest, texts, references) is
one cell for all of them, whichever grids ask for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sanity.baselines import OwnNeurons
from sanity.engine.cells import Cell, Cost
from sanity.errors import BadInputError
from sanity.evals.base import Eval
from sanity.experiments.own_neurons import take_neurons
from sanity.experiments.plans import Plan, PlannedRun, RunRequest, SharedCell, on_its_threads, training_cost
from sanity.experiments.snapshots import keep_snapshots
from sanity.experiments.steps import (
    EvalOnSource,
    Scoring,
    grade_eval,
    prepare_eval,
    refer_eval,
    score_saes,
    train_arms,
    without_grades,
)
from sanity.profiles import GridBlock, Profile
from sanity.sources import Noise, Pace, RunSpec, Snapshot, Source


def plan_grids(profile: Profile) -> Plan:
    """The cells of all grids of a profile."""
    planner = _Planner(Plan(profile), profile.device, profile.pace)
    for name, blocks in profile.grids.items():
        for block in blocks:
            planner.add_block(profile, name, block)
    return planner.plan


def plan_runs(
    runs: Sequence[RunSpec | RunRequest],
    evals: Mapping[str, Eval],
    *,
    grid: str = "runs",
    pace: Pace | None = None,
) -> Plan:
    """The cells of some runs, each scored by some evals on the source that it is trained on.

    >>> plan = plan_runs([run], {"reconstruction": Reconstruction()})          # doctest: +SKIP
    """
    asked = [one if isinstance(one, RunRequest) else RunRequest(one) for one in runs]
    planner = _Planner(Plan(None), asked[0].run.device if asked else "cpu", pace or Pace())
    seeds = sorted({one.run.arm.seed for one in asked})
    for one in asked:
        chosen = {n: each for n, each in evals.items() if one.evals is None or n in one.evals}
        source = one.scored_on or one.run.source
        planner.add_run(grid, source.where, one.run, source, chosen, seeds, made=one.made)
    return planner.plan


class _Planner:
    """Makes cells, each once."""

    def __init__(self, plan: Plan, device: str, pace: Pace) -> None:
        self.plan, self.device, self.pace = plan, device, pace
        self._shared: dict[str, SharedCell] = {}
        # Hundreds of runs share what is prepared for them: made once, and hashed once.
        self._of_source: dict[Source, dict[str, Cell]] = {}
        self._of_eval: dict[tuple[object, ...], dict[str, Cell]] = {}

    def _source_cells(self, source: Source) -> dict[str, Cell]:
        if source not in self._of_source:
            self._of_source[source] = source.cells(self.device, self.pace)
        return self._of_source[source]

    def add_block(self, profile: Profile, grid: str, block: GridBlock) -> None:
        """The runs of one block of a grid, and their scores; none where no eval of it can be asked here."""
        named = {name: profile.eval_named(name).in_environment() for name in block.evals}
        evals = {name: one for name, one in named.items() if one is not None}
        if block.evals and not evals:
            return
        for place, run in runs_of(profile, block):
            seed = run.arm.seed
            scored_on = profile.source_named(block.scored_on, seed) if block.scored_on else run.source
            where = profile.place_of(block.scored_on) if block.scored_on else place
            self.add_run(grid, where, run, scored_on, evals, block.seeds)

    def add_run(
        self,
        grid: str,
        place: str,
        run: RunSpec,
        scored_on: Source,
        evals: Mapping[str, Eval],
        seeds: Sequence[int],
        made: Cell | None = None,
    ) -> None:
        """One run of a grid with these seeds, and its scores; `made` keeps its SAE if it is not trained."""
        trained = made or self._trained(run)
        scored = {
            name: self._scored(name, one, run, trained, scored_on, place, seeds)
            for name, one in evals.items()
            if not one.compares_seeds or _next_seed(run.arm.seed, seeds, grid, name) is not None
        }
        needed = {name: cell for one in scored.values() for name, cell in _needed(one).items()}
        self.plan.runs.append(PlannedRun(grid, place, run, trained, scored_on, {**needed, **scored}))

    def _trained(self, run: RunSpec) -> Cell:
        training = keep_snapshots if isinstance(run, Snapshot) else train_arms
        if isinstance(run.arm.constraint, OwnNeurons):
            training = take_neurons
        made = training.cell(
            run,
            inputs=self._source_cells(run.source),
            label=run.label,
            stage="train",
            cost=training_cost(run, self.pace),
            threads=run.source.threads,
        )
        return on_its_threads(made, run.source)

    def _scored(
        self,
        name: str,
        one: Eval,
        run: RunSpec,
        trained: Cell,
        source: Source,
        place: str,
        seeds: Sequence[int],
    ) -> Cell:
        if why := one.why_not(source):
            raise BadInputError(f"the eval {name} cannot be asked of SAEs on {source.where}: {why}")
        inputs = {
            "sae": trained,
            **self._source_cells(source),
            **self._prepared(name, one, source, place),
        }
        if one.has("refer"):
            inputs["references"] = self._reference(name, one, run, source, place)
            for seed in seeds if one.pools_references else ():
                of_seed = replace(run, arm=replace(run.arm, seed=seed))
                inputs[f"references.{seed}"] = self._reference(name, one, of_seed, source, place)
        if one.has("grade"):
            self._graded(name, one, run, source, place)
        if one.compares_seeds and (following := _next_seed(run.arm.seed, seeds, place, name)) is not None:
            inputs["sae.next"] = self._trained(replace(run, arm=replace(run.arm, seed=following)))
        for needed, other in one.needs().items():
            inputs[f"{needed}.scored"] = self._scored(needed, other, run, trained, source, place, seeds)
        asked = without_grades(one)
        made = score_saes.cell(
            Scoring(asked, one.version, source, run),
            inputs=inputs,
            label=f"{name.replace('_', ' ')} of {run.label}",
            stage=one.name,
            cost=_cost(one.seconds("score", source, run, self.pace)),
            threads=one.threads(source),
        )
        return _as_told(made, one, source)

    def _prepared(self, name: str, one: Eval, source: Source, place: str) -> dict[str, Cell]:
        """The prepared files of an eval, and of those that it needs, by the names of inputs."""
        if (name, one, source) not in self._of_eval:
            self._of_eval[name, one, source] = self._make_prepared(name, one, source, place)
        return self._of_eval[name, one, source]

    def _make_prepared(self, name: str, one: Eval, source: Source, place: str) -> dict[str, Cell]:
        inputs = {
            f"{needed}.prepared": cell
            for needed, other in one.needs().items()
            for part, cell in self._prepared(needed, other, source, place).items()
            if part == "prepared"
        }
        if one.has("prepare"):
            config = self._on_source(without_grades(one), source)
            needs = {**self._source_cells(source), **inputs}
            cell = prepare_eval.cell(
                config,
                inputs=needs,
                label=f"{name.replace('_', ' ')}: what SAEs on {source.where} share",
                stage=one.name,
                cost=_cost(one.seconds("prepare", source, None, self.pace)),
                threads=one.prepare_threads,
            )
            inputs["prepared"] = self._once(self.plan.prepared, SharedCell(name, place, source, cell)).cell
        return inputs

    def _reference(self, name: str, one: Eval, run: RunSpec, source: Source, place: str) -> Cell:
        seed, d_sae = run.arm.seed, run.arm.d_sae
        known = self._of_eval.setdefault((name, one, source, seed, d_sae), {})
        if known:
            return known["references"]
        config = replace(self._on_source(without_grades(one), source), seed=seed, d_sae=d_sae)
        cell = refer_eval.cell(
            config,
            inputs={**self._source_cells(source), **self._prepared(name, one, source, place)},
            label=f"{name.replace('_', ' ')}: floor, ceiling and references on {source.where}, seed {seed}",
            stage=one.name,
            cost=_cost(one.seconds("refer", source, run, self.pace)),
            threads=one.threads(source),
        )
        cell = _as_told(cell, one, source)
        known["references"] = self._once(
            self.plan.references, SharedCell(name, place, source, cell, seed)
        ).cell
        return known["references"]

    def _graded(self, name: str, one: Eval, run: RunSpec, source: Source, place: str) -> None:
        if source.is_control or getattr(one, "grades", True) is None or not one.grades_on(source):
            return
        # Of a world that every seed draws for itself, one says how an eval reads them all.
        at = f"{place}, Gaussian noise" if isinstance(source, Noise) else place  # a gate of its own
        asked = (name, at, source.redrawn(0))
        if any((made.eval, made.place, made.source.redrawn(0)) == asked for made in self.plan.graded):
            return
        inputs = {**self._source_cells(source), **self._prepared(name, one, source, place)}
        if one.has("refer"):
            inputs["references"] = self._reference(name, one, run, source, place)
        cell = grade_eval.cell(
            self._on_source(one, source),
            inputs=inputs,
            label=f"{name.replace('_', ' ')}: its own reference on {source.where}, corrupted in steps",
            stage=one.name,
            cost=_cost(one.seconds("grade", source, run, self.pace)),
            threads=one.threads(source),
        )
        cell = _as_told(cell, one, source)
        self._once(self.plan.graded, SharedCell(name, at, source, cell))

    def _on_source(self, one: Eval, source: Source) -> EvalOnSource:
        return EvalOnSource(one, one.version, source, self.device)

    def _once(self, kept: list[SharedCell], made: SharedCell) -> SharedCell:
        if made.cell.key not in self._shared:
            self._shared[made.cell.key] = made
            kept.append(made)
        return self._shared[made.cell.key]


def _needed(scored: Cell) -> dict[str, Cell]:
    """The scores of other evals that a score is made from, by the names under which it needs them."""
    return {name.removesuffix(".scored"): cell for name, cell in scored.inputs if name.endswith(".scored")}


def _next_seed(seed: int, seeds: Sequence[int], grid: str, name: str) -> int | None:
    """The seed whose SAE an eval compares with that of `seed`; None for the second of two, one pair."""
    if len(seeds) < 2:
        raise BadInputError(
            f"the eval {name} compares an SAE with that of another seed, and {grid} has seed {seed} alone: "
            "name two seeds or more, or leave the eval out"
        )
    at = list(seeds).index(seed)
    return None if len(seeds) == 2 and at else seeds[(at + 1) % len(seeds)]


def _as_told(cell: Cell, one: Eval, source: Source) -> Cell:
    """The same of an eval's cell; one with threads of its own is told for these."""
    return cell if type(one).threads is not Eval.threads else on_its_threads(cell, source)


def _cost(given: float | Cost) -> Cost:
    return given if isinstance(given, Cost) else Cost(given)


def runs_of(profile: Profile, block: GridBlock) -> Iterator[tuple[str, RunSpec]]:
    """Every combination of a block with the name of its place, seeds innermost."""
    for source in block.sources:
        of_seed = {seed: profile.source_named(source, seed) for seed in block.seeds}
        for at, arm in itertools.product(block.at, block.every_arm()):
            made = of_seed[arm.seed]
            bound = replace(arm, init=arm.init.on(made))
            whole = RunSpec(bound, made, block.budget(profile.precision), profile.device)
            yield profile.place_of(source), whole if at == 1 else Snapshot(**vars(whole), at=at)
