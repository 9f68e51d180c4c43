"""The environment: what is read from it, what is refused, and that the key stays where it is."""

from __future__ import annotations

import pickle

import pytest

from sanity.errors import BadInputError
from sanity.evals.judging import Endpoint, Key, Prices, endpoint_from, estimate_protocol, model_names
from sanity.evals.judging.limits import RateLimit

SECRET = "sk-0123456789"


def test_everything_is_read_from_the_environment() -> None:
    endpoint = endpoint_from(
        {
            "SANITY_JUDGE_URL": "https://judge.example/v1/",
            "SANITY_JUDGE_KEY": SECRET,
            "SANITY_JUDGE_BUDGET_TOKENS": "1_000",
            "SANITY_JUDGE_BUDGET_MONEY": "2.5",
            "SANITY_JUDGE_PRICE_PROMPT": "0.15",
            "SANITY_JUDGE_PRICE_ANSWER": "0.6",
            "SANITY_JUDGE_CONCURRENCY": "2",
        }
    )
    assert endpoint is not None
    assert endpoint.key is not None
    assert endpoint.key.reveal() == SECRET
    assert (endpoint.url, endpoint.budget_tokens, endpoint.budget_money) == (
        "https://judge.example/v1",
        1000,
        2.5,
    )
    assert endpoint.prices == Prices(0.15, 0.6)
    assert (endpoint.concurrency, endpoint.attempts) == (2, 5)


def test_without_an_address_there_is_no_endpoint() -> None:
    assert endpoint_from({"SANITY_JUDGE_KEY": SECRET}) is None
    assert model_names({"SANITY_JUDGE_MODEL": " a, b ,"}) == ("a", "b")
    assert model_names({}) == ()


@pytest.mark.parametrize(
    ("url", "has_key"),
    [
        ("https://api.openai.com/v1", True),
        ("https://judge.example/v1", False),
        ("http://localhost:1/v1", False),
    ],
)
def test_openais_key_goes_to_openai_alone(url: str, has_key: bool) -> None:
    endpoint = endpoint_from({"SANITY_JUDGE_URL": url, "OPENAI_API_KEY": SECRET})
    assert endpoint is not None
    assert (endpoint.key is not None) is has_key


def test_a_key_does_not_show_itself() -> None:
    endpoint = Endpoint("https://judge.example/v1", Key(SECRET))
    assert SECRET not in f"{endpoint} {endpoint!r} {endpoint.key} {endpoint.key!r} {vars(endpoint)}"
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(endpoint.key)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"SANITY_JUDGE_URL": "judge.example"}, "no address"),
        ({"SANITY_JUDGE_URL": f"https://me:{SECRET}@judge.example/v1"}, "holds a user"),
        (
            {"SANITY_JUDGE_URL": f"https://judge.example/v1?key={SECRET}"},
            "holds a user, a password or a query",
        ),
        ({"SANITY_JUDGE_URL": "http://judge.example/v1", "SANITY_JUDGE_KEY": SECRET}, "unencrypted"),
        (
            {"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_TIMEOUT": "soon"},
            "SANITY_JUDGE_TIMEOUT is 'soon'",
        ),
        ({"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_CONCURRENCY": "0"}, "CONCURRENCY is 0"),
        ({"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_ATTEMPTS": "1.5"}, "ATTEMPTS is 1.5"),
        ({"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_PRICE_PROMPT": "-1"}, "PRICE_PROMPT is '-1'"),
    ],
)
def test_what_cannot_be_used_is_named_and_no_secret_with_it(given: dict[str, str], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        endpoint_from(given)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


class Clock:
    """A time that only moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("requests", "tokens"), [(5, 10**9), (10**9, 500)])
def test_no_minute_has_more_than_is_allowed(requests: int, tokens: int) -> None:
    clock = Clock()
    limit = RateLimit(requests, tokens, clock=lambda: clock.now, sleep=clock.sleep)
    times = []
    for _ in range(17):
        limit.wait(100)
        times.append(clock.now)
        clock.now += 1.0
    assert max(sum(start <= t < start + 60 for t in times) for start in times) == 5
    assert times[4] == 4.0  # the first five go without waiting


def test_a_call_larger_than_a_minute_goes_alone() -> None:
    clock = Clock()
    limit = RateLimit(100, 500, clock=lambda: clock.now, sleep=clock.sleep)
    for _ in range(2):
        limit.wait(2000)
    assert clock.now == 60.0


def test_the_papers_protocol_is_counted_call_by_call() -> None:
    usage = estimate_protocol(
        latents=200, examples=15, contexts=100, context_characters=150, texts_per_question=1
    )
    assert usage.calls == 200 * (1 + 100 + 100)
    ten = estimate_protocol(
        latents=200, examples=15, contexts=100, context_characters=150, texts_per_question=10
    )
    assert ten.calls == 200 * (1 + 10 + 10)
    assert ten.prompt_tokens < usage.prompt_tokens
    assert usage.words(Prices(1.0, 0.0)).endswith(f"{usage.prompt_tokens / 1e6:.2f} at the given prices")
