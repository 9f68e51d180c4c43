"""Cells of the chapter `interpretability`: how predictable latents are from their examples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals.interpretability import (
    GRADED_COLUMNS,
    METRICS,
    VERSION,
    Contexts,
    PoolFeatures,
    Scoring,
    SentenceEncoder,
    divided,
    graded_scores,
    score_latents,
    summarise,
)
from sanity.evals.score import Score
from sanity.experiments.grid import describe, score_rows, stack
from sanity.experiments.interpretability_cells import (
    ContextCells,
    draw_seed,
    load_contexts,
    load_pool,
    plan_contexts,
    pool_activations,
    why_none,
)
from sanity.models import Arm
from sanity.profiles import LanguageModel, Profile

log = logging.getLogger("sanity")

EXPERIMENT = "interpretability"
FREQUENCY_MATCHED = "autointerp_auroc_frequency_matched"
STRATA = 5


@dataclass(frozen=True)
class Embedding:
    """By which encoder contexts are embedded."""

    encoder: str
    device: str


@dataclass(frozen=True)
class LatentScoring:
    """Whose latents are scored, and how."""

    arm: Arm
    l0: int
    hook: str
    scoring: Scoring


@dataclass(frozen=True)
class Grading:
    """How known concepts are spoilt."""

    scoring: Scoring
    fewest: int
    reseeds: int


@computes(version=1)
def embed_contexts(task: Task) -> None:
    """Embed every context of a pool once, for all SAEs."""
    pool = load_pool(task.inputs["pool"])
    encoder = SentenceEncoder(device=task.config.device)
    task.save_tensors("embeddings", {"contexts": encoder.embed(pool.texts)})


def load_features(pool: Result, embeddings: Result, *, seed: int | None = None) -> PoolFeatures:
    """A pool with its embeddings; with a `seed`, its documents are divided by that."""
    cut = load_pool(pool)
    own = cut if seed is None else divided(cut, seed=seed)
    return PoolFeatures(own, embeddings.tensors("embeddings")["contexts"])


def _shares_pool(cell: Cell) -> object:
    """Latents of one seed on the same pool: what scores share is prepared once for them."""
    shared = {name: needed.key for name, needed in cell.inputs if name != "contexts"}
    return [shared, cell.config.arm.seed]


@computes(version=2, together=_shares_pool, threads=1)
def score_contexts(tasks: list[Task]) -> None:
    """Score the latents that were drawn from each SAE."""
    seed = tasks[0].config.scoring.seed
    features = load_features(tasks[0].inputs["pool"], tasks[0].inputs["embeddings"], seed=seed)
    for task in tasks:
        config: LatentScoring = task.config
        about = describe(EXPERIMENT, config.hook, config.arm, config.l0)
        contexts = load_contexts(features.pool, task.inputs["contexts"])
        latents = score_latents(contexts, features, config.scoring) if contexts else pd.DataFrame()
        found = summarise(latents, features, config.scoring) if contexts else []
        task.save_table("scores", pd.DataFrame(score_rows(about, found)))
        task.save_table("latents", latents.assign(**about))


@computes(version=1, threads=1)
def grade_concepts(task: Task) -> None:
    """Score known concepts, intact and spoilt."""
    config: Grading = task.config
    features = load_features(task.inputs["pool"], task.inputs["embeddings"])
    seeds = range(config.scoring.seed, config.scoring.seed + config.reseeds)
    try:
        table = graded_scores(features, config.scoring, fewest=config.fewest, seeds=list(seeds))
    except BadInputError as error:
        # So little text that no concept has enough contexts leaves the scores ungated, and not undone.
        log.warning("known concepts are not graded: %s", error)
        table = pd.DataFrame(columns=list(GRADED_COLUMNS))
    task.save_table("graded", table)


@dataclass(frozen=True)
class InterpretabilityCells:
    """The cells of one place; `scored` runs along with `contexts.saes`."""

    contexts: ContextCells
    embeddings: Cell
    scored: list[Cell]
    graded: Cell


def plan_places(profile: Profile) -> list[InterpretabilityCells]:
    """All cells of all places."""
    return [_plan_place(profile, contexts) for contexts in plan_contexts(profile)]


def _plan_place(profile: Profile, place: ContextCells) -> InterpretabilityCells:
    grid, model = profile.interpretability, place.model
    scoring = Scoring(examples=grid.examples, intruder_sets=grid.intruder_sets, seed=grid.seed)
    n_windows = (model.heldout_tokens + grid.extra_tokens) / grid.window
    embeddings = embed_contexts.cell(
        Embedding("all-MiniLM-L6-v2", profile.device),
        inputs={"pool": place.pool},
        label=f"embeddings of contexts for {model.subject}",
        stage="downstream",
        cost=Cost(1.0 + n_windows / 300, memory_bytes=10**9),
    )
    inputs = {"pool": place.pool, "embeddings": embeddings}
    scored = [
        score_contexts.cell(
            LatentScoring(
                sae.config.arm,
                sae.config.l0,
                model.hook,
                replace(scoring, seed=draw_seed(grid.seed, sae.config.arm)),
            ),
            inputs={**inputs, "contexts": contexts},
            label=f"interpretability of {sae.config.arm.label}",
            stage="downstream",
            cost=Cost(0.1 + grid.latents * (3e-3 + 1e-6 * n_windows)),
        )
        for sae, contexts in zip(place.saes, place.contexts, strict=True)
    ]
    graded = grade_concepts.cell(
        Grading(scoring, grid.fewest, grid.reseeds),
        inputs=inputs,
        label=f"known concepts in the contexts for {model.subject}, spoilt in grades",
        stage="downstream",
        cost=Cost(1.0 + grid.reseeds * (0.5 + 2e-4 * n_windows)),
    )
    return InterpretabilityCells(place, embeddings, scored, graded)


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return [cell for place in plan_places(profile) for cell in [*place.scored, place.graded]]


@dataclass(frozen=True)
class InterpretabilityTables:
    """What the chapter shows of one place."""

    model: LanguageModel
    scores: pd.DataFrame
    """One row per arm x seed x metric."""
    latents: pd.DataFrame
    """One row per arm x seed x latent."""
    counts: pd.DataFrame
    """One row per arm x seed: latents alive, eligible, drawn; L0 on this text; why none; seconds."""
    graded: pd.DataFrame
    """Known concepts, spoilt in grades."""
    text: dict[str, Any]
    """Tokens, windows, documents, tokens by source and a hash of the pool."""
    contexts: list[tuple[dict[str, Any], Contexts]]
    """The first seed's arms, each described by its columns, and their contexts."""
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> list[InterpretabilityTables]:
    """The chapter's tables, one entry per place, computed first where they are missing."""
    return [_tables_of(profile, place, store) for place in plan_places(profile)]


