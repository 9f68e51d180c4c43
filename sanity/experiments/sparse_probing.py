"""Cells of the chapter `sparse_probing`: probes on few latents, on labelled text."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sanity.data.probing import named_pools
from sanity.engine.cells import Cell, Cost, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals.sparse_probing import Probing, ProbingData
from sanity.experiments.grid import describe, stack
from sanity.experiments.real_activations import Place, RealRun, plan_place
from sanity.experiments.sparse_probing_runs import (
    EXPERIMENT,
    LATENTS,
    LEVELS,
    CorruptedProbes,
    ReferenceProbes,
    SaeProbes,
    TextReading,
    corrupt_references,
    in_memory,
    measure_probing,
    measure_references,
    read_probing_texts,
)
from sanity.profiles import LanguageModel, Profile
from sanity.subject import weights_of

__all__ = ["EXPERIMENT", "LATENTS", "cells", "graded", "probing_data", "scores", "tables"]

_GATE_PERMUTATIONS = 20


@dataclass(frozen=True)
class ProbingCells:
    """The cells of one place in one language model."""

    model: LanguageModel
    train: Cell
    texts: Cell
    references: dict[int, Cell]
    """By seed."""
    gate: Cell
    arms: list[Cell]

    @property
    def all(self) -> list[Cell]:
        """Every cell of the chapter here."""
        return [self.texts, *self.references.values(), self.gate, *self.arms]


def plan(profile: Profile, model: LanguageModel) -> ProbingCells:
    """Texts, floor and ceiling, and every arm at one place."""
    grid, real = profile.probing, plan_place(profile, model)
    probing = Probing(ks=grid.ks)
    texts = _reading_cell(profile, model)
    inputs = {"texts": texts, "train": real.activations["train"]}
    d_sae = model.d_sae or profile.real.d_sae
    trained = [*real.primary, *(real.sweep if grid.sweep else ())]
    seeds = list(dict.fromkeys([*profile.real.seeds, *(cell.config.arm.seed for cell in trained)]))
    references = {
        seed: measure_references.cell(
            ReferenceProbes(probing, seed, d_sae, grid.permutations),
            inputs=inputs,
            label=f"floor and ceiling of sparse probing at {model.hook}, seed {seed}",
            stage="downstream",
            cost=Cost(2.0 + 0.04 * grid.permutations),
        )
        for seed in seeds
    }
    gate = corrupt_references.cell(
        CorruptedProbes(probing, grid.gate_seeds, LEVELS, _GATE_PERMUTATIONS),
        inputs=inputs,
        label=f"sparse probing of corrupted references at {model.hook}",
        stage="downstream",
        cost=Cost(1.0 + 1.5 * len(grid.gate_seeds)),
    )
    arms = [_arm_cell(profile, model, cell, inputs, references) for cell in trained]
    return ProbingCells(model, inputs["train"], texts, references, gate, arms)


def _tokens(profile: Profile) -> int:
    """About how many tokens are read: most texts fill their window."""
    pools = named_pools(profile.probing.pools)
    return int(
        sum(len(pool.classes) for pool in pools)
        * profile.probing.per_class
        * (1 + 0.75 * profile.probing.window)
    )


def _reading_cell(profile: Profile, model: LanguageModel) -> Cell:
    grid, tokens = profile.probing, _tokens(profile)
    reading = TextReading(
        Place(model.subject, weights_of(model.subject), model.backend, model.hook, model.model_dtype),
        named_pools(grid.pools),
        grid.per_class,
        grid.window,
        grid.storage_dtype,
        model.drop_first,
        max(16_384, model.shard_tokens),
        profile.device,
    )
    bytes_each = 4 if grid.storage_dtype == "float32" else 2
    return read_probing_texts.cell(
        reading,
        label=f"labelled texts at {model.hook} of {model.subject}",
        stage="downstream",
        cost=Cost(
            10.0 + tokens / model.tokens_per_second,
            disk_bytes=tokens * model.d_model * bytes_each,
            memory_bytes=2 * 10**9,
        ),
    )


def _arm_cell(
    profile: Profile,
    model: LanguageModel,
    trained: Cell,
    inputs: dict[str, Cell],
    references: dict[int, Cell],
) -> Cell:
    run: RealRun = trained.config
    probed = SaeProbes(
        Probing(ks=profile.probing.ks), run.arm, run.l0, model.hook, model.subject, profile.device
    )
    encoding = _tokens(profile) * run.arm.d_sae * model.d_model * 1.3 * profile.seconds_per_product
    return measure_probing.cell(
        probed,
        inputs={**inputs, "sae": trained, "references": references[run.arm.seed]},
        label=f"sparse probing of {run.arm.label}",
        stage="downstream",
        cost=Cost(0.8 + encoding),
    )


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return [cell for model in profile.models for cell in plan(profile, model).all]


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing."""
    arms = [cell for model in profile.models for cell in plan(profile, model).arms]
    found = results(arms, store)
    return stack([result.table("scores") for result in found]), found


