"""What is given to public functions and configurations, held against the types that these declare.

A wrong type is refused where it is given and in words, instead of somewhere below with a library's error.
Looked at are plain types (a float is finite, a boolean is no number), tensors with their kind and number of
dimensions, classes, and what tuples and unions are made of. Anything else passes.

>>> @checked
... def twice(n: int) -> int:
...     return 2 * n
>>> twice(2.5)
Traceback (most recent call last):
sanity.errors.BadInputError: twice was given n=2.5 (float): wanted is a whole number
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from jaxtyping import jaxtyped

from sanity.errors import BadInputError, reason_of

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Range:
    """Ends of a range, both of which belong to it: `Annotated[int, Range(1)]`."""

    lowest: float
    highest: float = math.inf


Seed = Annotated[int, Range(0, 2**64 - 1)]
"""What random number generators take."""
Count = Annotated[int, Range(1)]

_PLAIN = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False"}
_MANY = (collections.abc.Sequence, collections.abc.Iterable)
_KINDS = {"Int": "whole numbers", "Float": "floating-point numbers", "Bool": "true or false"}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments of wrong types with a `BadInputError` that names them."""
    signature = inspect.signature(function)
    hints = functools.cache(lambda: _hints(function))

    @functools.wraps(function)
    def refusing(*given: P.args, **named: P.kwargs) -> R:
        try:
            arguments = signature.bind(*given, **named).arguments
        except TypeError:
            return function(*given, **named)  # which says what is missing, or too much
        _require(function.__qualname__.removesuffix(".__init__"), arguments, hints())
        return function(*given, **named)

    return refusing


class CheckedDataclass:
    """A dataclass whose fields are looked at before anything is done with them, as `Arm` is."""

    if not TYPE_CHECKING:  # static checkers read the dataclass

        def __new__(cls, *given: Any, **named: Any) -> Any:
            """The dataclass, if its arguments are what its fields declare."""
            if dataclasses.is_dataclass(cls):
                _require(cls.__name__, dict(zip(_fields(cls), given, strict=False)) | named, _hints_of(cls))
            return super().__new__(cls)


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    """Names of the fields of a dataclass, in the order in which it takes them."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.init)


@functools.cache
def _hints_of(kind: type) -> dict[str, Any]:
    return {name: hint for name, hint in _hints(kind).items() if name in _fields(kind)}


def _hints(of: Any) -> dict[str, Any]:
    try:
        return get_type_hints(of, include_extras=True)
    except NameError:  # annotations of a class or function made inside another one
        return {}


def _require(owner: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in hints and not fits(value, hints[name]):
            raise BadInputError(
                f"{owner} was given {name}={_described(value)}: wanted is {_words(hints[name])}"
            )


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, as far as that can be seen."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or hint is None or hint is type(None):
        return value is None or hint is Any
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is Annotated:
        ranges = [one for one in parts[1:] if isinstance(one, Range)]
        return fits(value, parts[0]) and all(one.lowest <= value <= one.highest for one in ranges)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple:
        each = [parts[0]] * len(value) if isinstance(value, tuple) and parts[1:] == (...,) else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(fits, value, each))
    if origin in _MANY and isinstance(value, list | tuple):
        return all(fits(item, parts[0]) for item in value)
    if origin in _MANY and (isinstance(value, str) or hasattr(value, "dtype")):
        return False
    kind = hint if origin is None else origin
    try:
        if hasattr(hint, "dim_str"):
            with jaxtyped("context"):  # the caller's names of dimensions are its own
                return isinstance(value, kind)
        return isinstance(value, kind)
    except TypeError:  # not a class that can be asked
        return True


def usable_device(given: Any) -> Any:
    """The `torch.device` that is meant; `BadInputError` where this machine has none such."""
    import torch

    try:
        device = torch.device(given)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        there = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise BadInputError(
            f"there is no device {given!r} on this machine ({reason_of(error)}): choose {there}"
        ) from error
    return device


def _words(hint: Any) -> str:
    """A type as a reader sees it."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ends = " ".join(_ends(one) for one in parts[1:] if isinstance(one, Range))
        return f"{_words(parts[0])} {ends}".strip()
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in parts)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in (tuple, *_MANY):
        many = " or ".join(_words(part) for part in parts if part is not ...)
        return f"a {'tuple' if origin is tuple else 'list'} of {many}"
    if hasattr(hint, "dim_str"):  # a tensor of jaxtyping
        kind = _KINDS.get(hint.__name__.partition("[")[0], "numbers")
        return f"a {hint.array_type.__name__} of {kind} [{', '.join(hint.dim_str.split())}]"
    if hint in (None, type(None)):
        return "None"
    return _PLAIN.get(hint) or str(hint if parts else getattr(hint, "__name__", hint))


def _ends(within: Range) -> str:
    return (
        f"of at least {within.lowest}"
        if within.highest == math.inf
        else f"from {within.lowest} to {within.highest}"
    )


def _described(value: Any) -> str:
    """A value as it was given, in short, and its type."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        own = type(value)
        return f"a {own.__module__.partition('.')[0]} {own.__name__} of {value.dtype} {list(value.shape)}"
    text = " ".join(repr(value).split())
    return f"{text if len(text) < 60 else text[:56] + ' ...'} ({type(value).__name__})"
