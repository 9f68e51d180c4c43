"""A judge behind an OpenAI-compatible endpoint: what is on disk, what it may cost, and who is asked when.

Calls that may succeed later are tried again with growing pauses, or after as long as the endpoint asks for in
Retry-After. Others stop the run with one sentence; what is in flight then is waited for, since it may be paid
for. Every answer is kept before it is booked.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from anyio.from_thread import start_blocking_portal
from anyio.lowlevel import checkpoint_if_cancelled

from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.evals.judging.budget import Spending, Usage, estimate
from sanity.evals.judging.cache import Answer, AnswerCache
from sanity.evals.judging.dialect import Dialect
from sanity.evals.judging.errors import JudgeError, TryLaterError
from sanity.evals.judging.limits import RateLimit
from sanity.evals.judging.protocol import Conversation
from sanity.evals.judging.settings import Endpoint

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tqdm import tqdm

    from sanity.evals.judging.wire import Wire

log = logging.getLogger("sanity")

LONGEST_PAUSE = 120.0
"""Seconds: an endpoint that asks for more is told about instead of waited for."""


class EndpointJudge:
    """A model behind `endpoint`, asked at temperature 0.

    `seed` is passed on (endpoints that know it draw reproducibly) and is part of what answers are kept by.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.name = model
        self.seed = seed
        self.cache = AnswerCache(endpoint.folder / "answers")
        self.spending = Spending(
            endpoint.folder / "spent.jsonl",
            most_tokens=endpoint.budget_tokens,
            most_money=endpoint.budget_money,
            prices=endpoint.prices,
        )
        self._limit = RateLimit(
            endpoint.requests_per_minute, endpoint.tokens_per_minute, clock=clock, sleep=sleep
        )
        self._sleep = sleep
        self._dialect = Dialect(f"the judge {model} at {endpoint.host}")
        self._spoke = False

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        """An answer to each conversation; those that are on disk cost nothing.

        Raises
        ------
        BudgetError
            What is to be asked would cost more than is left; nothing more is asked.
        JudgeError
            The endpoint cannot be reached, refuses, or has said nothing at all. What was answered is kept:
            the same call goes on.
        """
        different = list(dict.fromkeys(conversations))
        kept = {c: self.cache.get(self._request(c)) for c in different}
        found = {c: answer for c, answer in kept.items() if answer is not None and answer.text}
        missing = [c for c in different if c not in found]
        if missing:
            self._announce(missing, len(different))
            # A thread with an event loop of its own: a notebook's is already running.
            with start_blocking_portal("asyncio") as portal:
                found |= portal.call(self._ask_all, missing)
        self._refuse_silence(list(found.values()))
        return [found[c] for c in conversations]

    def _announce(self, missing: Sequence[Conversation], n: int) -> None:
        """Say what it may cost before the first call; refuse what the budget cannot hold."""
        expected = estimate(missing)
        log.info(
            "judge %s: %d of %d answers are on disk; about %s to come",
            self.name,
            n - len(missing),
            n,
            expected.words(self.endpoint.prices),
        )
        self.spending.check(expected)

    def _request(self, conversation: Conversation) -> dict[str, Any]:
        """What an answer is kept by: everything that it depends on, and no address."""
        return {
            "model": self.name,
            "messages": [message.json() for message in conversation.messages],
            "temperature": 0,
            "seed": self.seed,
            "max_tokens": conversation.max_tokens,
        }

    async def _ask_all(self, conversations: Sequence[Conversation]) -> dict[Conversation, Answer]:
        """Ask at most `concurrency` at a time; the first failure stops those not yet sent."""
        from sanity.evals.judging.wire import Wire

        answers: dict[Conversation, Answer] = {}
        lines = anyio.CapacityLimiter(self.endpoint.concurrency)
        bar: tqdm[None] = track(description=f"ask {self.name}", total=len(conversations), unit="answer")

        async def ask(wire: Wire, conversation: Conversation) -> None:
            async with lines:
                try:
                    answers[conversation] = await self._ask(wire, conversation)
                except BaseException:
                    # At once, and not when this line is free: the next question is waiting for it.
                    group.cancel_scope.cancel()
                    raise
            bar.update(1)

        with bar:
            try:
                async with Wire(self.endpoint, self._dialect) as wire, anyio.create_task_group() as group:
                    for conversation in conversations:
                        group.start_soon(ask, wire, conversation)
            except BaseExceptionGroup as several:
                failure = several.exceptions[0]
                if not isinstance(failure, JudgeError):
                    raise failure from failure.__cause__
                raise type(failure)(
                    f"{failure} ({len(answers)} of {len(conversations)} answers came and are kept; run "
                    "again, and it goes on with the others)"
                ) from failure
        return answers

    async def _ask(self, wire: Wire, conversation: Conversation) -> Answer:
        """One conversation, tried until it is answered."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TryLaterError),
            stop=stop_after_attempt(self.endpoint.attempts),
            wait=self._pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            answer: Answer = await retrying(self._try, wire, conversation)
        except TryLaterError as problem:
            raise JudgeError(
                f"the judge {self.name} at {self.endpoint.host} gave no answer in {self.endpoint.attempts} "
                f"tries, the last time because of {problem}"
            ) from problem
        return answer

    async def _try(self, wire: Wire, conversation: Conversation) -> Answer:
        """One call, within the rate and the budget; its answer is kept and booked before it is returned."""
        wanted, used = estimate([conversation]), None
        self.spending.reserve(wanted)
        try:
            await self._limit.wait(wanted.tokens)
            await checkpoint_if_cancelled()
            # What was sent may be paid for: its answer is waited for also when the run ends meanwhile.
            with anyio.CancelScope(shield=True):
                answer = await wire.ask(self._request(conversation), wanted)
            used = Usage(1, answer.prompt_tokens, answer.answer_tokens)
            if answer.text:
                self.cache.put(self._request(conversation), answer)
        except TryLaterError as problem:
            used = wanted if problem.charged else None
            raise
        finally:
            self.spending.settle(wanted, used)
        return answer

    def _pause(self, state: RetryCallState) -> float:
        """Seconds to the next try; `JudgeError` where that is too long to wait."""
        problem = state.outcome.exception() if state.outcome else None
        after = problem.after if isinstance(problem, TryLaterError) else None
        seconds = min(LONGEST_PAUSE, 2.0 ** (state.attempt_number - 1)) if after is None else after
        if seconds > LONGEST_PAUSE:
            raise JudgeError(
                f"the judge {self.name} at {self.endpoint.host} asks to wait for {seconds:.0f} s "
                f"({problem}): run again then"
            )
        log.info("judge %s: %s; trying again in %.1f s", self.name, problem, seconds)
        return seconds

    def _refuse_silence(self, answers: Sequence[Answer]) -> None:
        """Stop a run in which nothing was said: silence is no verdict. Empty answers are not kept."""
        self._spoke = self._spoke or any(answer.text for answer in answers)
        if self._spoke or not answers:
            return
        ends = Counter(answer.finish or "none given" for answer in answers)
        hint = (
            "it used up its tokens before it answered, as models do that think first: switch that off at the "
            "server, or name another in SANITY_JUDGE_MODEL"
            if "length" in ends
            else "check SANITY_JUDGE_MODEL and the server's log"
        )
        raise JudgeError(
            f"all {len(answers)} answers of the judge {self.name} at {self.endpoint.host} were empty "
            f"(finish_reason {', '.join(ends)}): {hint}"
        )


def open_endpoint(model: str, *, seed: int = 0) -> EndpointJudge:
    """The judge called `model` behind the endpoint of the environment."""
    from sanity.evals.judging.settings import endpoint_from

    endpoint = endpoint_from()
    if endpoint is None:
        raise BadInputError(f"the judge {model} needs an endpoint: set SANITY_JUDGE_URL")
    return EndpointJudge(endpoint, model, seed=seed)
