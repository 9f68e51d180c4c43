"""Lists that come with the package: YAML files next to the code that reads them."""

from __future__ import annotations

from importlib import resources
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sanity.errors import BadInputError


class Packaged(BaseModel):
    """What such a file holds: the fields of a subclass, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Form = TypeVar("Form", bound=Packaged)


def packaged(file: str, form: type[Form]) -> Form:
    """The content of `sanity/FILE`.

    Raises `BadInputError`, which names the entry, for a field that is missing, unknown or of a wrong type.
    """
    try:
        return form.model_validate(yaml.safe_load((resources.files("sanity") / file).read_text("utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise BadInputError(f"sanity/{file} cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadInputError(f"sanity/{file} cannot be used: {lines}") from error
