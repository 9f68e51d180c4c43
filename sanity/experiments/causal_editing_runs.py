"""What the cells of `causal_editing` compute: facts asked, masks and rotations fitted, edits scored."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sanity.data.facts import TRAIN, Facts, city_facts
from sanity.data.facts_ravel import ravel_facts
from sanity.engine.cells import Cell, Task, computes
from sanity.engine.files import read_json, write_atomically
from sanity.evals.causal_editing import (
    Choice,
    Dictionary,
    EditingTask,
    Fitting,
    TooFewKnownError,
    answers,
    choose_templates,
    fit_mask,
    fit_rotation,
    generator,
    graded_rotation,
    make_task,
    neurons,
    principal_components,
    reach,
    read,
    row,
    sae_dictionary,
    scored_pairs,
    shares_known,
    through_dictionary,
)
from sanity.experiments.grid import describe
from sanity.experiments.real_activations import Place
from sanity.models import Arm, load_sae
from sanity.subject import ActivationStore, Subject

EXPERIMENT = "causal_editing"


@dataclass(frozen=True)
class Questions:
    """Which entities are asked about what."""

    place: Place
    facts: str
    attributes: tuple[str, ...]
    most_entities: int
    per_country: int
    entity_tokens: int
    templates_tried: int
    templates_fitted: int
    templates_tested: int
    device: str
    facts_version: str = ""
    """Of facts from elsewhere: the commit, or a hash of the folder's files."""

    def load_facts(self, subject: Subject) -> Facts:
        """The facts, with entities of few enough tokens where they are chosen here."""
        if self.facts != "geonames":
            return ravel_facts(self.facts)

        def short(name: str) -> bool:
            return (
                len(subject.tokenizer(" " + name, add_special_tokens=False)["input_ids"])
                <= self.entity_tokens
            )

        return city_facts(most=self.most_entities, per_country=self.per_country, keep=short)


@dataclass(frozen=True)
class Editing:
    """One seed of one pair, through one dictionary: an arm's, or the name of a reference."""

    questions: Questions
    target: str
    keep: tuple[str, ...]
    seed: int
    through: Arm | str
    l0: int | None
    least_known: int
    fitting: Fitting
    rank: int
    """Of the rotation; 0 where none is fitted."""
    scored_pairs: int
    sizes: tuple[int, ...]
    grades: tuple[float, ...] = ()
    grade_seeds: tuple[int, ...] = ()
    keeps_error: bool = False
    """Whether there is a second reading with the error term, through a mask fitted that way."""


CEILING = "rotation"


@computes(version=2, threads=1)
def ask_subject(task: Task) -> None:
    """Ask the subject for every fact with every template tried, and choose templates."""
    config: Questions = task.config
    subject = config.place.load(config.device)
    facts = config.load_facts(subject)
    answered = answers(
        subject,
        facts,
        config.attributes,
        hook=config.place.hook,
        most_tokens=config.entity_tokens,
        templates=config.templates_tried,
    )
    # An attribute that no entity for fitting is known with has no templates; its pairs are refused later.
    known = answered[answered["split"] == TRAIN].groupby("attribute")["known"].any()
    choice = choose_templates(
        answered[answered["attribute"].isin(known.index[known])],
        fit=config.templates_fitted,
        test=config.templates_tested,
        template_split=facts.template_split,
    )
    task.save_table("answers", answered)
    task.save_table("templates", shares_known(answered))
    task.save_json(
        "choice",
        {
            "templates": {a: {"fit": one.fit, "test": one.test} for a, one in choice.items()},
            "entities": len(facts.values),
            "source": facts.source,
            "determines": [
                [one, other]
                for one in config.attributes
                for other in config.attributes
                if one != other and facts.determines(one, other)
            ],
        },
    )


def _shares_subject(cell: Cell) -> object:
    """Everything of one pair and seed: one load of the subject, one set of prompts."""
    config: Editing = cell.config
    inputs = {name: needed.key for name, needed in cell.inputs if name != "sae"}
    return [inputs, config.target, config.keep, config.seed]


@computes(version=2, together=_shares_subject, threads=1)
def edit_facts(tasks: Sequence[Task]) -> None:
    """Fit and score the references and the arms of one pair and seed.

    Each result is kept in its task's scratch as soon as it is there, so that a killed run goes on behind it.
    Where the subject knows too little of a pair, the refusal is the result: other pairs go on.
    """
    prepared: EditingTask | TooFewKnownError | None = None
    for task in tasks:
        kept = task.scratch / "done.json"
        if not kept.exists():
            prepared = prepared or _prepared(tasks[0])
            write_atomically(kept, json.dumps(_measure(task, prepared)))
        found: dict[str, Any] = read_json(kept)
        for name, rows in found["tables"].items():
            task.save_table(name, pd.DataFrame(rows))
        task.save_json("facts", found["facts"])


def _prepared(task: Task) -> EditingTask | TooFewKnownError:
    try:
        return prepare(task)
    except TooFewKnownError as refusal:
        return refusal


