"""What a run of a judge may cost: an estimate before the first call, a journal, and a limit that holds.

Tokens are estimated without the judge's tokenizer: one per three characters, and six per message. English
prose has four to five characters a token and code two and a half to three and a half, so the estimate is
rather high for prose and may be a fifth too low for code. What is booked is what the endpoint says it used;
the limit can be passed by as much as the calls in flight use beyond their estimates.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import NonNegativeInt, TypeAdapter, ValidationError

from sanity.engine.files import disk_errors
from sanity.errors import BadInputError
from sanity.evals.judging.errors import BudgetError
from sanity.evals.judging.protocol import Conversation

CHARACTERS_PER_TOKEN = 3.0
TOKENS_PER_MESSAGE = 6


@dataclass(frozen=True)
class Prices:
    """Money per million tokens, in whatever currency the user thinks in."""

    prompt: float = 0.0
    answer: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.prompt < math.inf and 0 <= self.answer < math.inf):
            raise BadInputError(f"prices are 0 or more per million tokens, not {self.prompt}, {self.answer}")

    def of(self, prompt_tokens: float, answer_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + answer_tokens * self.answer) / 1e6


@dataclass(frozen=True)
class Usage:
    """Calls and tokens, of an estimate or booked."""

    calls: NonNegativeInt = 0
    prompt_tokens: NonNegativeInt = 0
    answer_tokens: NonNegativeInt = 0

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt_tokens + self.answer_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens + other.answer_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.calls - other.calls,
            self.prompt_tokens - other.prompt_tokens,
            self.answer_tokens - other.answer_tokens,
        )

    def words(self, prices: Prices) -> str:
        """Calls, tokens and, where prices are known, money."""
        money = prices.of(self.prompt_tokens, self.answer_tokens)
        priced = f", {money:.2f} at the given prices" if prices != Prices() else ""
        return (
            f"{self.calls:,} calls, {self.prompt_tokens:,} prompt and {self.answer_tokens:,} answer "
            f"tokens{priced}"
        )


_USAGE = TypeAdapter(Usage)


def count_tokens(text: str) -> int:
    """About how many tokens `text` has; see the head of this module.

    >>> count_tokens("Does the text fit?")
    6
    """
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def prompt_tokens(conversation: Conversation) -> int:
    """About how many tokens a conversation has before it is answered."""
    return sum(count_tokens(message.text) + TOKENS_PER_MESSAGE for message in conversation.messages)


def estimate(conversations: Iterable[Conversation]) -> Usage:
    """What asking all of them once may cost; answers are taken to be as long as they may be."""
    asked = list(conversations)
    return Usage(len(asked), sum(map(prompt_tokens, asked)), sum(c.max_tokens for c in asked))


def estimate_protocol(
    *,
    latents: int,
    examples: int,
    contexts: int,
    context_characters: int,
    texts_per_question: int,
    description_characters: int = 80,
) -> Usage:
    """What the protocol may cost, before any context is known.

    Parameters
    ----------
    latents
        How many are judged, over all arms and seeds.
    examples
        Contexts that each description is made from; 0 where descriptions are given.
    contexts
        Contexts that are classified for each latent with its own description, and as many again with
        another's.
    context_characters
        Length of a context.
    """
    from sanity.evals.judging.protocol import classify_question, describe_question

    text, phrase = "x" * context_characters, "x" * description_characters
    full, rest = divmod(contexts, texts_per_question)
    sizes = [texts_per_question] * full + ([rest] if rest else [])
    rounds = [describe_question([text] * examples)] if examples else []
    rounds += [classify_question(phrase, [text] * size) for size in sizes] * 2
    one = estimate(rounds)
    return Usage(one.calls * latents, one.prompt_tokens * latents, one.answer_tokens * latents)


class Spending:
    """A journal of every paid call, shared by all runs that use the folder, and the limit on it.

    A call is let through only if it fits with everything in flight counted at its estimate. A call whose
    answer never came may have been charged, so it stays booked at its estimate. (Two processes at once see
    each other's finished calls and not those in flight.)
    """

    def __init__(
        self,
        journal: Path,
        *,
        most_tokens: int,
        most_money: float | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.prices = prices or Prices()
        self.most_tokens = most_tokens
        self.most_money = most_money
        if most_tokens < 1 or (most_money is not None and not most_money > 0):
            raise BadInputError(f"a budget is more than nothing, not {most_tokens} tokens and {most_money}")
        if most_money is not None and self.prices == Prices():
            raise BadInputError(
                "a budget in money needs prices: set SANITY_JUDGE_PRICE_PROMPT and "
                "SANITY_JUDGE_PRICE_ANSWER, per million tokens"
            )
        self._journal = journal
        self._read = 0
        self._booked = Usage()
        self._flying = Usage()

    @property
    def booked(self) -> Usage:
        """All that the journal holds."""
        self._catch_up()
        return self._booked

    def check(self, wanted: Usage) -> None:
        """Raise `BudgetError` if `wanted` on top of what was spent would pass the limit.

        Notes that it was asked: where the journal cannot be written, no call is made that would be paid for
        and then lost.
        """
        self._catch_up()
        self._refuse_beyond(wanted)
        self._append(Usage())

    def reserve(self, wanted: Usage) -> None:
        """Set `wanted` aside for a call that is about to be made, or raise `BudgetError`."""
        self._catch_up()
        self._refuse_beyond(wanted)
        self._flying += wanted

    def settle(self, reserved: Usage, used: Usage | None) -> None:
        """The call is over: book what it used; `None` when it was refused and is not charged."""
        self._flying -= reserved
        if used is not None:
            self._append(used)

    def _refuse_beyond(self, wanted: Usage) -> None:
        total = self._booked + self._flying + wanted
        money = self.prices.of(total.prompt_tokens, total.answer_tokens)
        spent = f"spent so far: {self._booked.words(self.prices)}; wanted now: {wanted.words(self.prices)}"
        kept = "No call was made; answers that came before are kept and will not be asked for again"
        if total.tokens > self.most_tokens:
            raise BudgetError(
                f"the judge's budget of {self.most_tokens:,} tokens does not suffice ({spent}). {kept}: "
                "raise SANITY_JUDGE_BUDGET_TOKENS, or judge fewer latents"
            )
        if self.most_money is not None and money > self.most_money:
            raise BudgetError(
                f"the judge's budget of {self.most_money:.2f} does not suffice ({spent}). {kept}: "
                "raise SANITY_JUDGE_BUDGET_MONEY, or judge fewer latents"
            )

    def _append(self, used: Usage) -> None:
        line = json.dumps(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "calls": used.calls,
                "prompt_tokens": used.prompt_tokens,
                "answer_tokens": used.answer_tokens,
            }
        )
        with disk_errors(self._journal.parent):
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            # One write of a short line to a file opened for appending: other processes' lines stay whole.
            handle = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, f"{line}\n".encode())
            finally:
                os.close(handle)

    def _catch_up(self) -> None:
        """Read what was added to the journal since, by this or another process."""
        if not self._journal.exists():
            return
        with self._journal.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._booked += _booked(line, self._journal)


def _booked(line: bytes, journal: Path) -> Usage:
    try:
        return _USAGE.validate_json(line, strict=True)
    except ValidationError as error:
        raise BudgetError(
            f"{journal} has a line that cannot be read ({line[:80]!r}), so what was spent is not known: "
            "repair or delete it (deleting it starts the budget from nothing)"
        ) from error
