"""Reading a chat completion as servers really send it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from sanity.evals.judging.budget import Usage
from sanity.evals.judging.cache import Answer
from sanity.evals.judging.errors import TryLaterError

_COUNT: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(gt=0, le=10**9)])
_THOUGHT = re.compile(r"\s*<think>.*?(</think>|\Z)", re.S)


def read_json(body: str) -> dict[str, Any]:
    """The JSON object of a reply with status 200; `TryLaterError`, and nothing to pay, for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TryLaterError(f"a reply that is no chat completion ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise TryLaterError(f"a reply that is no chat completion ({type(value).__name__})")
    return value


def error_in(reply: Mapping[str, Any]) -> Any:
    """The error that gateways put into a reply of status 200, of the whole or of its choice; else `None`."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return reply.get("error") or (first.get("error") if isinstance(first, Mapping) else None)


def read_answer(reply: Mapping[str, Any], expected: Usage) -> Answer:
    """The answer in a completion; what it used is taken from `expected` where it gives no usable count."""
    try:
        choice = reply["choices"][0]
        text = _text(choice["message"], str(choice.get("finish_reason")))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TryLaterError(f"a reply that is no chat completion ({type(error).__name__})") from error
    used = reply.get("usage")
    used = used if isinstance(used, Mapping) else {}
    return Answer(
        text,
        model=_plain(reply.get("model")),
        prompt_tokens=_count(used.get("prompt_tokens"), expected.prompt_tokens),
        answer_tokens=_count(used.get("completion_tokens"), expected.answer_tokens),
        finish=_plain(choice.get("finish_reason")),
    )


def _text(message: Mapping[str, Any], finish: str) -> str:
    """What a message says, without what was only thought; empty where it says nothing."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part["text"]) for part in content if part.get("type") in (None, "text"))
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}")
    text = (
        _THOUGHT.sub("", content or "", count=1)
        if (content or "").lstrip().startswith("<think>")
        else content
    )
    # Some servers take a whole answer for thought. Thought that was cut off is none.
    if not text and finish == "stop":
        text = message.get("reasoning_content") or message.get("reasoning")
    return _plain(text) if isinstance(text, str) and text.strip() else ""


def _plain(text: Any) -> str:
    """Text that can be written: JSON may spell halves of characters."""
    return str(text or "").encode("utf-8", "replace").decode()


def _count(given: Any, otherwise: int) -> int:
    """A count that somebody else's program gives: negative, infinite and absurd ones are no counts."""
    try:
        return _COUNT.validate_python(given)
    except ValidationError:
        return otherwise