def graded(profile: Profile, store: LocalStore | None = None) -> pd.DataFrame:
    """The metrics on their own reference, corrupted in grades: metric, level, seed, value, floor, ceiling, n.

    The reference is the logit of each task's dense probe as a latent; level 0 leaves it as it is.
    """
    found = results([plan(profile, model).gate for model in profile.models[:1]], store)
    return stack([result.table("graded") for result in found])


def probing_data(
    profile: Profile, store: LocalStore | None = None, *, seed: int, place: int = 0
) -> ProbingData:
    """What `sanity.evals.score_sae` needs to score any SAE of one of the profile's places.

    `seed` is one of the profile's, by which the texts are divided.
    """
    planned = plan(profile, profile.models[place])
    if seed not in planned.references:
        raise BadInputError(
            f"the texts are divided by the seeds {', '.join(map(str, planned.references))}, not {seed}"
        )
    texts, train, references = results([planned.texts, planned.train, planned.references[seed]], store)
    return in_memory(texts, train, references, seed=seed, device=profile.device)


@dataclass(frozen=True)
class ProbingTables:
    """What the chapter shows of one place."""

    model: LanguageModel
    counts: pd.DataFrame
    """Per pool and class: rows, duplicates removed, used, cut."""
    texts: pd.DataFrame
    """Every text that is used."""
    sizes: pd.DataFrame
    """Per seed and task: texts in each part."""
    tasks: pd.DataFrame
    """Per arm, features, seed, task and k: accuracy and AUROC."""
    references: pd.DataFrame
    """The same of features that nobody trained, and of the dense probes."""
    other_ranking: pd.DataFrame
    """The references with features ranked in standard deviations."""
    floor: pd.DataFrame
    """The same of every permutation of the labels."""
    scores: pd.DataFrame
    """Per arm and seed: the metrics, with floor and ceiling."""
    facts: pd.DataFrame
    """Per arm and seed: L0 on these texts, latents alive, seconds."""
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> list[ProbingTables]:
    """The chapter's tables, one entry per place, computed first where they are missing."""
    made = []
    for model in profile.models:
        planned = plan(profile, model)
        texts, *references = results([planned.texts, *planned.references.values()], store)
        arms = results(planned.arms, store)
        about = [cell.config for cell in planned.arms]
        facts = [
            {
                "arm": config.arm.label,
                **describe(EXPERIMENT, config.hook, config.arm, config.l0),
                **result.json("facts"),
                "seconds": result.seconds,
            }
            for config, result in zip(about, arms, strict=True)
        ]
        made.append(
            ProbingTables(
                model=model,
                counts=texts.table("counts"),
                texts=texts.table("texts"),
                sizes=stack([r.table("sizes") for r in references]),
                tasks=stack([r.table("tasks") for r in arms]),
                references=stack([r.table("tasks") for r in references]),
                other_ranking=stack([r.table("other_ranking") for r in references]),
                floor=stack([r.table("floor") for r in references]),
                scores=stack([r.table("scores") for r in arms]),
                facts=pd.DataFrame(facts),
                found=[texts, *references, *arms],
            )
        )
    return made
