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
| SANITY_JUDGE_TIMEOUT | seconds that a call may take, from look-up to last byte | 60 |
| SANITY_JUDGE_ATTEMPTS | tries per call | 5 |
| SANITY_JUDGE_UNENCRYPTED_HOST | a host of your own network to which the key may go over http | none |
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import psutil
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationError,
    field_validator,
    model_validator,
)

from sanity.assets import asset, cache_folder
from sanity.errors import BadInputError
from sanity.evals.judging.asking import JudgeSpec
from sanity.evals.judging.budget import Prices
from sanity.evals.judging.matching import VERSION as MATCHER_VERSION
from sanity.subject import weights_of

MATCHER = "minilm"
"""The bundled text matcher, by the asset of its sentence encoder."""

_OPENAI = "api.openai.com"
_SECRET = {"url", "key"}
"""What no message repeats: keys are pasted into addresses, too."""


class Key:
    """A secret that does not show itself in a print, a log, a traceback or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value.isascii() or not value.isprintable() or " " in value or not value:
            raise BadInputError("SANITY_JUDGE_KEY holds characters that no key has: copy it again")
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


def _digits(value: Any) -> Any:
    return value.replace(",", "").strip() if isinstance(value, str) else value


Limit = Annotated[int, BeforeValidator(_digits), Field(ge=1, le=10**12)]
Price = Annotated[float, BeforeValidator(_digits), Field(ge=0, le=10**6)]


class Endpoint(BaseModel):
    """An OpenAI-compatible endpoint and how it may be used.

    Raises `BadInputError` naming the variable that cannot be used.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    url: str
    key: Key | None = None
    price_prompt: Price = 0.0
    price_answer: Price = 0.0
    budget_tokens: Limit = 2_000_000
    budget_money: Annotated[float, BeforeValidator(_digits), Field(gt=0)] | None = None
    requests_per_minute: Limit = 60
    tokens_per_minute: Limit = 100_000
    concurrency: Annotated[Limit, Field(le=1000)] = 4
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    attempts: Annotated[Limit, Field(le=100)] = 5
    unencrypted_host: str = ""
    folder: Path = Field(default_factory=lambda: cache_folder() / "judge")
    """Where answers and the journal of what was spent are kept."""

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise BadInputError("; ".join(map(_fault, error.errors(include_url=False)))) from None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, given: str) -> str:
        try:
            url = HttpUrl(given)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Input should be a valid URL, ")
            raise ValueError(
                f"is no address of an endpoint ({why}): it looks like https://{_OPENAI}/v1"
            ) from None
        if url.username or url.password or url.query or url.fragment:
            raise ValueError(
                f"(host {url.host}) holds a user, a password or a query: give the bare address, and the key "
                "in SANITY_JUDGE_KEY"
            )
        return str(url).rstrip("/")

    @model_validator(mode="after")
    def _key_is_safe(self) -> Endpoint:
        exposed = self.url.startswith("http:") and not self.on_this_machine
        if self.key and exposed and self.host != self.unencrypted_host:
            raise ValueError(
                f"the key would travel unencrypted to {self.host}: use https, unset SANITY_JUDGE_KEY, or, in "
                f"a network of your own, set SANITY_JUDGE_UNENCRYPTED_HOST={self.host}"
            )
        return self

    @property
    def prices(self) -> Prices:
        """Per million tokens."""
        return Prices(self.price_prompt, self.price_answer)

    @property
    def host(self) -> str:
        """The host alone, for messages."""
        return urlsplit(self.url).hostname or ""

    @property
    def on_this_machine(self) -> bool:
        """Whether the endpoint is a server on this machine: by loopback, its own addresses or its name."""
        try:
            address = ip_address(self.host)
        except ValueError:
            # Other names are not looked up: what they mean now and what they mean later may differ.
            return self.host.endswith(".localhost") or self.host in (
                "localhost",
                socket.gethostname().lower(),
            )
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        address = mapped or address
        cards = {card.address.partition("%")[0] for some in psutil.net_if_addrs().values() for card in some}
        return address.is_loopback or address.is_unspecified or str(address) in cards


def _fault(fault: Mapping[str, Any]) -> str:
    """One fault of an endpoint, in words that name the variable and no secret."""
    said = str(fault["msg"]).removeprefix("Value error, ")
    name = str(fault["loc"][0]) if fault["loc"] else ""
    if not name:
        return said
    if name in _SECRET:
        return f"SANITY_JUDGE_{name.upper()} {said}"
    return f"SANITY_JUDGE_{name.upper()} is {fault['input']!r}: {said[:1].lower()}{said[1:]}"


def endpoint_from(environment: Mapping[str, str] | None = None) -> Endpoint | None:
    """The endpoint that the environment names, or `None` where SANITY_JUDGE_URL is not set.

    Raises `BadInputError` naming the variable that cannot be used.
    """
    environment = os.environ if environment is None else environment
    names = {name: f"SANITY_JUDGE_{name.upper()}" for name in Endpoint.model_fields if name != "folder"}
    given: dict[str, Any] = {
        name: value for name, variable in names.items() if (value := environment.get(variable, "").strip())
    }
    if "url" not in given:
        return None
    # OpenAI's key goes to OpenAI: another host would be shown a key that is not its own.
    if "key" not in given and given["url"].startswith(f"https://{_OPENAI}/"):
        given["key"] = environment.get("OPENAI_API_KEY", "").strip()
    given["key"] = Key(given["key"]) if given.get("key") else None
    return Endpoint(**given)


def model_names(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The models that SANITY_JUDGE_MODEL names; the first is the one whose scores claims are judged by."""
    given = (os.environ if environment is None else environment).get("SANITY_JUDGE_MODEL", "")
    if not given.isprintable() or len(given) > 1000:
        raise BadInputError(
            f"SANITY_JUDGE_MODEL is {given[:100]!a}: give names of models, with commas between"
        )
    return tuple(name.strip() for name in given.split(",") if name.strip())


def judges_called(model: str, *, texts_per_question: int, seed: int) -> tuple[JudgeSpec, ...]:
    """The judge on this machine called `model`; with an empty name those that the environment names.

    `MATCHER` is the judge that compares texts; any other name on this machine is a language model.

    Raises `BadInputError` for an endpoint without a model, and for a model that is not to be found.
    """

    def local(name: str) -> JudgeSpec:
        if name == MATCHER:
            return JudgeSpec("matcher", name, asset(name).version, 0, seed, MATCHER_VERSION)
        return JudgeSpec("local", name, weights_of(name), 1, seed)

    if model:
        return (local(model),)
    remote, names = endpoint_from() is not None, model_names()
    if remote and not names:
        raise BadInputError(
            "SANITY_JUDGE_URL is set and SANITY_JUDGE_MODEL is not: name the model that is to judge"
        )
    return tuple(
        JudgeSpec("endpoint", name, None, texts_per_question, seed) if remote else local(name)
        for name in names
    )
