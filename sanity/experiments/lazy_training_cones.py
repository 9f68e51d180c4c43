"""The sweep over tau: from the frozen decoder (1) over half-spaces (0) to the trained arm (-1).

The same sweep on Gaussian noise of the same covariance is the control: noise has no features to turn to, so
what its latents do at the edge of their cones is drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.evals import (
    CosineToInitProbe,
    HeldOutEVProbe,
    Score,
    cosine_quantiles,
    cosine_to_init,
    encoder_decoder_cosine,
    frequency_weighted_recovery,
    loss_recovered,
    mean_max_cosine,
    mean_max_cosine_of,
    reach_of_anchors,
    reconstruction_scores,
    recovery,
    recovery_of,
    row_cosines,
    share_on_edge,
)
from sanity.experiments.grid import at_matched_l0, named_curve, score_rows
from sanity.experiments.lazy_training_sources import (
    LazyRun,
    Opened,
    about,
    inputs_of,
    open_source,
    real_run,
    seconds_of,
    tau_of,
    toy_run,
)
from sanity.experiments.real_activations import Place
from sanity.models import Run, initial_directions, load_sae, save_sae, train
from sanity.profiles import Profile
from sanity.subject import ActivationStore, weights_of

CURVE_SAMPLES = 512
CURVE_POINTS = 16


def _same_batches(cell: Cell) -> object:
    """Runs that see the same batches: those that differ in their arms only, of one seed."""
    run: LazyRun = cell.config
    inputs = {name: needed.key for name, needed in cell.inputs}
    return [inputs, run.source, run.arm.seed, run.batch_size, run.steps, run.training, run.precision]


@computes(version=1, together=_same_batches, threads=1)
def train_within_cones(tasks: Sequence[Task]) -> None:
    """Train the arms of one sweep and seed on a small world, and score them."""
    _train_and_score(tasks)


@computes(version=1, together=_same_batches)
def train_within_cones_on_activations(tasks: Sequence[Task]) -> None:
    """The same on activations, or on noise with their covariance: large products, for all threads."""
    _train_and_score(tasks)


def _train_and_score(tasks: Sequence[Task]) -> None:
    first: LazyRun = tasks[0].config
    opened = open_source(first, tasks[0].inputs)
    runs = train(
        [task.config.arm for task in tasks],
        opened.stream,
        steps=first.steps,
        training=replace(first.training, probe_points=CURVE_POINTS),
        probes=[HeldOutEVProbe(opened.held_out[:CURVE_SAMPLES]), CosineToInitProbe()],
        folder=tasks[0].shared,
        precision=first.precision,
    )
    for task, run in zip(tasks, runs, strict=True):
        named = about(task.config)
        task.save_table("scores", pd.DataFrame(score_rows(named, _scores(run, opened, task.config.l0))))
        task.save_table("curve", named_curve(run.curve).assign(**named))
        cosines = cosine_quantiles(row_cosines(run.sae.W_dec, run.initial_directions))
        task.save_json("cosines", {**named, **cosines})
        if first.source.world is None and not first.source.gaussian:
            save_sae(run.sae, task.folder / "sae")


def _scores(run: Run, opened: Opened, l0: int) -> list[Score]:
    """Reconstruction, distance from the start, and in a world what is and what could be recovered."""
    tau = tau_of(run.arm.constraint)
    sae = at_matched_l0(run.sae, opened.held_out, l0)
    W_dec, W0 = sae.W_dec, run.initial_directions
    scores = [
        *reconstruction_scores(sae, [opened.held_out]).values(),
        cosine_to_init(W_dec, W0),
        _renamed(cosine_to_init(sae.W_enc.T, W0), "encoder_cosine_to_init"),
        encoder_decoder_cosine(sae),
        share_on_edge(W_dec, W0, tau),
    ]
    if opened.world is None:
        return scores
    features, probabilities = opened.world.features, opened.world.probabilities
    reached = reach_of_anchors(features, W0, tau)
    return [
        *scores,
        recovery(features, W_dec),
        frequency_weighted_recovery(features, W_dec, probabilities),
        mean_max_cosine(features, W_dec),
        _renamed(recovery_of(reached, W_dec), "reachable_recovery"),
        _renamed(mean_max_cosine_of(reached, W_dec), "reachable_cosine"),
    ]


def _renamed(score: Score, metric: str) -> Score:
    return replace(score, metric=metric)


@computes(version=1, threads=1)
def read_edge(task: Task) -> None:
    """Share on the edge of an arm that another chapter trained at full budget; its start is drawn again."""
    run: LazyRun = task.config
    sae = load_sae(task.inputs["sae"].folder("sae"))
    W0 = initial_directions(run.arm, sae.d_in, lambda: torch.eye(sae.d_in))
    scores = [share_on_edge(sae.W_dec, W0, tau_of(run.arm.constraint))]
    task.save_table("scores", pd.DataFrame(score_rows(about(run), scores)))


@dataclass(frozen=True)
class ConeLoss:
    """Where, and on how many held-out tokens, the sweep's cross-entropy and KL are measured."""

    run: LazyRun
    place: Place
    n_tokens: int


