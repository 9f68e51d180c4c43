"""Frozen configurations as canonical JSON: the one spelling from which every key is hashed.

A configuration is a frozen dataclass whose fields are JSON scalars, tuples, mappings, or other such
dataclasses. Its canonical form names the class under `"kind"`, so that `TopK(k=32)` and
`BatchTopK(k=32)` never share a key. A class that is not part of this package also names its `version`, or
else a hash of its source: a definition that was changed in a notebook is another configuration.

A class that is given another name declares the old one as `known_as`, and its results are still found.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from sanity.errors import BadInputError

R = TypeVar("R")

STATED_IF_CHANGED = {"stated": "if changed"}
"""Metadata of a field that came later: at its default it is no part of the canonical form, and keys stay."""

Json = Any
"""Plain JSON data (a recursive alias would not survive run-time type checks)."""


def _once_per_object(function: Callable[[Any], R]) -> Callable[[Any], R]:
    """The function, which remembers what it gave for a frozen dataclass as long as that object lives.

    The thousands of cells of a plan share the texts, worlds and evals that their configurations consist of.
    """
    known: dict[int, tuple[weakref.ref[Any], R]] = {}

    @functools.wraps(function)
    def asked(value: Any) -> R:
        if not _is_frozen(value.__class__):
            return function(value)
        name = id(value)
        there = known.get(name)
        if there is not None and there[0]() is value:
            return there[1]
        found = function(value)
        known[name] = weakref.ref(value, lambda _: known.pop(name, None)), found
        return found

    return asked


@functools.cache
def _is_frozen(kind: type) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen and kind.__weakrefoffset__ > 0


@functools.cache
def _fields_of(kind: type) -> tuple[dataclasses.Field[Any], ...] | None:
    """Of a dataclass; None for any other class."""
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else None


@_once_per_object
def to_json(value: Any) -> Any:
    """`value` as plain JSON data; dataclasses become mappings with their class name under `"kind"`.

    Raises `BadInputError` for anything that has no canonical form (NaN, sets, arrays, objects).

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float = 1.0
    >>> to_json(Point())
    {'kind': 'Point', 'x': 1.0}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadInputError(f"a configuration holds {value}: only finite numbers have a key")
        return value
    if (fields := _fields_of(value.__class__)) is not None:
        stated = {field.name: getattr(value, field.name) for field in fields if _stated(field, value)}
        spelled = {name: to_json(item) for name, item in stated.items()}
        return {"kind": _name_of(value.__class__), **definition_of(value.__class__), **spelled}
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise BadInputError(f"a configuration's mapping needs names as keys, not {list(value)}")
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    raise BadInputError(
        f"a configuration holds {value!r} ({type(value).__name__}), which has no JSON form: "
        "use numbers, strings, tuples, mappings or frozen dataclasses"
    )


def _stated(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field of a configuration is part of its canonical form."""
    return field.metadata != STATED_IF_CHANGED or getattr(value, field.name) != field.default


def _name_of(kind: type) -> str:
    """Of a class, in keys: its own `known_as`, never that of a base, which is another configuration."""
    return str(vars(kind).get("known_as", kind.__name__))


def is_ours(kind: type) -> bool:
    """Whether a class is part of this package, so that every process can import it."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


@functools.cache
def definition_of(kind: type) -> dict[str, str]:
    """What a class of somebody else's adds to a key: its own `version`, else a hash of its source."""
    if is_ours(kind):
        return {}
    if "version" in vars(kind):
        return {"definition": f"version {vars(kind)['version']}"}
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError) as error:
        raise BadInputError(
            f"the source of {kind.__qualname__} is not to be found, so its results could not be told from "
            'those of another definition: give it a class attribute such as version = "1"'
        ) from error
    return {"definition": hashlib.sha256(source.encode()).hexdigest()[:12]}


@_once_per_object
def all_ours(value: Any) -> bool:
    """Whether every dataclass in a configuration is part of this package, and none stands for an object that
    is `only_here`, in this process."""
    known = is_ours(type(value)) and not getattr(type(value), "only_here", False)
    return (known or _fields_of(value.__class__) is None) and all(map(all_ours, parts(value)))


@_once_per_object
def card_of(value: Any) -> str | None:
    """The graphics card that a configuration, or anything in it, names as its `device`; the first of them."""
    named = str(getattr(value, "device", ""))
    return named if named.startswith("cuda") else next(filter(None, map(card_of, parts(value))), None)


def parts(value: Any) -> Iterable[Any]:
    """What a configuration directly consists of."""
    if (fields := _fields_of(value.__class__)) is not None:
        return [getattr(value, field.name) for field in fields]
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, tuple | list) else ()


def canonical_json(value: Any) -> str:
    """`value` as JSON text with sorted names and no spaces: equal configurations, equal text."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """The first 20 hex digits of the SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:20]
