"""Asking a judge and reading its answers: one reminder for an unusable one, then it counts as none.

A context without an answer is worth one half, what a coin would have been worth: counted as wrong, a judge's
silence would push a latent below chance, and left out, it would unbalance the contexts. Where more than
`MOST_UNANSWERED` of the contexts are without an answer there is no score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sanity.evals.judging.cache import Answer
from sanity.evals.judging.protocol import (
    DESCRIBE_REMINDER,
    VERSION,
    Conversation,
    classify_question,
    classify_reminder,
    describe_question,
    read_description,
    read_verdicts,
)
from sanity.subject import assets_of

UNANSWERED_CREDIT = 0.5
MOST_UNANSWERED = 0.1

Verdicts = tuple[bool | None, ...]


@runtime_checkable
class Answerer(Protocol):
    """Anything that answers conversations: a language model."""

    name: str

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        """An answer to each, in order."""


@dataclass(frozen=True)
class JudgeSpec:
    """Which judge, for a result's key: no address, no key, no price."""

    kind: str
    """local or endpoint (language models), or matcher (which compares texts)"""
    model: str
    weights: str | None
    """Of a model on this machine; what stands behind an endpoint's name is the endpoint's business."""
    texts_per_question: int
    """0: all that are to be told apart by one description."""
    seed: int = 0
    protocol: str = VERSION

    @property
    def assets(self) -> tuple[str, ...]:
        """What asking a judge on this machine needs."""
        if self.kind == "matcher":
            return (self.model,)
        return assets_of(self.model) if self.kind == "local" else ()

    @property
    def label(self) -> str:
        """For tables."""
        where = {"matcher": "text matcher", "local": "on this machine"}.get(self.kind, "endpoint")
        return f"{self.model} ({where}{f', seed {self.seed}' if self.seed else ''})"


@dataclass(frozen=True)
class Exchange:
    """One question, and what came of it."""

    question: Conversation
    answers: tuple[Answer, ...]
    """One, or two where a reminder was needed."""


@dataclass
class Transcript:
    """Every question of a run with its answers, as rows for a table."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, asked: Exchange, **about: Any) -> None:
        """Keep one question and its last answer."""
        last = asked.answers[-1]
        self.rows.append(
            {
                **about,
                "prompt": asked.question.messages[-1].text,
                "answer": last.text,
                "first_answer": asked.answers[0].text,
                "reminded": len(asked.answers) > 1,
                "model": last.model,
                "prompt_tokens": sum(a.prompt_tokens for a in asked.answers),
                "answer_tokens": sum(a.answer_tokens for a in asked.answers),
            }
        )


@dataclass(frozen=True)
class Classification:
    """What a judge said about some texts."""

    verdicts: Verdicts
    log_odds: tuple[float | None, ...]
    """Of yes over no, where the judge's probabilities are known; of a matcher, how well the text fits."""
    asked: tuple[Exchange, ...]


Question = tuple[str | None, Sequence[str]]
"""A description, if there is one, and the texts of which some fit it: half of them, in random order."""


@runtime_checkable
class Judge(Protocol):
    """Anything that puts texts into words and finds further texts by these: nothing but text passes."""

    @property
    def name(self) -> str:
        """What the judge is called in tables."""

    def describe(self, excerpts: Sequence[Sequence[str]]) -> list[tuple[str | None, Exchange]]:
        """A description of each set of marked excerpts; `None` where there is none."""

    def classify(self, questions: Sequence[Question]) -> list[Classification]:
        """Which texts fit which description; all unanswered without one."""


@dataclass(frozen=True)
class Asker:
    """A language model as judge: asked in the words of `sanity.evals.judging.protocol`."""

    model: Answerer
    texts_per_question: int = 1

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.name

    def describe(self, excerpts: Sequence[Sequence[str]]) -> list[tuple[str | None, Exchange]]:
        """A description of each set of marked excerpts; `None` where two answers were unusable."""
        asked = _ask(
            self.model,
            [describe_question(some) for some in excerpts],
            usable=lambda _, answer: read_description(answer.text) is not None,
            reminder=lambda _: DESCRIBE_REMINDER,
        )
        return [(read_description(one.answers[-1].text), one) for one in asked]

    def classify(self, questions: Sequence[Question]) -> list[Classification]:
        """Which texts fit which description; all unanswered without one."""
        parts: list[tuple[int, Conversation, int]] = []
        for i, (description, texts) in enumerate(questions):
            if description is not None:
                parts += [
                    (i, classify_question(description, some), len(some))
                    for first in range(0, len(texts), self.texts_per_question)
                    for some in [texts[first : first + self.texts_per_question]]
                ]
        sizes = [n for _, _, n in parts]
        asked = _ask(
            self.model,
            [question for _, question, _ in parts],
            usable=lambda k, answer: None not in read_verdicts(answer.text, sizes[k]),
            reminder=lambda k: classify_reminder(sizes[k]),
        )
        found: list[list[tuple[Verdicts, Exchange]]] = [[] for _ in questions]
        for (i, _, n), one in zip(parts, asked, strict=True):
            found[i].append((_merged(one, n), one))
        return [_joined(of, len(texts)) for of, (_, texts) in zip(found, questions, strict=True)]


def _ask(
    model: Answerer,
    questions: Sequence[Conversation],
    *,
    usable: Callable[[int, Answer], bool],
    reminder: Callable[[int], str],
) -> list[Exchange]:
    first = model.answer(questions)
    again = [k for k, answer in enumerate(first) if not usable(k, answer)]
    # One question at a time is repeated with its own reminder; the others stand.
    second = model.answer([questions[k].followed_by(first[k].text, reminder(k)) for k in again])
    repeated = dict(zip(again, second, strict=True))
    return [
        Exchange(question, (first[k], repeated[k]) if k in repeated else (first[k],))
        for k, question in enumerate(questions)
    ]


def _merged(asked: Exchange, n: int) -> Verdicts:
    """The last answer's verdicts, and the first one's where the last has none."""
    first, last = (read_verdicts(answer.text, n) for answer in (asked.answers[0], asked.answers[-1]))
    return tuple(b if b is not None else a for a, b in zip(first, last, strict=True))


def _joined(parts: Sequence[tuple[Verdicts, Exchange]], n: int) -> Classification:
    if not parts:
        return Classification((None,) * n, (None,) * n, ())
    odds: list[float | None] = []
    for verdicts, one in parts:
        odds += [one.answers[-1].log_odds] * len(verdicts)
    return Classification(
        tuple(v for verdicts, _ in parts for v in verdicts), tuple(odds), tuple(a for _, a in parts)
    )


def credit(verdicts: Sequence[bool | None], truth: Sequence[bool]) -> float:
    """The share of right verdicts, one half for each that is missing.

    >>> credit([True, False, None, True], [True, False, True, False])
    0.625
    """
    worth = [
        UNANSWERED_CREDIT if said is None else float(said == true)
        for said, true in zip(verdicts, truth, strict=True)
    ]
    return sum(worth) / len(worth)
