"""Where a judge is reached and what it may cost: from the environment, and never part of a result's key.

| variable | meaning | default |
|---|---|---|
| SANITY_JUDGE_URL | base address of an OpenAI-compatible endpoint, up to /v1 | none |
| SANITY_JUDGE_MODEL | names of the models that judge, separated by commas | none |
| SANITY_JUDGE_KEY | the key; OPENAI_API_KEY is used for api.openai.com alone | none |
| SANITY_JUDGE_BUDGET_TOKENS | most tokens that all runs together may use | 2,000,000 |
| SANITY_JUDGE_BUDGET_MONEY | most money that all runs together may cost | no limit |
| SANITY_JUDGE_PRICE_PROMPT, ..._ANSWER | price per million tokens | 0 |
| SANITY_JUDGE_REQUESTS_PER_MINUTE, SANITY_JUDGE_TOKENS_PER_MINUTE | rate limits | 60; 100,000 |
| SANITY_JUDGE_CONCURRENCY | calls at the same time | 4 |
| SANITY_JUDGE_TIMEOUT | seconds to wait for an answer | 60 |
| SANITY_JUDGE_ATTEMPTS | tries per call | 5 |
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sanity.assets import cache_folder
from sanity.errors import BadInputError
from sanity.evals.judging.asking import JudgeSpec
from sanity.evals.judging.budget import Prices
from sanity.subject import weights_of

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Key:
    """A secret that does not show itself in a print, a log, a traceback or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself: for the header of a request, and nothing else."""
        return self._value

    def hidden_in(self, text: str) -> str:
        """`text` without the key, should a server have repeated it."""
        return text.replace(self._value, "[key]")

    def __repr__(self) -> str:
        return "Key(…)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint and how it may be used."""

    url: str
    key: Key | None = None
    prices: Prices = field(default_factory=Prices)
    budget_tokens: int = 2_000_000
    budget_money: float | None = None
    requests_per_minute: int = 60
    tokens_per_minute: int = 100_000
    concurrency: int = 4
    timeout: float = 60.0
    attempts: int = 5
    folder: Path = field(default_factory=lambda: cache_folder() / "judge")
    """Where answers and the journal of what was spent are kept."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInputError(
                "SANITY_JUDGE_URL is no address of an endpoint: it looks like https://api.openai.com/v1"
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise BadInputError(
                f"SANITY_JUDGE_URL (host {parts.hostname}) holds a user, a password or a query: give the "
                "bare address, and the key in SANITY_JUDGE_KEY"
            )
        if self.key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise BadInputError(
                f"the key would travel unencrypted to {parts.hostname}: use https, or unset SANITY_JUDGE_KEY"
            )

    @property
    def host(self) -> str:
        """The host alone, for messages."""
        return urlsplit(self.url).hostname or ""

    @property
    def on_this_machine(self) -> bool:
        """Whether the endpoint is a server on this machine."""
        return self.host in _LOOPBACK


def endpoint_from(environment: Mapping[str, str] | None = None) -> Endpoint | None:
    """The endpoint that the environment names, or `None` where SANITY_JUDGE_URL is not set.

    Raises `BadInputError` naming the variable that cannot be used.
    """
    given = os.environ if environment is None else environment
    url = given.get("SANITY_JUDGE_URL", "").strip()
    if not url:
        return None
    money = _number(given, "BUDGET_MONEY", math.inf)
    return Endpoint(
        url=url.rstrip("/"),
        key=_key(given, url),
        prices=Prices(_number(given, "PRICE_PROMPT", 0.0), _number(given, "PRICE_ANSWER", 0.0)),
        budget_tokens=_count(given, "BUDGET_TOKENS", 2_000_000),
        budget_money=None if math.isinf(money) else money,
        requests_per_minute=_count(given, "REQUESTS_PER_MINUTE", 60),
        tokens_per_minute=_count(given, "TOKENS_PER_MINUTE", 100_000),
        concurrency=_count(given, "CONCURRENCY", 4),
        timeout=_number(given, "TIMEOUT", 60.0),
        attempts=_count(given, "ATTEMPTS", 5),
    )


def model_names(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The models that SANITY_JUDGE_MODEL names; the first is the one whose scores claims are judged by."""
    given = os.environ if environment is None else environment
    return tuple(name.strip() for name in given.get("SANITY_JUDGE_MODEL", "").split(",") if name.strip())


def judges_called(model: str, *, texts_per_question: int, seed: int) -> tuple[JudgeSpec, ...]:
    """The judge on this machine called `model`; with an empty name those that the environment names.

    Raises `BadInputError` for an endpoint without a model, and for a model that is not to be found.
    """

    def local(name: str) -> JudgeSpec:
        return JudgeSpec("local", name, weights_of(name), 1, seed)

    if model:
        return (local(model),)
    remote, names = endpoint_from() is not None, model_names()
    if remote and not names:
        raise BadInputError(
            "SANITY_JUDGE_URL is set and SANITY_JUDGE_MODEL is not: name the model that shall judge"
        )
    return tuple(
        JudgeSpec("endpoint", name, None, texts_per_question, seed) if remote else local(name)
        for name in names
    )


def _key(given: Mapping[str, str], url: str) -> Key | None:
    # OpenAI's key goes to OpenAI: another host would be shown a key that is not its own.
    own = given.get("SANITY_JUDGE_KEY", "").strip()
    openai = given.get("OPENAI_API_KEY", "").strip() if urlsplit(url).hostname == "api.openai.com" else ""
    value = own or openai
    return Key(value) if value else None


def _number(given: Mapping[str, str], name: str, default: float) -> float:
    text = given.get(f"SANITY_JUDGE_{name}", "").strip().replace("_", "").replace(",", "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise BadInputError(f"SANITY_JUDGE_{name} is {text!r}: give a number of 0 or more")
    return value


def _count(given: Mapping[str, str], name: str, default: int) -> int:
    value = _number(given, name, float(default))
    if not value >= 1 or value != int(value):
        raise BadInputError(f"SANITY_JUDGE_{name} is {value:g}: give a whole number of 1 or more")
    return int(value)
