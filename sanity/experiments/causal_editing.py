"""Cells of the chapter `causal_editing`: facts edited through a learned mask over latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from sanity.data.facts_ravel import facts_version
from sanity.engine.cells import Cell, Cost, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.evals.causal_editing import Fitting
from sanity.experiments.causal_editing_runs import (
    CEILING,
    EXPERIMENT,
    Editing,
    Questions,
    ask_subject,
    edit_facts,
)
from sanity.experiments.grid import describe, stack
from sanity.experiments.real_activations import Place, plan_place
from sanity.models import Arm
from sanity.profiles import LanguageModel, Profile
from sanity.profiles.editing import EditedPair
from sanity.subject import weights_of

__all__ = ["CEILING", "EXPERIMENT", "EditingTables", "cells", "graded", "plan", "scores", "tables"]

METRICS = {
    "ravel_disentanglement": "disentanglement",
    "ravel_cause": "cause",
    "ravel_isolation": "isolation",
}
RUN = ["subject", "world_or_hook", "target", "keep", "seed"]
"""What shares a scale: floor and ceiling are measured once for each."""


@dataclass(frozen=True)
class EditingCells:
    """The cells of one place in one language model."""

    model: LanguageModel
    asked: Cell
    rotations: list[Cell]
    """Both ends of the scale: per pair and seed."""
    exact: list[Cell]
    """Exact dictionaries, with masks of their own."""
    arms: list[Cell]

    @property
    def all(self) -> list[Cell]:
        """Every cell of the chapter here."""
        return [self.asked, *self.rotations, *self.exact, *self.arms]


def plan(profile: Profile, model: LanguageModel) -> EditingCells:
    """Facts, references and arms at one place."""
    grid, place = profile.editing, plan_place(profile, model)
    questions = Questions(
        Place(model.subject, weights_of(model.subject), model.backend, model.hook, model.model_dtype),
        grid.facts,
        grid.attributes,
        grid.most_entities,
        grid.per_country,
        grid.entity_tokens,
        grid.templates_tried,
        grid.templates_fitted,
        grid.templates_tested,
        profile.device,
        "" if grid.facts == "geonames" else facts_version(grid.facts),
    )
    tried = len(grid.attributes) * grid.templates_tried * grid.most_entities
    asked = ask_subject.cell(
        questions,
        label=f"what {model.subject} knows",
        stage="downstream",
        cost=Cost(_LOADING + 1.5 * tried / grid.prompts_per_second, memory_bytes=2 * 10**9),
    )
    inputs = {"asked": asked, "train": place.activations["train"]}
    wanted = {(arm.constraint, arm.init) for arm in grid.arms}
    trained = {
        seed: [
            cell
            for cell in place.primary
            if cell.config.arm.seed == seed and _constraint_and_init(cell.config.arm) in wanted
        ]
        for seed in grid.seeds
    }
    rotations, exact, arms = [], [], []
    for pair in grid.pairs:
        for seed in grid.seeds:

            def made(
                through: Arm | str,
                more: dict[str, Cell],
                l0: int | None = None,
                pair: EditedPair = pair,
                seed: int = seed,
            ) -> Cell:
                return _editing_cell(profile, questions, pair, seed, through, l0, {**inputs, **more})

            rotations.append(made(CEILING, {}))
            exact += [made(name, {}) for name in grid.exact if seed in grid.exact_seeds]
            arms += [made(cell.config.arm, {"sae": cell}, cell.config.l0) for cell in trained[seed]]
    return EditingCells(model, asked, rotations, exact, arms)


# Seconds until a process has imported what it needs and loaded the default language model.
_LOADING = 9.0


def _constraint_and_init(arm: Arm) -> tuple[str, str]:
    about = describe(EXPERIMENT, "", arm, 0)
    return about["constraint"], about["init"]


def _editing_cell(
    profile: Profile,
    questions: Questions,
    pair: EditedPair,
    seed: int,
    through: Arm | str,
    l0: int | None,
    inputs: dict[str, Cell],
) -> Cell:
    grid, turns = profile.editing, through == CEILING
    gated = turns and seed == grid.seeds[0]
    fitting = (
        Fitting(grid.rotation_steps, grid.prompts, grid.rotation_learning_rate)
        if turns
        else Fitting(grid.steps, grid.prompts, grid.learning_rate, l1=grid.l1)
    )
    editing = Editing(
        questions,
        pair.target,
        pair.keep,
        seed,
        through,
        l0,
        grid.least_known,
        fitting,
        grid.rotation_rank if turns else 0,
        grid.scored_pairs,
        grid.sizes if not turns and seed in grid.curve_seeds else (),
        grid.grades if gated else (),
        grid.grade_seeds if gated else (),
        isinstance(through, Arm) and seed in grid.error_seeds,
    )
    fits = 2 if editing.keeps_error else 1
    edits = (
        3 + (len(editing.grades) + 2) * len(editing.grade_seeds)
        if turns
        else 2 * fits + 2 + len(editing.sizes)
    )
    # A step back through the model takes as long as one forward.
    prompts = 2 * fits * fitting.steps * fitting.prompts + edits * grid.scored_pairs * (1 + len(pair.keep))
    name = through.label if isinstance(through, Arm) else f"the {through}" if turns else through
    return edit_facts.cell(
        editing,
        inputs=inputs,
        label=f"editing {pair.target} through {name}, seed {seed}",
        stage="downstream",
        cost=Cost((_LOADING if turns else 0.3) + prompts / grid.prompts_per_second, memory_bytes=2 * 10**9),
    )


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    if not profile.editing.pairs:
        return []
    return [cell for model in profile.models for cell in plan(profile, model).all]


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing.

    An arm's score is its mean over the pairs of attributes that have range; a pair that the learned rotation
    cannot separate gives no score.
    """
    if not profile.editing.pairs:
        return pd.DataFrame(), []
    made = tables(profile, store)
    return made.scores, made.found


