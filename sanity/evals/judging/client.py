"""A judge behind an OpenAI-compatible endpoint: POST {url}/chat/completions, and nothing else of it.

Calls that may succeed later (no connection, time-out, 408, 409, 429, 5xx, a body that is not JSON) are tried
again with growing pauses, or after as long as the endpoint asks for in Retry-After. Others stop the run with
one sentence. Every answer is kept before the next question is asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.evals.judging.budget import Spending, Usage, estimate
from sanity.evals.judging.cache import Answer, AnswerCache
from sanity.evals.judging.errors import JudgeError
from sanity.evals.judging.limits import RateLimit, retry_after
from sanity.evals.judging.protocol import Conversation
from sanity.evals.judging.settings import Endpoint

if TYPE_CHECKING:
    import httpx
    from tqdm import tqdm

log = logging.getLogger("sanity")

LONGEST_PAUSE = 120.0
"""Seconds: an endpoint that asks for more is told about instead of waited for."""

_LATER = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# The name that newer models of some endpoints want for the limit of an answer's length.
_OTHER_LIMIT = "max_completion_tokens"


class _TryLater(Exception):
    """A call that may succeed if it is made again: why, when, and whether it may have been charged."""

    def __init__(self, why: str, *, after: float | None = None, charged: bool = False) -> None:
        super().__init__(why)
        self.after = after
        self.charged = charged


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
        sleep: Callable[[float], None] = time.sleep,
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
        self._limit_field = "max_tokens"

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        """An answer to each conversation; those that are on disk cost nothing.

        Raises
        ------
        BudgetError
            What is to be asked would cost more than is left; nothing more is asked.
        JudgeError
            The endpoint cannot be reached or refuses. What was answered is kept: the same call goes on.
        """
        different = list(dict.fromkeys(conversations))
        found = {c: self.cache.get(self._request(c)) for c in different}
        missing = [c for c in different if found[c] is None]
        if missing:
            self._announce(missing, len(different))
            found.update(self._ask_all(missing))
        return [self._there(found[c]) for c in conversations]

    def _there(self, answer: Answer | None) -> Answer:
        if answer is None:
            raise JudgeError(f"an answer of {self.name} got lost; run again")
        return answer

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

    def _ask_all(self, conversations: Sequence[Conversation]) -> dict[Conversation, Answer]:
        """Ask at most `concurrency` at a time; the first failure stops those not yet begun."""
        import httpx

        stop = threading.Event()
        answers: dict[Conversation, Answer] = {}
        failure: BaseException | None = None
        headers = {"User-Agent": "sae-sanity"}
        if self.endpoint.key:
            headers["Authorization"] = f"Bearer {self.endpoint.key.reveal()}"
        bar: tqdm[None] = track(description=f"ask {self.name}", total=len(conversations), unit="answer")
        with (
            httpx.Client(
                headers=headers,
                timeout=self.endpoint.timeout,
                follow_redirects=False,
                trust_env=not self.endpoint.on_this_machine,
            ) as http,
            ThreadPoolExecutor(self.endpoint.concurrency) as pool,
            bar,
        ):
            futures = {pool.submit(self._ask, http, c, stop): c for c in conversations}
            try:
                for future in as_completed(futures):
                    error = future.exception()
                    if error is None and (answer := future.result()) is not None:
                        answers[futures[future]] = answer
                        bar.update(1)
                    elif error is not None:
                        failure = failure or error
                        stop.set()
            finally:
                # Also when interrupted: what waits in the queue is not sent.
                stop.set()
        if isinstance(failure, JudgeError):
            raise type(failure)(
                f"{failure} ({len(answers)} of {len(conversations)} answers came and are kept; run again, "
                "and it goes on with the others)"
            ) from failure
        if failure is not None:
            raise failure
        return answers

    def _ask(self, http: httpx.Client, conversation: Conversation, stop: threading.Event) -> Answer | None:
        """One conversation, tried until it is answered; `None` once the run has stopped."""
        problem: _TryLater | None = None
        try:
            for attempt in range(self.endpoint.attempts):
                if problem is not None:
                    self._pause(problem, attempt - 1)
                try:
                    return self._try(http, conversation, stop)
                except _TryLater as error:
                    problem = error
            raise JudgeError(
                f"the judge {self.name} at {self.endpoint.host} gave no answer in "
                f"{self.endpoint.attempts} tries, the last time because of {problem}"
            )
        except BaseException:
            # At once, and not when the failure is noticed: this thread's next question may be waiting.
            stop.set()
            raise

    def _try(self, http: httpx.Client, conversation: Conversation, stop: threading.Event) -> Answer | None:
        """One call, within the rate and the budget; its answer is booked and kept before it is returned."""
        wanted, used = estimate([conversation]), None
        if stop.is_set():
            return None
        self.spending.reserve(wanted)
        try:
            self._limit.wait(wanted.tokens)
            if stop.is_set():
                return None
            answer = self._post(http, conversation)
            used = Usage(1, answer.prompt_tokens, answer.answer_tokens)
        except _TryLater as problem:
            used = wanted if problem.charged else None
            raise
        finally:
            self.spending.settle(wanted, used)
        self.cache.put(self._request(conversation), answer)
        return answer

    def _pause(self, problem: _TryLater, attempt: int) -> None:
        seconds = min(LONGEST_PAUSE, 2.0**attempt) if problem.after is None else problem.after
        if seconds > LONGEST_PAUSE:
            raise JudgeError(
                f"the judge {self.name} at {self.endpoint.host} asks to wait for {seconds:.0f} s "
                f"({problem}): run again then"
            )
        log.info("judge %s: %s; trying again in %.1f s", self.name, problem, seconds)
        self._sleep(seconds)

    def _post(self, http: httpx.Client, conversation: Conversation) -> Answer:
        import httpx

        request = self._request(conversation)
        request[self._limit_field] = request.pop("max_tokens")
        try:
            response = http.post(f"{self.endpoint.url}/chat/completions", json=request)
        except httpx.TimeoutException as error:
            raise _TryLater(
                f"a time-out after {self.endpoint.timeout:g} s ({type(error).__name__})", charged=True
            ) from error
        except httpx.TransportError as error:
            sent = not isinstance(error, httpx.ConnectError)
            raise _TryLater(f"a broken connection ({type(error).__name__})", charged=sent) from error
        if response.status_code in _LATER:
            raise _TryLater(
                f"status {response.status_code}: {self._said(response)}", after=retry_after(response.headers)
            )
        if response.status_code != 200:
            return self._refused(response, http, conversation)
        return self._read(response, conversation)

    def _refused(self, response: httpx.Response, http: httpx.Client, conversation: Conversation) -> Answer:
        said = self._said(response)
        if response.status_code == 400 and _OTHER_LIMIT in said and self._limit_field != _OTHER_LIMIT:
            self._limit_field = _OTHER_LIMIT
            return self._post(http, conversation)
        hint = {
            401: "check SANITY_JUDGE_KEY",
            403: "check SANITY_JUDGE_KEY and what it is allowed",
            404: "check SANITY_JUDGE_URL (it ends before /chat/completions) and SANITY_JUDGE_MODEL",
        }.get(response.status_code, "check SANITY_JUDGE_URL and SANITY_JUDGE_MODEL")
        raise JudgeError(
            f"the judge {self.name} at {self.endpoint.host} refused with status "
            f"{response.status_code} ({said}): {hint}"
        )

    def _read(self, response: httpx.Response, conversation: Conversation) -> Answer:
        try:
            body = response.json()
            text = body["choices"][0]["message"].get("content") or ""
            if not isinstance(text, str):
                raise TypeError(f"content is {type(text).__name__}")
            used = body.get("usage") or {}
            expected = estimate([conversation])
            return Answer(
                self._clean(text),
                model=self._clean(str(body.get("model", ""))),
                prompt_tokens=int(used.get("prompt_tokens") or expected.prompt_tokens),
                answer_tokens=int(used.get("completion_tokens") or expected.answer_tokens),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _TryLater(
                f"a reply that is no chat completion ({type(error).__name__})", charged=True
            ) from error

    def _said(self, response: httpx.Response) -> str:
        """The beginning of what the endpoint says about a failure, without the key should it repeat it."""
        return self._clean(" ".join(response.text.split()))[:200] or "no reason given"

    def _clean(self, text: str) -> str:
        return self.endpoint.key.hidden_in(text) if self.endpoint.key else text


def open_endpoint(model: str, *, seed: int = 0) -> EndpointJudge:
    """The judge called `model` behind the endpoint of the environment."""
    from sanity.evals.judging.settings import endpoint_from

    endpoint = endpoint_from()
    if endpoint is None:
        raise BadInputError(f"the judge {model} needs an endpoint: set SANITY_JUDGE_URL")
    return EndpointJudge(endpoint, model, seed=seed)
