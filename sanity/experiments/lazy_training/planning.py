"""The cells of the analysis, part by part, from the primary grids of a profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sanity.baselines import FrozenDecoder, FrozenEncoder, SoftFrozenDecoder, Trained
from sanity.engine.cells import Cell, Cost
from sanity.experiments.lazy_training.alignment import SeedPair, compare_seeds
from sanity.experiments.lazy_training.following import FollowedRun, follow_training
from sanity.experiments.lazy_training.geometry import (
    PAPERS_SIZES,
    WIDE,
    ConeSimulation,
    DictionarySize,
    cone_geometry,
)
from sanity.experiments.lazy_training.moments import Moment, read_curve
from sanity.experiments.lazy_training.releasing import ReleasedSeed, compare_releases
from sanity.experiments.lazy_training.scaling import ScaledRun, train_scaled
from sanity.experiments.plans import Plan, PlannedRun, on_its_threads
from sanity.models import Constraint, TopK
from sanity.profiles import Profile, built
from sanity.sources import RunSpec

NAME = "lazy_training"
TOY, REAL = "synthetic_recovery", "real_activations"
"""The grids whose first block holds the arms that are followed and compared."""
SCORED_BY = ("reconstruction", "directions")
"""The evals whose metrics are read along the training, too."""
TENTH = 10
"""The paper looks at a tenth of the steps."""
PAIRED: tuple[Constraint, ...] = (Trained(), SoftFrozenDecoder(), FrozenEncoder(), FrozenDecoder())
"""Arms of which one seed's latents are compared with another's."""

LabelledCells = list[tuple[str, Cell]]
"""Cells, each with the world, hook or size that it is about."""


@dataclass(frozen=True)
class LazyFields:
    """What a profile may say of this analysis."""

    followed_seeds: tuple[int, ...] = (0,)
    """Seeds whose whole training is followed."""
    probe_points: int = 90
    """Log-spaced steps at which cosines to init are read."""
    laziness_points: int = 10
    """How many of these also read supports, the first-order model and the tangent kernel."""
    laziness_samples: int = 256
    kernel_samples: int = 96
    output_scales: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    """Factors on the output of the centred model of Chizat et al."""
    scaling_steps: int = 600
    scaling_batch: int = 256
    simulated_draws: int = 100
    """Directions per size in the simulation of what cones reach."""
    matched_latents: int = 4096
    """Latents of one seed, at most, that are matched one to one with those of another."""


def fields_of(profile: Profile) -> LazyFields:
    """The analysis's fields at a profile."""
    fields: LazyFields = built(LazyFields, profile.analyses.get(NAME, {}), f"the analysis {NAME}")
    return fields


def parts(plan: Plan) -> dict[str, LabelledCells]:
    """The cells of each part; none where the profile does not ask for the analysis."""
    fields, asked = fields_of(plan.profile), NAME in plan.profile.analyses
    toy, real = (primary_runs(plan, TOY), real_runs(plan)) if asked else ([], [])
    ends = [run for run in _of(Trained(), real) if set(SCORED_BY) <= run.scored.keys()]
    followed = [run for run in _of(Trained(), [*toy, *real]) if run.run.arm.seed in fields.followed_seeds]
    scaled = [run for run in followed if run in toy][:1]
    return {
        "following": [(run.place, _followed(plan, run.run, fields)) for run in followed],
        "end": [(run.place, _read(run, 1)) for run in ends],
        "tenth": [(run.place, _read(run, TENTH)) for run in ends],
        "releasing": [(run.place, cell) for run in ends for cell in _released(plan, run, real)],
        "scaling": [(run.place, cell) for run in scaled for cell in _scaled(plan, run.run, fields)],
        "geometry": [(size.name, _geometry(size, fields)) for size in _sizes(toy, real)] if asked else [],
        "alignment": [*_pairs(plan, toy, fields), *_pairs(plan, real, fields)],
    }


def primary_runs(plan: Plan, grid: str) -> list[PlannedRun]:
    """Runs of a grid's first block in its first architecture, L0, size and rate; isotropic starts."""
    if not plan.profile.grids.get(grid):
        return []
    block = plan.profile.grid(grid)
    sources = [plan.profile.source_named(name) for name in block.sources]
    columns = ("architecture", "l0_target", "d_sae", "learning_rate", "init", "objective")
    first = (block.architectures[0], block.l0[0], block.d_sae[0], block.learning_rates[0], "iso", "plain")
    return [
        run
        for run in plan.grid(grid)
        if run.run.source in sources and tuple(run.run.columns()[name] for name in columns) == first
    ]


def real_runs(plan: Plan) -> list[PlannedRun]:
    """The primary runs on real activations, at the first hook."""
    runs = primary_runs(plan, REAL)
    return [run for run in runs if run.run.source == runs[0].run.source]