@dataclass(frozen=True)
class EditingTables:
    """What the chapter shows."""

    scores: pd.DataFrame
    """One row per arm, seed and metric: means over the pairs that have range."""
    edits: pd.DataFrame
    """Every edit that was measured: one row per pair, seed, dictionary and set of latents."""
    ends: pd.DataFrame
    """Per pair and seed: what doing nothing, swapping everything and the rotation reach; `separated`."""
    templates: pd.DataFrame
    """Entities asked and known with every template."""
    choice: dict[str, Any]
    """The templates chosen, the number of entities, and which attribute determines which."""
    facts: pd.DataFrame
    """Per cell: entities, pairs, seconds."""
    refused: pd.DataFrame
    """Ordered pairs of which the subject knows too little: `remaining` entities where `needed` are wanted."""
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> EditingTables:
    """The chapter's tables, computed first where they are missing."""
    planned = [plan(profile, model) for model in profile.models]
    found = results([cell for one in planned for cell in one.all], store)
    by_key = {result.key: result for result in found}
    asked = [by_key[one.asked.key] for one in planned]
    editing = [cell for one in planned for cell in [*one.rotations, *one.exact, *one.arms]]
    facts = [
        {
            "label": cell.label,
            "target": cell.config.target,
            "keep": ", ".join(cell.config.keep),
            "seed": cell.config.seed,
            "through": cell.config.through if isinstance(cell.config.through, str) else "arm",
            **by_key[cell.key].json("facts"),
        }
        for cell in editing
    ]
    known = [cell for cell, one in zip(editing, facts, strict=True) if "refused" not in one]
    edits = stack([by_key[cell.key].table("edits") for cell in known])
    if edits.empty:
        edits = pd.DataFrame(columns=[*RUN, "through", "what", "with_error", "constraint", "init"])
    ends = _ends(edits, profile.editing.least_range)
    about = ["target", "keep", "remaining", "needed", "refused"]
    refused = pd.DataFrame([one for one in facts if "refused" in one], columns=about)
    return EditingTables(
        scores=_scores(edits, ends),
        edits=edits,
        ends=ends,
        templates=stack([result.table("templates") for result in asked]),
        choice=asked[0].json("choice"),
        facts=pd.DataFrame([one for one in facts if "refused" not in one]),
        refused=refused.drop_duplicates(),
        found=found,
    )


def _ends(edits: pd.DataFrame, least_range: float) -> pd.DataFrame:
    """One row per pair and seed: disentanglement, cause and isolation at both ends, floor and ceiling."""
    if edits.empty:
        return pd.DataFrame(columns=[*RUN, "floor", "ceiling_disentanglement", "separated"])
    rows = []
    for run, part in edits[edits["through"] == CEILING].groupby(RUN, sort=False):
        by = part.set_index("what")
        floor = float(by.loc[["do nothing", "swap everything"], "disentanglement"].max())
        one = {**dict(zip(RUN, run, strict=True)), "floor": floor}
        for name, short in (
            (CEILING, "ceiling"),
            ("do nothing", "nothing"),
            ("swap everything", "everything"),
        ):
            one |= {f"{short}_{c}": by[c].to_dict()[name] for c in METRICS.values()}
        rows.append({**one, "n": int(part["pairs"].iloc[0])})
    table = pd.DataFrame(rows)
    gap = table["ceiling_disentanglement"] - table["floor"]
    pair = [table[column] for column in RUN if column != "seed"]
    # One decision for all seeds of a pair: which seeds are judged must not depend on luck.
    return table.assign(separated=gap.groupby(pair).transform("mean") >= least_range)


def _scores(edits: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Tidy rows of scores: masks of arms, with and without the error term."""
    if edits.empty or not (edits["through"] == "arm").any():
        return pd.DataFrame()
    masks = edits[(edits["through"] == "arm") & (edits["what"] == "mask")]
    judged = masks.merge(ends[ends["separated"]], on=RUN, suffixes=("", "_scale"))
    arm = [
        "experiment", "world_or_hook", "architecture", "constraint", "init", "seed", "learning_rate",
        "l0_target", "d_sae", "subject",
    ]  # fmt: skip
    rows = []
    for key, part in judged.groupby([*arm, "with_error"], sort=False):
        about = dict(zip([*arm, "with_error"], key, strict=True))
        suffix = "_with_error" if about.pop("with_error") else ""
        for metric, column in METRICS.items():
            floor = part["floor"].mean() if column == "disentanglement" else 0.0
            rows.append(
                {
                    **about,
                    "metric": metric + suffix,
                    "value": float(part[column].mean()),
                    "floor": float(floor),
                    "ceiling": float(part[f"ceiling_{column}"].mean()),
                    "higher_is_better": True,
                    "n": int(part["pairs"].sum()),
                    "unit": "pair",
                    "version": "2",
                }
            )
    return pd.DataFrame(rows)


def graded(profile: Profile, store: LocalStore | None = None) -> pd.DataFrame:
    """The rotation corrupted in grades: metric, level, seed, value, floor, ceiling, n.

    Of the first pair of attributes, at the profile's first place, of which the subject knows enough. Level 0
    is the learned subspace and level 1 a random one of the same rank; a seed draws both the random one and
    the pairs of entities.
    """
    if not profile.editing.pairs:
        return pd.DataFrame()
    for cell in plan(profile, profile.models[0]).rotations:
        if cell.config.grades:
            (found,) = results([cell], store)
            if "refused" not in found.json("facts"):
                return found.table("graded")[["metric", "level", "seed", "value", "floor", "ceiling", "n"]]
    return pd.DataFrame()
