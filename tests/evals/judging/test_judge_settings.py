"""The environment: what is read from it, what is refused, and that the key stays where it is."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import anyio
import pytest

from sanity.errors import BadInputError
from sanity.evals.judging import Prices, endpoint_from, estimate_protocol, settings
from sanity.evals.judging.limits import RateLimit
from sanity.evals.judging.settings import Endpoint, Key, model_names

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
    endpoint = Endpoint(url="https://judge.example/v1", key=Key(SECRET))
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
        ({"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_CONCURRENCY": "0"}, "CONCURRENCY is '0'"),
        ({"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_ATTEMPTS": "1.5"}, "ATTEMPTS is '1.5'"),
        ({"SANITY_JUDGE_URL": "https://a.b/v1", "SANITY_JUDGE_PRICE_PROMPT": "-1"}, "PRICE_PROMPT is '-1'"),
    ],
)
def test_what_cannot_be_used_is_named_and_no_secret_with_it(given: dict[str, str], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        endpoint_from(given)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


PLAIN = {"SANITY_JUDGE_URL": "https://a.b/v1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "http://a.b:99999/v1"),
        ("URL", "http://[::1/v1"),
        ("URL", "ftp://a.b/v1"),
        ("URL", "https://"),
        ("URL", "http://a b/v1"),
        ("KEY", "schlüssel"),
        ("KEY", "two words"),
        ("KEY", "a\x00b"),
        ("KEY", "\udcff"),
        ("TIMEOUT", "inf"),
        ("TIMEOUT", "nan"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "1e9"),
        ("BUDGET_TOKENS", "inf"),
        ("BUDGET_TOKENS", "-1"),
        ("BUDGET_TOKENS", "1e400"),
        ("BUDGET_TOKENS", "9" * 5000),
        ("BUDGET_MONEY", "inf"),
        ("BUDGET_MONEY", "-inf"),
        ("BUDGET_MONEY", "0"),
        ("PRICE_PROMPT", "nan"),
        ("PRICE_ANSWER", "inf"),
        ("REQUESTS_PER_MINUTE", "inf"),
        ("TOKENS_PER_MINUTE", "-inf"),
        ("CONCURRENCY", "1000000"),
        ("ATTEMPTS", "inf"),
    ],
)
def test_every_variable_is_checked_once_and_named(name: str, value: str) -> None:
    with pytest.raises(BadInputError, match=f"^SANITY_JUDGE_{name} ") as caught:
        endpoint_from({**PLAIN, f"SANITY_JUDGE_{name}": value})
    assert name != "KEY" or value not in str(caught.value)


def test_thousands_may_be_set_apart() -> None:
    endpoint = endpoint_from({**PLAIN, "SANITY_JUDGE_BUDGET_TOKENS": "3,000,000"})
    assert endpoint is not None
    assert endpoint.budget_tokens == 3_000_000


@pytest.mark.parametrize("name", ["a\x00", "big\nmodel", "\udcff", "x" * 2000])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="SANITY_JUDGE_MODEL"):
        model_names({"SANITY_JUDGE_MODEL": name})


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine called gpubox with a card at 192.168.7.5."""
    found = {"eth0": [SimpleNamespace(address="192.168.7.5"), SimpleNamespace(address="fe80::1%eth0")]}
    monkeypatch.setattr(settings.psutil, "net_if_addrs", lambda: found)
    monkeypatch.setattr(settings.socket, "gethostname", lambda: "GPUbox")


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("0.0.0.0", True),
        ("192.168.7.5", True),
        ("[fe80::1]", True),
        ("gpubox", True),
        ("judge.localhost", True),
        ("192.168.7.6", False),
        ("localhost.example", False),
        ("judge.example", False),
    ],
)
def test_a_key_goes_unencrypted_to_this_machine_alone(host: str, local: bool) -> None:
    given = {"SANITY_JUDGE_URL": f"http://{host}:8000/v1", "SANITY_JUDGE_KEY": SECRET}
    if local:
        endpoint = endpoint_from(given)
        assert endpoint is not None
        assert endpoint.on_this_machine
    else:
        with pytest.raises(BadInputError, match=f"SANITY_JUDGE_UNENCRYPTED_HOST={host}"):
            endpoint_from(given)


@pytest.mark.usefixtures("cards")
def test_a_host_on_a_network_of_ones_own_is_named_to_get_the_key() -> None:
    given = {"SANITY_JUDGE_URL": "http://192.168.7.6:8000/v1", "SANITY_JUDGE_KEY": SECRET}
    endpoint = endpoint_from({**given, "SANITY_JUDGE_UNENCRYPTED_HOST": "192.168.7.6"})
    assert endpoint is not None
    assert not endpoint.on_this_machine
    with pytest.raises(BadInputError, match="unencrypted"):
        endpoint_from({**given, "SANITY_JUDGE_UNENCRYPTED_HOST": "192.168.7.9"})


class Clock:
    """A time that only moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("requests", "tokens"), [(5, 10**9), (10**9, 500)])
def test_no_minute_has_more_than_is_allowed(requests: int, tokens: int) -> None:
    clock = Clock()
    limit = RateLimit(requests, tokens, clock=lambda: clock.now, sleep=clock.sleep)
    times = []
    for _ in range(17):
        anyio.run(limit.wait, 100)
        times.append(clock.now)
        clock.now += 1.0
    assert max(sum(start <= t < start + 60 for t in times) for start in times) == 5
    assert times[4] == 4.0  # the first five go without waiting


def test_a_call_larger_than_a_minute_goes_alone() -> None:
    clock = Clock()
    limit = RateLimit(100, 500, clock=lambda: clock.now, sleep=clock.sleep)
    for _ in range(2):
        anyio.run(limit.wait, 2000)
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
