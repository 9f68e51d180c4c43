"""What every entry of a profile has in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
Numbers = Annotated[tuple[Positive, ...], BeforeValidator(_several)]
Rates = Annotated[tuple[Rate, ...], BeforeValidator(_several)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(_several)]
Seeds = Annotated[tuple[int, ...], BeforeValidator(_several)]
"""One value or a list of them."""


class Entry(BaseModel):
    """Frozen, and refuses names that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