def _of(constraint: Constraint, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    return [run for run in runs if run.run.arm.constraint == constraint]


def _followed(plan: Plan, run: RunSpec, fields: LazyFields) -> Cell:
    training = replace(run.budget.training, probe_points=fields.probe_points)
    d_sae, d_in = run.arm.d_sae, run.source.d_in
    seconds = plan.profile.pace.training_seconds(samples=run.budget.samples, d_sae=d_sae, d_in=d_in)
    closely = replace(run, budget=replace(run.budget, training=training))
    cell = follow_training.cell(
        FollowedRun(closely, fields.laziness_points, fields.laziness_samples, fields.kernel_samples),
        inputs=run.source.cells(run.device, plan.profile.pace),
        label=f"following {run.label}",
        stage="train",
        cost=Cost(2.0 + seconds, disk_bytes=2_000_000),
        threads=run.source.threads,
    )
    return on_its_threads(cell, run.source)


def _read(run: PlannedRun, divisor: int) -> Cell:
    return read_curve.cell(
        Moment(divisor),
        inputs={
            "trained": run.trained,
            **{name: run.scored[name] for name in ("reconstruction", "directions")},
        },
        label=f"the curve of {run.run.label}, read at 1/{divisor} of its steps",
        cost=Cost(0.1),
        threads=1,
    )


def _released(plan: Plan, trained: PlannedRun, real: Sequence[PlannedRun]) -> list[Cell]:
    """What the paper's cone costs one seed beyond noise, where the profile has all four runs."""

    def scores(runs: Sequence[PlannedRun], prefix: str) -> dict[str, Cell]:
        return {
            f"{prefix}{name}": run.scored[SCORED_BY[0]]
            for name, arm in (("trained", Trained()), ("held", SoftFrozenDecoder()))
            for run in _of(arm, runs)
            if run.run.arm.seed == trained.run.arm.seed and SCORED_BY[0] in run.scored
        }

    inputs = scores(real, "") | scores(plan.grid(f"{NAME}_noise"), "noise.")
    if len(inputs) < 4:
        return []
    seed = trained.run.arm.seed
    label = f"what releasing the cone gains beyond noise, {trained.place}, seed {seed}"
    return [compare_releases.cell(ReleasedSeed(seed), inputs=inputs, label=label, cost=Cost(0.1), threads=1)]


def _scaled(plan: Plan, run: RunSpec, fields: LazyFields) -> list[Cell]:
    """Two cells per output scale, with TopK whatever else the profile trains."""
    topk = replace(
        run,
        arm=replace(run.arm, architecture=TopK(k=run.l0)),
        budget=replace(run.budget, steps=fields.scaling_steps, batch_size=fields.scaling_batch),
    )
    return [
        train_scaled.cell(
            ScaledRun(topk, alpha, held, fields.laziness_samples, fields.kernel_samples),
            inputs=run.source.cells(run.device, plan.profile.pace),
            label=f"output scale {alpha:g}, supports {'held' if held else 'switching'}",
            stage="train",
            cost=Cost(1.0 + 2.5e-11 * topk.budget.samples * run.arm.d_sae * run.source.d_in),
            threads=1,
        )
        for alpha in fields.output_scales
        for held in (True, False)
    ]


def _sizes(toy: Sequence[PlannedRun], real: Sequence[PlannedRun]) -> list[DictionarySize]:
    """The paper's sizes, and the profile's own where they are others."""
    own = [DictionarySize("this toy", None, run.run.source.d_in, run.run.arm.d_sae) for run in toy[:1]]
    for run in real[:1]:
        subject = run.run.source.subject
        own.append(DictionarySize(subject or run.place, subject, run.run.source.d_in, run.run.arm.d_sae))
    known = {(size.d_in, size.d_sae) for size in PAPERS_SIZES}
    return [*PAPERS_SIZES, *(size for size in (*own, WIDE) if (size.d_in, size.d_sae) not in known)]


def _geometry(size: DictionarySize, fields: LazyFields) -> Cell:
    return cone_geometry.cell(
        ConeSimulation(size, fields.simulated_draws),
        label=f"the reach of cones, {size.name} ({size.d_in:,}; {size.d_sae:,})",
        cost=Cost(0.6),
        threads=1,
    )


def _pairs(plan: Plan, runs: Sequence[PlannedRun], fields: LazyFields) -> LabelledCells:
    """The first two seeds of each arm, place by place."""
    made = []
    for place in dict.fromkeys(run.place for run in runs):
        for constraint in PAIRED:
            both = [run for run in _of(constraint, runs) if run.place == place][:2]
            if len(both) == 2:
                made.append((place, _pair(plan, both[0], both[1], fields)))
    return made


def _pair(plan: Plan, a: PlannedRun, b: PlannedRun, fields: LazyFields) -> Cell:
    run, other = a.run, b.run.arm.seed
    n = min(fields.matched_latents, run.arm.d_sae)
    return compare_seeds.cell(
        SeedPair(run, other, fields.matched_latents),
        inputs={"a": a.trained, "b": b.trained, **run.source.cells(run.device, plan.profile.pace)},
        label=f"latents of {run.label} next to those of seed {other}",
        cost=Cost(0.5 + 1e-10 * n * n * run.arm.d_sae),
        threads=1,
    )