def _tables_of(
    profile: Profile, place: InterpretabilityCells, store: LocalStore | None
) -> InterpretabilityTables:
    scored = results(place.scored, store)
    drawn = results(place.contexts.contexts, store)
    graded, pool = results([place.graded, place.contexts.pool], store)
    counts, shown = [], []
    cut = load_pool(pool)
    for sae, contexts, score in zip(place.contexts.saes, drawn, scored, strict=True):
        about = describe(EXPERIMENT, place.contexts.model.hook, sae.config.arm, sae.config.l0)
        why = why_none(contexts)
        row = contexts.json("counts") if why is None else {"sampled": 0}
        counts.append({**about, **row, "why_none": why, "seconds": contexts.seconds + score.seconds})
        kept = load_contexts(cut, contexts) if sae.config.arm.seed == profile.real.seeds[0] else None
        if kept is not None:
            shown.append((about, kept))
    latents = stack([score.table("latents") for score in scored])
    scores = stack([score.table("scores") for score in scored])
    matched = frequency_matched(latents)
    return InterpretabilityTables(
        place.contexts.model,
        stack([scores, matched]) if len(matched) else scores,
        latents,
        pd.DataFrame(counts),
        graded.table("graded"),
        pool.json("facts"),
        shown,
        [*scored, *drawn, graded, pool],
    )


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing."""
    places = tables(profile, store)
    rows = stack([place.scores.assign(subject=place.model.subject) for place in places])
    return rows, [result for place in places for result in place.found]


def frequency_matched(latents: pd.DataFrame) -> pd.DataFrame:
    """The mean AUROC of every arm and seed, as if its latents fired as often as everyone's.

    All latents of all arms are divided into `STRATA` of equally many by how often they fire. An arm's score
    is the mean over strata of its mean there; strata that some arm of the seed has no latent in are left
    out for all its arms.
    """
    if latents.empty:
        return pd.DataFrame()
    edges = np.quantile(latents["frequency"], np.linspace(0, 1, STRATA + 1)[1:-1])
    stratum = np.searchsorted(edges, latents["frequency"])
    about = ["experiment", "world_or_hook", "architecture", "constraint", "init", "seed"]
    about += ["learning_rate", "l0_target", "d_sae"]
    rows = []
    for _, part in latents.assign(stratum=stratum).groupby("seed", sort=False):
        arms = [(dict(zip(about, key, strict=True)), arm) for key, arm in part.groupby(about, sort=False)]
        common = set.intersection(*(set(arm["stratum"]) for _, arm in arms))
        for key, arm in arms:
            kept = arm[arm["stratum"].isin(common)]
            if len(kept):
                value = float(kept.groupby("stratum")["auroc"].mean().mean())
                score = Score(FREQUENCY_MATCHED, value, 0.5, 1.0, True, len(kept), "latent", VERSION)
                rows.append({**key, **score.row()})
    return pd.DataFrame(rows)


def graded(profile: Profile, store: LocalStore | None = None) -> pd.DataFrame:
    """For the validity gate: every metric on its reference, known concepts spoilt in grades.

    Columns: `subject`, `world_or_hook`, `metric`, `level` (0 intact, 1 nothing left), `seed`, `value`,
    `floor`, `ceiling`, `n`.
    """
    frames = []
    for place in plan_places(profile):
        (result,) = results([place.graded], store)
        table = result.table("graded")
        model = place.contexts.model
        about = {"subject": model.subject, "world_or_hook": model.hook}
        frames.append(
            table[table["reference"].astype(bool)].drop(columns=["reference", "kind"]).assign(**about)
        )
    return stack(frames)


def scoring_inputs(
    profile: Profile, place: InterpretabilityCells, store: LocalStore | None = None
) -> tuple[PoolFeatures, Callable[[], Iterator[Tensor]]]:
    """What `sanity.evals.interpretability.score_sae` takes beside an SAE, at one place.

    >>> features, activations = scoring_inputs(profile, plan_places(profile)[0])      # doctest: +SKIP
    >>> score_sae(scrambled, features, activations)                                   # doctest: +SKIP
    """
    needed = [place.contexts.pool, place.embeddings, place.contexts.text]
    pool, embeddings, text = results(needed, store)
    activations = place.contexts.place.activations
    held_out, train = results([activations["held_out"], activations["train"]], store)
    return load_features(pool, embeddings), pool_activations(text, held_out, train, profile.device)


def metric_names() -> tuple[str, ...]:
    """Every metric of this chapter."""
    return (*METRICS.values(), FREQUENCY_MATCHED)
