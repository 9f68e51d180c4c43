"""YAML that people write: decoded, parsed, a mapping, and held against a schema, with one error for each."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from sanity.errors import BadInputError

LARGEST = 4 * 2**20
"""Bytes of a file: a hundred times the largest that the package has."""

Form = TypeVar("Form")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file; `BadInputError` that names the file where there is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInputError(f"{path} is larger than {LARGEST >> 20} MB: it is no settings file")
        return parse_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error


def parse_yaml(raw: bytes | str, where: str) -> dict[str, Any]:
    """The mapping that YAML text is; errors name `where` it stands."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
        value = yaml.load(text, Loader=_OnceLoader)
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{where} is not UTF-8 ({error.reason} at byte {error.start}): convert it"
        ) from error
    except RecursionError as error:
        raise BadInputError(f"{where} is nested too deeply to be read") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise BadInputError(f"{where} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        found = "is empty" if value is None else f"holds a {type(value).__name__}"
        raise BadInputError(f"{where} {found}, and should be a mapping of names to values")
    return value


def validated(form: type[Form], value: Any, where: str, *, context: Mapping[str, Any] | None = None) -> Form:
    """`value` as a model or dataclass; `BadInputError` names `where` it stands and each field at fault.

    `context` is what the form's own validators may ask for.
    """
    try:
        asked: Any = form
        found: Form = _adapter(asked).validate_python(value, context=context)
        return found
    except ValidationError as error:
        raise BadInputError(f"{where} cannot be used: {faults(error)}") from error
    except RecursionError as error:
        raise BadInputError(f"{where} is nested too deeply to be used") from error


@functools.lru_cache(maxsize=256)  # a profile is held against some twenty forms a hundred times
def _adapter(form: Any) -> Any:
    return TypeAdapter(form)


def faults(error: ValidationError) -> str:
    """Every fault with its field, in one line."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'as a whole'}: {one['msg'].removeprefix('Value error, ')}"
        for one in error.errors(include_url=False, include_input=False)
    )


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a field given twice is an error: the plain loader keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | Mapping):
                continue  # refused below, in the library's words
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
