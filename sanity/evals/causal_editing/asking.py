"""What a subject is asked, once for all that is edited; and, for each pair of attributes, asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from sanity.data.facts import TRAIN, Facts, city_facts
from sanity.data.facts_ravel import facts_version, ravel_facts
from sanity.data.words import WORD_FACTS, word_facts
from sanity.errors import BadInputError
from sanity.evals.base import Setting
from sanity.evals.causal_editing.choosing import Choice, answers, choose_templates, make_task
from sanity.evals.causal_editing.tasks import EditingTask, TooFewKnownError
from sanity.sources import Hook
from sanity.subject import Subject

GEONAMES = "geonames"


@dataclass(frozen=True)
class EditedPair:
    """One attribute that is to change, and those that are to stay."""

    target: str
    keep: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.keep or self.target in self.keep:
            raise BadInputError(
                f"a pair changes one attribute and keeps others: {self.target!r} and {list(self.keep)} make "
                "none"
            )

    @property
    def columns(self) -> dict[str, str]:
        """How tables name it."""
        return {"target": self.target, "keep": ", ".join(self.keep)}


@dataclass(frozen=True)
class FactQuestions:
    """Which facts a subject is asked for, and how much it has to know."""

    facts: str = "nouns"
    """"nouns", "verbs" or "words" (both), "geonames" (cities), "hij/ravel", or a folder of RAVEL's files."""
    attributes: tuple[str, ...] = ("number", "initial")
    most_entities: int = 600
    per_country: int = 12
    """Of cities."""
    entity_tokens: int = 1
    """Entities of more tokens are left out."""
    templates_tried: int = 2
    """Per attribute; the best are fitted on, the next best tested on."""
    templates_fitted: int = 1
    templates_tested: int = 1
    least_known: int = 20
    """Drop templates, and then refuse to edit, with fewer known entities than this in either split."""
    facts_version: str = ""
    """Of facts from elsewhere: the commit, or a hash of the folder's files; looked up where it is empty."""

    def __post_init__(self) -> None:
        if self.facts not in (GEONAMES, *WORD_FACTS) and not self.facts_version:
            object.__setattr__(self, "facts_version", facts_version(self.facts))

    @property
    def assets(self) -> tuple[str, ...]:
        """What the facts are read from; none that this package fetches for RAVEL's own."""
        words = ("lemminflect",) if self.facts in WORD_FACTS else ()
        return ("geonames",) if self.facts == GEONAMES else words

    def load_facts(self, subject: Subject) -> Facts:
        """The facts, with entities of few enough tokens where they are chosen here."""

        def short(name: str) -> bool:
            tokens = subject.tokenizer(" " + name, add_special_tokens=False)["input_ids"]
            return len(tokens) <= self.entity_tokens

        if self.facts == GEONAMES:
            return city_facts(most=self.most_entities, per_country=self.per_country, keep=short)
        if self.facts in WORD_FACTS:
            return word_facts(self.facts, most=self.most_entities, keep=short)
        return ravel_facts(self.facts)


class AskedSubject:
    """A subject and what it knows; it is loaded when it is needed, and of the pairs it holds the last."""

    def __init__(self, questions: FactQuestions, setting: Setting) -> None:
        assert isinstance(setting.source, Hook)
        self._questions, self._setting, self._at = questions, setting, setting.source.at
        self._last: tuple[EditedPair, EditingTask] | None = None

    @cached_property
    def subject(self) -> Subject:
        """The language model."""
        return self._at.load(self._setting.device)

    @cached_property
    def facts(self) -> Facts:
        """The facts that it is asked for."""
        return self._questions.load_facts(self.subject)

    def answers(self) -> pd.DataFrame:
        """What it answers to every fact with every template tried."""
        questions = self._questions
        return answers(
            self.subject,
            self.facts,
            questions.attributes,
            hook=self._at.hook,
            most_tokens=questions.entity_tokens,
            templates=questions.templates_tried,
        )

    def choice(self, answered: pd.DataFrame) -> dict[str, Any]:
        """The templates to use, and what else to know of the facts, as plain data.

        An attribute that no entity for fitting is known with has no templates.
        """
        questions, facts = self._questions, self.facts
        known = answered[answered["split"] == TRAIN].groupby("attribute")["known"].any()
        choice = choose_templates(
            answered[answered["attribute"].isin(known.index[known])],
            fit=questions.templates_fitted,
            test=questions.templates_tested,
            template_split=facts.template_split,
        )
        ordered = [(one, other) for one in questions.attributes for other in questions.attributes]
        return {
            "templates": {name: {"fit": one.fit, "test": one.test} for name, one in choice.items()},
            "entities": len(facts.values),
            "source": facts.source,
            "determines": [(a, b) for a, b in ordered if a != b and facts.determines(a, b)],
        }

    def task(self, pair: EditedPair) -> EditingTask:
        """The subject asked again about what it knows of a pair, according to the prepared `answers`.

        Raises `TooFewKnownError` where that is too little.
        """
        if self._last is None or self._last[0] != pair:
            self._last = (pair, self._task(pair))
        return self._last[1]

    def _task(self, pair: EditedPair) -> EditingTask:
        questions, prepared = self._questions, self._setting.inputs["prepared"]
        chosen: Mapping[str, Any] = prepared.json("choice")["templates"]
        for attribute in (pair.target, *pair.keep):
            if attribute not in chosen and attribute in questions.attributes:
                raise TooFewKnownError(
                    f"the subject knows {attribute} of no entity for fitting with any template",
                    remaining=0,
                    least=questions.least_known,
                )
        return make_task(
            self.subject,
            self.facts,
            {name: Choice(tuple(one["fit"]), tuple(one["test"])) for name, one in chosen.items()},
            target=pair.target,
            others=pair.keep,
            hook=self._at.hook,
            most_tokens=questions.entity_tokens,
            least=questions.least_known,
            answered=prepared.table("answers"),
        )
