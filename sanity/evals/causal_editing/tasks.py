"""What is edited, and how it is scored: pairs of entities that differ in everything that is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.causal_editing.questions import AskedTemplate


class TooFewKnownError(BadInputError):
    """A subject knows too little to be edited: `remaining` entities of a split, where `least` are needed."""

    def __init__(self, message: str, *, remaining: int, least: int) -> None:
        super().__init__(message)
        self.remaining, self.least = remaining, least


PairEdit = Callable[[AskedTemplate, Tensor, Tensor], Tensor]
"""Of asked prompts, base rows and source rows: what to put at the entities' last tokens [rows, d_model]."""

_ROWS = 64


@dataclass(frozen=True, eq=False)
class SplitQuestions:
    """The questions of one split, all about the same entities in the same order."""

    target: tuple[AskedTemplate, ...]
    others: Mapping[str, tuple[AskedTemplate, ...]]
    """Attribute that is to stay -> its questions."""
    allowed: Bool[Tensor, "n n"]
    """Whether base (row) and source (column) differ in every attribute."""

    @property
    def entities(self) -> tuple[str, ...]:
        """Entities whose every answer is known."""
        return self.target[0].entities

    @property
    def asked(self) -> tuple[AskedTemplate, ...]:
        """All questions."""
        return (*self.target, *(one for several in self.others.values() for one in several))

    def draw(self, n: int, *, generator: torch.Generator) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """`n` pairs of base and source, different ones as long as there are enough."""
        pairs = self.allowed.nonzero()
        order = torch.cat(
            [torch.randperm(len(pairs), generator=generator) for _ in range(-(-n // len(pairs)))]
        )
        chosen = pairs[order[:n].to(pairs.device)]
        return chosen[:, 0], chosen[:, 1]


@dataclass(frozen=True, eq=False)
class EditingTask:
    """Change `target` and let `others` stay: fitted on `train`, scored on `test`."""

    target: str
    others: tuple[str, ...]
    train: SplitQuestions
    test: SplitQuestions

    @property
    def asked(self) -> tuple[AskedTemplate, ...]:
        """All questions of both splits."""
        return (*self.train.asked, *self.test.asked)

    @property
    def counts(self) -> dict[str, int | bool]:
        """Entities, pairs and templates of both splits: columns of a table."""
        fitted, tested = self.train.asked, self.test.asked
        return {
            "train_entities": len(self.train.entities),
            "test_entities": len(self.test.entities),
            "test_pairs_possible": int(self.test.allowed.sum()),
            "templates_fitted": len(fitted),
            "templates_tested": len(tested),
            "unseen_templates": not {one.template for one in fitted} & {one.template for one in tested},
        }


def make_side(
    target: Sequence[AskedTemplate], others: Mapping[str, Sequence[AskedTemplate]], *, least: int, where: str
) -> SplitQuestions:
    """The entities that answer every question, and the pairs among them that differ in every attribute.

    Raises `TooFewKnownError`, with how many remain, when fewer than `least` entities are known or no two of
    them differ in every attribute.
    """
    every = [*target, *(one for several in others.values() for one in several)]
    known = [{n for n, yes in zip(one.entities, one.known.tolist(), strict=True) if yes} for one in every]
    names = [name for name in every[0].entities if all(name in some for some in known)]
    about = " and ".join(dict.fromkeys(one.attribute for one in every))
    if len(names) < least:
        raise too_few(about, len(names), len(every[0].entities), least, where)
    kept = {id(one): one.only(names) for one in every}
    first = [kept[id(one)] for one in (target[0], *(several[0] for several in others.values()))]
    allowed = torch.stack([one.answers[:, None] != one.answers[None, :] for one in first]).all(0)
    if not bool(allowed.any()):
        raise TooFewKnownError(
            f"no two of the {len(names)} entities for {where} differ in {about}: ask about more entities",
            remaining=len(names),
            least=least,
        )
    return SplitQuestions(
        tuple(kept[id(one)] for one in target),
        {name: tuple(kept[id(one)] for one in several) for name, several in others.items()},
        allowed,
    )


def too_few(about: str, remaining: int, asked: int, least: int, where: str) -> TooFewKnownError:
    """The refusal to edit what so few entities are known of."""
    return TooFewKnownError(
        f"the subject knows {about} of only {remaining} entities for {where} (asked: {asked}), and at least "
        f"{least} are needed: ask about more entities, other attributes, or a larger model",
        remaining=remaining,
        least=least,
    )


@dataclass(frozen=True)
class EditScores:
    """Shares of pairs, 0 to 1."""

    cause: float
    """The answer to the target's question becomes the source's."""
    isolation: float
    """The answers to the other questions stay the base's; mean over attributes."""
    pairs: int

    @property
    def disentanglement(self) -> float:
        """The mean of both."""
        return (self.cause + self.isolation) / 2


@torch.no_grad()
def edited(
    side: SplitQuestions, edit: PairEdit, base: Int[Tensor, " n"], source: Int[Tensor, " n"]
) -> EditScores:
    """How often `edit` of the pairs changes the target's answer and leaves the others'."""
    cause = [_share(one, edit, base, source, one.answers[source]) for one in side.target]
    stay = [
        sum(_share(one, edit, base, source, one.answers[base]) for one in several) / len(several)
        for several in side.others.values()
    ]
    return EditScores(sum(cause) / len(cause), sum(stay) / len(stay), len(base))


def _share(asked: AskedTemplate, edit: PairEdit, base: Tensor, source: Tensor, wanted: Tensor) -> float:
    right = 0
    parts = (torch.split(rows, _ROWS) for rows in (base, source, wanted))
    for b, s, w in zip(*parts, strict=True):
        right += int((asked.logits(edit(asked, b, s), b).argmax(-1) == w).sum())
    return right / len(base)


def swap_all(
    asked: AskedTemplate, base: Int[Tensor, " n"], source: Int[Tensor, " n"]
) -> Float[Tensor, "n d_model"]:
    """The source's residual, whole."""
    return asked.found[source]
