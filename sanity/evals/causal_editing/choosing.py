"""Which facts a subject knows, which templates ask for them best, and the editing task made of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from sanity.data.facts import TEST, TRAIN, Facts
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.evals.causal_editing.questions import AskedTemplate, ask
from sanity.evals.causal_editing.tasks import EditingTask, make_side, too_few
from sanity.subject import Subject


@dataclass(frozen=True)
class Choice:
    """The templates of one attribute: for fitting, and for testing."""

    fit: tuple[str, ...]
    test: tuple[str, ...]


def answers(
    subject: Subject,
    facts: Facts,
    attributes: Sequence[str],
    *,
    hook: str,
    most_tokens: int,
    templates: int,
) -> pd.DataFrame:
    """What `subject` answers greedily: one row per template and entity.

    Columns: attribute, template, entity, split, right (the right answer), greedy (the subject's next token),
    known. Per attribute the first `templates` templates are tried, or, where the data divides them, as many
    of each split.
    """
    rows: list[dict[str, Any]] = []
    entities = [*facts.entities(TRAIN), *facts.entities(TEST)]
    tried = [(attribute, t) for attribute in attributes for t in _tried(facts, attribute, templates)]
    for attribute, template in track(tried, description="asking for facts", unit="template"):
        asked = ask(subject, facts, attribute, template, entities, hook=hook, most_tokens=most_tokens)
        for name, known, token in zip(
            asked.entities, asked.known.tolist(), asked.greedy.tolist(), strict=True
        ):
            rows.append(
                {
                    "attribute": attribute,
                    "template": template,
                    "entity": name,
                    "split": facts.entity_split[name],
                    "right": facts.values[name][attribute],
                    "greedy": subject.tokenizer.decode([token]),
                    "known": known,
                }
            )
    return pd.DataFrame(rows)


def _tried(facts: Facts, attribute: str, templates: int) -> list[str]:
    facts.require(attribute)
    every = facts.templates[attribute]
    if not facts.template_split:
        return list(every[:templates])
    return [
        t
        for split in (TRAIN, TEST)
        for t in [e for e in every if facts.template_split.get(e) == split][:templates]
    ]


def shares_known(answered: pd.DataFrame) -> pd.DataFrame:
    """One row per template: entities asked and known, in each split."""
    table = answered.pivot_table(
        index=["attribute", "template"], columns="split", values="known", aggfunc=["size", "sum"], sort=False
    )
    flat = pd.DataFrame(index=table.index)
    for split in (TRAIN, TEST):
        for name, how in (("asked", "size"), ("known", "sum")):
            found = table[(how, split)] if (how, split) in table.columns else pd.Series(0, index=table.index)
            flat[f"{name}_{split}"] = found.fillna(0).astype(int)
    return flat.reset_index()


def choose_templates(
    answered: pd.DataFrame, *, fit: int, test: int, template_split: Mapping[str, str] | None = None
) -> dict[str, Choice]:
    """Per attribute, the templates that most training entities are known with.

    The best are fitted on and the next best tested on. A template that at most half as many are known with as
    with the best is not used: then the best is tested on as well. Where the data divides the templates, they
    are ranked within their split. Entities for testing have no say.
    """
    found = {}
    for attribute, part in shares_known(answered).groupby("attribute", sort=False):
        ranked = part.sort_values("known_train", ascending=False, kind="stable")
        usable = ranked[ranked["known_train"] > ranked["known_train"].max() / 2]["template"].tolist()
        if template_split:
            by = {s: [t for t in ranked["template"] if template_split[t] == s] for s in (TRAIN, TEST)}
            first, second = by[TRAIN][:fit], by[TEST][:test]
        else:
            first, second = usable[:fit], usable[fit : fit + test]
        if not first and not second:
            raise BadInputError(
                f"the subject knows no {attribute} of any entity with any of {len(part)} templates: ask "
                "about other attributes, or a larger model"
            )
        found[str(attribute)] = Choice(tuple(first or second), tuple(second or first))
    return found


def make_task(
    subject: Subject,
    facts: Facts,
    choice: Mapping[str, Choice],
    *,
    target: str,
    others: Sequence[str],
    hook: str,
    most_tokens: int,
    least: int,
    answered: pd.DataFrame | None = None,
) -> EditingTask:
    """The task of changing `target` while `others` stay, with what the subject holds at every entity.

    With `answered`, only entities that were known there are asked again; and where fewer than `least` are
    known with every template, the worst templates are left out, one by one, as long as one of each attribute
    remains.

    Raises
    ------
    BadInputError
        `target` and `others` are no editing task.
    TooFewKnownError
        Fewer than `least` entities are known in either split.
    """
    absent = [name for name in (target, *others) if name not in choice]
    if absent or not others or target in others:
        raise BadInputError(
            f"an editing task changes one attribute and keeps others: {target!r} and {list(others)} do not "
            f"make one; templates were chosen for {', '.join(choice)}"
        )
    sides = []
    for split in (TRAIN, TEST):
        names = list(facts.entities(split))
        used = {a: choice[a].fit if split == TRAIN else choice[a].test for a in (target, *others)}
        if answered is not None:
            used, names = _known_everywhere(answered, used, names, least, split)

        def put(
            attribute: str,
            split: str = split,
            names: list[str] = names,
            used: Mapping[str, Sequence[str]] = used,
        ) -> list[AskedTemplate]:
            return [
                ask(subject, facts, attribute, t, names, hook=hook, most_tokens=most_tokens)
                for t in used[attribute]
            ]

        where = "fitting" if split == TRAIN else "testing"
        sides.append(make_side(put(target), {a: put(a) for a in others}, least=least, where=where))
    return EditingTask(target, tuple(others), *sides)


def _known_everywhere(
    answered: pd.DataFrame,
    used: Mapping[str, tuple[str, ...]],
    names: Sequence[str],
    least: int,
    split: str,
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Templates in use and the entities known with all of them, with as many templates as leave `least`.

    The last template of an attribute is its worst; the attribute with most templates gives one up first.
    """
    known = {
        key: set(rows["entity"])
        for key, rows in answered[answered["known"]].groupby(["attribute", "template"], sort=False)
    }
    left = dict(used)
    while True:
        sets = [known.get((a, t), set()) for a, several in left.items() for t in several]
        remain = [name for name in names if all(name in some for some in sets)]
        most = max(left, key=lambda attribute: len(left[attribute]))
        if len(remain) >= least or len(left[most]) == 1:
            break
        left[most] = left[most][:-1]
    if len(remain) < least:
        raise too_few(" and ".join(used), len(remain), len(names), least, f"{split}ing")
    return left, remain


def generator(seed: int, purpose: str) -> torch.Generator:
    """Random numbers of their own for each purpose of one seed."""
    import hashlib

    number = int(hashlib.sha256(f"{purpose} {seed}".encode()).hexdigest()[:15], 16)
    return torch.Generator().manual_seed(number)