def _same_model(cell: Cell) -> object:
    config: ConeLoss = cell.config
    inputs = {name: needed.key for name, needed in cell.inputs if name != "sae"}
    return [inputs, config.place, config.n_tokens, config.run.device]


@computes(version=1, together=_same_model)
def measure_cone_loss(tasks: Sequence[Task]) -> None:
    """Cross-entropy and KL with each SAE of the sweep spliced into the language model."""
    config: ConeLoss = tasks[0].config
    kept, held_out = (
        ActivationStore(tasks[0].inputs[name].folder("activations")) for name in ("train", "held_out")
    )
    tokens = torch.cat([shard.tokens for shard in held_out.shards()]).long()
    wanted = max(1, config.n_tokens // held_out.context)
    spread = torch.linspace(0, len(tokens) - 1, min(wanted, len(tokens))).round().long()
    device = config.run.device
    found = loss_recovered(
        config.place.load(device),
        {task.cell.key: load_sae(task.inputs["sae"].folder("sae")).to(device=device) for task in tasks},
        tokens[spread].to(device),
        hook=config.place.hook,
        centre=kept.mean,
        factor=kept.factor,
        leave_first=held_out.drop_first,
    )
    for task in tasks:
        losses = found[task.cell.key]
        named = {"ce_recovered": losses.cross_entropy, "kl_recovered": losses.kl_divergence}
        shares = [
            replace(
                score, metric=name, value=score.normalised(), floor=0.0, ceiling=1.0, higher_is_better=True
            )
            for name, score in named.items()
            if score.has_range
        ]
        columns = [*about(task.config.run), *Score.__dataclass_fields__]
        rows = score_rows(about(task.config.run), shares)
        task.save_table("scores", pd.DataFrame(rows, columns=columns))


def cone_cells(
    profile: Profile, activations: Mapping[str, Cell], primary: Sequence[Cell]
) -> dict[str, list[Cell]]:
    """The sweeps `toy`, `toy_gaussian`, `real`, `real_gaussian`; `edge`, `noise`; and `loss`, if asked for.

    `primary` are soft-frozen arms of the primary grid on real activations, of which the edge is read; `noise`
    are the same arms, seed by seed and for as many steps, on Gaussian noise of the same covariance.
    """
    grid = profile.lazy
    made: dict[str, list[Cell]] = {}
    for gaussian, taus in ((False, grid.taus), (True, grid.gaussian_taus)):
        each: list[dict[str, Any]] = [
            {"tau": tau, "seed": seed, "gaussian": gaussian} for seed in grid.cone_seeds for tau in taus
        ]
        end = "_gaussian" if gaussian else ""
        made[f"toy{end}"] = [_cell(profile, toy_run(profile, "constant", **one), {}, "toy") for one in each]
        # Noise is synthetic data, whatever it is modelled on.
        stage = "toy" if gaussian else "arms"
        made[f"real{end}"] = [
            _cell(profile, real_run(profile, steps=grid.real_steps, **one), activations, stage)
            for one in each
        ]
    made["edge"] = [_edge_cell(profile, cell) for cell in primary]
    made["noise"] = [
        _cell(profile, _run_like(profile, cell, gaussian=True), activations, "toy") for cell in primary
    ]
    made["loss"] = [_loss_cell(profile, cell, activations) for cell in made["real"] if grid.loss_tokens]
    return made


def _cell(profile: Profile, run: LazyRun, activations: Mapping[str, Cell], stage: str) -> Cell:
    noise = ", Gaussian noise of its covariance" if run.source.gaussian else ""
    function = train_within_cones if run.source.world is not None else train_within_cones_on_activations
    return function.cell(
        run,
        inputs=inputs_of(run.source, activations),
        label=f"{run.source.place}{noise}: {run.arm.label}",
        stage=stage,
        cost=Cost(seconds_of(profile, run), disk_bytes=9 * run.arm.d_sae * profile.models[0].d_model),
    )


def _edge_cell(profile: Profile, trained: Cell) -> Cell:
    return read_edge.cell(
        _run_like(profile, trained),
        inputs={"sae": trained},
        label=f"the edge of {trained.config.arm.label}",
        stage="arms",
        cost=Cost(0.5),
    )


def _run_like(profile: Profile, trained: Cell, *, gaussian: bool = False) -> LazyRun:
    """The run of an arm of the primary grid, or the same on noise."""
    arm = trained.config.arm
    return real_run(profile, tau=tau_of(arm.constraint), seed=arm.seed, gaussian=gaussian)


def _loss_cell(profile: Profile, trained: Cell, activations: Mapping[str, Cell]) -> Cell:
    run: LazyRun = trained.config
    model, n = profile.models[0], profile.lazy.loss_tokens or 0
    place = Place(model.subject, weights_of(model.subject), model.backend, model.hook, model.model_dtype)
    return measure_cone_loss.cell(
        ConeLoss(run, place, n),
        inputs={"sae": trained, **activations},
        label=f"cross-entropy and KL of {run.arm.label}, {run.steps} steps",
        stage="arms",
        cost=Cost(0.5 + n / model.tokens_per_second),
    )