def prepare(task: Task) -> EditingTask:
    """The subject asked again about what it knows of this pair.

    Raises `TooFewKnownError` where that is too little.
    """
    config: Editing = task.config
    asked = task.inputs["asked"]
    chosen = asked.json("choice")["templates"]
    for attribute in (config.target, *config.keep):
        if attribute not in chosen and attribute in config.questions.attributes:
            raise TooFewKnownError(
                f"the subject knows {attribute} of no entity for fitting with any template",
                remaining=0,
                least=config.least_known,
            )
    subject = config.questions.place.load(config.questions.device)
    return make_task(
        subject,
        config.questions.load_facts(subject),
        {a: Choice(tuple(t["fit"]), tuple(t["test"])) for a, t in chosen.items()},
        target=config.target,
        others=config.keep,
        hook=config.questions.place.hook,
        most_tokens=config.questions.entity_tokens,
        least=config.least_known,
        answered=asked.table("answers"),
    )


def _measure(task: Task, prepared: EditingTask | TooFewKnownError) -> dict[str, Any]:
    if isinstance(prepared, TooFewKnownError):
        about = {"refused": str(prepared), "remaining": prepared.remaining, "needed": prepared.least}
        return {"tables": {}, "facts": about}
    config: Editing = task.config
    began, cpu = time.perf_counter(), time.process_time()
    tables = _rotation(config, prepared) if config.through == CEILING else _masked(task, prepared)
    facts = {
        "train_entities": len(prepared.train.entities),
        "test_entities": len(prepared.test.entities),
        "test_pairs_possible": int(prepared.test.allowed.sum()),
        "templates_fitted": len(prepared.train.asked),
        "templates_tested": len(prepared.test.asked),
        "unseen_templates": not {one.template for one in prepared.train.asked}
        & {one.template for one in prepared.test.asked},
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }
    return {"tables": tables, "facts": facts}


def _rotation(config: Editing, prepared: EditingTask) -> dict[str, list[dict[str, Any]]]:
    """Both ends of the scale, and the upper one corrupted in grades."""
    pairs = scored_pairs(prepared, config.scored_pairs, seed=config.seed)
    basis = fit_rotation(
        prepared, rank=config.rank, fitting=config.fitting, generator=generator(config.seed, "rotation")
    )
    ends = reach(prepared, basis, pairs)
    rows = [
        row("do nothing", ends.nothing, size=0),
        row("swap everything", ends.everything, size=basis.shape[0]),
        row(CEILING, ends.rotation, size=config.rank),
    ]
    graded = graded_rotation(
        prepared, basis, levels=config.grades, seeds=config.grade_seeds, n_pairs=config.scored_pairs
    )
    about = _about(config)
    return {
        "edits": [{**about, **one} for one in rows],
        **({"graded": [{**about, **one} for one in graded]} if graded else {}),
    }


def _masked(task: Task, prepared: EditingTask) -> dict[str, list[dict[str, Any]]]:
    """A mask fitted and scored: through an arm, or through an exact dictionary, which has no error term."""
    config: Editing = task.config
    swap = read(_dictionary(task), prepared)
    pairs = scored_pairs(prepared, config.scored_pairs, seed=config.seed)
    fits = {
        with_error: fit_mask(
            prepared,
            swap,
            fitting=config.fitting,
            generator=generator(config.seed, "mask"),
            with_error=with_error,
        )
        for with_error in ((False, True) if config.keeps_error else (False,))
    }
    rows = through_dictionary(
        prepared,
        swap,
        fits[False],
        pairs,
        seed=config.seed,
        sizes=config.sizes,
        keeping_error=fits.get(True),
    )
    mask = [
        {"latent": int(latent), "logit": float(logit), "with_error": with_error}
        for with_error, logits in fits.items()
        for latent, logit in zip(swap.latents.tolist(), logits.tolist(), strict=True)
    ]
    return {"edits": [{**_about(config), **one} for one in rows], "mask": mask}


def _dictionary(task: Task) -> Dictionary:
    config: Editing = task.config
    store = ActivationStore(task.inputs["train"].folder("activations"))
    if isinstance(config.through, Arm):
        sae = load_sae(task.inputs["sae"].folder("sae")).to(device=config.questions.device)
        return sae_dictionary(sae, centre=store.mean, factor=store.factor, name=config.through.label)
    if config.through == "raw neurons":
        return neurons(len(store.mean))
    return principal_components(store.mean, store.covariance)


def _about(config: Editing) -> dict[str, Any]:
    """The columns that say what a row is about; a reference is no arm."""
    shared = {"target": config.target, "keep": ", ".join(config.keep)}
    hook, subject = config.questions.place.hook, config.questions.place.subject
    if isinstance(config.through, Arm):
        assert config.l0 is not None
        arm = describe(EXPERIMENT, hook, config.through, config.l0)
        return {**arm, **shared, "subject": subject, "through": "arm"}
    return {
        "experiment": EXPERIMENT,
        "world_or_hook": hook,
        "seed": config.seed,
        **shared,
        "subject": subject,
        "through": config.through,
    }
