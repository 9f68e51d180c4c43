"""Questions put to a subject: what it answers greedily, and what it holds at the entity's last token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.data.facts import Facts
from sanity.errors import BadInputError
from sanity.subject import EditablePrompts, Subject


@dataclass(frozen=True, eq=False)
class AskedTemplate:
    """One template, put to a subject for several entities and stopped at each entity's last token."""

    attribute: str
    template: str
    entities: tuple[str, ...]
    answers: Int[Tensor, " n"]
    """The first token of the right answer."""
    greedy: Int[Tensor, " n"]
    """The token that the unedited subject gives."""
    found: Float[Tensor, "n d_model"]
    """The residual stream at the hook and the entity's last token."""
    groups: tuple[EditablePrompts, ...]
    """The prompts, those of one length together."""
    group: Int[Tensor, " n"]
    row: Int[Tensor, " n"]

    @property
    def known(self) -> Bool[Tensor, " n"]:
        """Which answers the subject gives greedily."""
        return self.answers == self.greedy

    def logits(
        self, edited: Float[Tensor, "rows d_model"], which: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows vocab"]:
        """Next-token logits of the prompts `which`, with `edited` at the entity's last token."""
        if len(self.groups) == 1:
            return self.groups[0].logits(edited, self.row[which])
        parts, order = [], []
        for number in sorted(set(self.group[which].tolist())):
            here = (self.group[which] == number).nonzero()[:, 0]
            parts.append(self.groups[number].logits(edited[here], self.row[which[here]]))
            order.append(here)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def only(self, entities: Sequence[str]) -> AskedTemplate:
        """The same for some of the entities, in the order given."""
        place = {name: i for i, name in enumerate(self.entities)}
        at = torch.tensor([place[name] for name in entities], dtype=torch.long, device=self.answers.device)
        parts = ("answers", "greedy", "found", "group", "row")
        return replace(self, entities=tuple(entities), **{name: getattr(self, name)[at] for name in parts})


@torch.no_grad()
def ask(
    subject: Subject,
    facts: Facts,
    attribute: str,
    template: str,
    entities: Sequence[str],
    *,
    hook: str,
    most_tokens: int,
) -> AskedTemplate:
    """Put `template` to `subject` for those of `entities` that can be asked.

    Left out are entities of more than `most_tokens` tokens or without the attribute, those that the
    tokenizer joins with what follows, and those whose answer begins with the same token as a more frequent
    answer's (after "United" nobody can tell the States from the Kingdom).

    Raises
    ------
    BadInputError
        For an attribute that `facts` has no templates for, prompts longer than the context, and when no
        entity can be asked.
    """
    facts.require(attribute)
    placed = {
        name: at
        for name in entities
        if attribute in facts.values[name]
        and (at := _placed(subject, template, name)) is not None
        and at.entity_tokens <= most_tokens
    }
    if not placed:
        raise BadInputError(
            f"none of {len(entities)} entities can be asked {template!r}: with {subject.name}'s tokenizer "
            f"each lacks {attribute}, takes more than {most_tokens} tokens, or is joined with what follows it"
        )
    first = {
        name: _first_token(subject, template.replace("%s", name), facts.values[name][attribute])
        for name in placed
    }
    clear = _unambiguous({name: facts.values[name][attribute] for name in placed}, first)
    names = [name for name in placed if name in clear]
    shapes = sorted({(len(placed[n].tokens), placed[n].last) for n in names})
    groups, greedy, found = [], {}, {}
    group, row = {}, {}
    for number, (length, last) in enumerate(shapes):
        here = [n for n in names if (len(placed[n].tokens), placed[n].last) == (length, last)]
        prompts = subject.editable(torch.tensor([placed[n].tokens for n in here]), hook, last)
        best = torch.cat(
            [prompts.logits(prompts.found[at], at).argmax(-1) for at in _parts(len(here), subject)]
        )
        for i, name in enumerate(here):
            greedy[name], found[name], group[name], row[name] = best[i], prompts.found[i], number, i
        groups.append(prompts)
    device = subject.device
    return AskedTemplate(
        attribute,
        template,
        tuple(names),
        torch.tensor([first[n] for n in names], device=device),
        torch.stack([greedy[n] for n in names]),
        torch.stack([found[n] for n in names]),
        tuple(groups),
        torch.tensor([group[n] for n in names], device=device),
        torch.tensor([row[n] for n in names], device=device),
    )


@dataclass(frozen=True)
class _PlacedPrompt:
    """A prompt's tokens, and where in them the entity ends."""

    tokens: list[int]
    last: int
    entity_tokens: int


def _placed(subject: Subject, template: str, entity: str) -> _PlacedPrompt | None:
    """None where a token holds the entity's end and something of what follows."""
    begin = template.index("%s")
    end, text = begin + len(entity), template.replace("%s", entity)
    coded: Any = subject.tokenizer(text, return_offsets_mapping=True)
    tokens, spans = list(coded["input_ids"]), coded["offset_mapping"]
    if len(tokens) > subject.context:
        raise BadInputError(
            f"the template {template!r} makes {len(tokens)} tokens with {entity!r}, and {subject.name} reads "
            f"{subject.context} at most: take a shorter template"
        )
    inside = [i for i, (a, b) in enumerate(spans) if a < end and b > begin and b > a]
    if not inside or spans[inside[-1]][1] != end:
        return None
    return _PlacedPrompt(tokens, inside[-1], len(inside))


def _first_token(subject: Subject, prompt: str, value: str) -> int:
    """The token with which `value` begins behind `prompt`."""
    joint = "" if prompt[-1].isspace() or prompt[-1] in "\"'([" else " "
    before = list(subject.tokenizer(prompt)["input_ids"])
    after = list(subject.tokenizer(prompt + joint + value)["input_ids"])
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
    return int(after[same])


def _unambiguous(values: Mapping[str, str], first: Mapping[str, int]) -> set[str]:
    """Entities whose answer is the most frequent of those that begin with its token."""
    counts = Counter((first[name], value) for name, value in values.items())
    best: dict[int, str] = {}
    for (token, value), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        best.setdefault(token, value)
    return {name for name, value in values.items() if best[first[name]] == value}


def _parts(n: int, subject: Subject) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(n, device=subject.device), 64)
