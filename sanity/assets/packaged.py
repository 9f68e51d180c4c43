"""Lists that come with the package: YAML files next to the code that reads them."""

from __future__ import annotations

from importlib import resources
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from sanity.engine.yamlfile import parse_yaml, validated


class PackagedFile(BaseModel):
    """What such a file holds: the fields of a subclass, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Form = TypeVar("Form", bound=PackagedFile)


def packaged(file: str, form: type[Form]) -> Form:
    """The content of `sanity/FILE`.

    Raises `BadInputError`, which names the entry, for a field that is missing, unknown or of a wrong type.
    """
    where = f"sanity/{file}"
    return validated(form, parse_yaml((resources.files("sanity") / file).read_bytes(), where), where)
