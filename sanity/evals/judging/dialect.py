"""Which fields a model takes: endpoints differ, and say so in their refusals."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger("sanity")

_LIMIT = "max_tokens"
_OTHER_LIMIT = "max_completion_tokens"
"""The name that newer models of some endpoints want for the limit of an answer's length."""
_OPTIONAL = ("temperature", "seed")
_UNKNOWN = re.compile(r"support|unknown|unrecogni[sz]ed|unexpected|permitted|allowed|deprecated", re.I)
_SAYING = {"error", "message", "msg", "detail", "param", "loc", "code", "title", "errors"}
"""Fields of a refusal that speak; others may repeat the whole request."""


class Dialect:
    """How `judge` (in words) wants to be asked, as far as its refusals have taught."""

    def __init__(self, judge: str) -> None:
        self._judge = judge
        self._limit = _LIMIT
        self._dropped: set[str] = set()

    def spelled(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request with the fields that the model takes, under its names."""
        return {
            self._limit if name == _LIMIT else name: value
            for name, value in request.items()
            if name not in self._dropped
        }

    def learn(self, sent: Mapping[str, Any], refusal: str) -> None:
        """Take in what a refusal says about the request that was `sent`, which may be older than the last."""
        for name in _OPTIONAL:
            if name in sent and re.search(rf"\b{name}\b", refusal) and name not in self._dropped:
                self._dropped.add(name)
                log.warning("%s does not take %s (%s); it is asked without", self._judge, name, refusal[:200])
        named = _OTHER_LIMIT in refusal or (_LIMIT in refusal and _UNKNOWN.search(refusal))
        if _LIMIT in sent and named:
            self._limit = _OTHER_LIMIT


def complaint(body: str) -> str:
    """What a refusal says, in one line: its messages where it is JSON as endpoints send it, else all of it.

    >>> complaint('{"error": {"message": "no", "param": "seed"}, "input": "what was asked"}')
    'no seed'
    """
    try:
        said = " ".join(_spoken(json.loads(body)))
    except (ValueError, RecursionError):
        said = ""
    return "".join(filter(str.isprintable, " ".join((said or body).split())))


def _spoken(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in _SAYING:
                yield from _spoken(item)
    elif isinstance(value, list):
        for item in value:
            yield from _spoken(item)
    elif value is not None:
        yield str(value)
