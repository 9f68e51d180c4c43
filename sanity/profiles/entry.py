"""What every entry of a profile has in common."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Size = Annotated[int, Field(gt=0, le=10**7)]
"""Of a dictionary, a batch, a window."""
Positive = Annotated[int, Field(gt=0, le=10**13)]
"""Of tokens and steps."""
Rate = Annotated[float, Field(gt=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
"""A name that is safe as a folder's, in a shell and on a page."""

T = TypeVar("T")


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _different(values: tuple[T, ...]) -> tuple[T, ...]:
    if twice := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ValueError(f"{twice[0]!r} is named twice")
    return values


_List = (BeforeValidator(_several), AfterValidator(_different))
Names = Annotated[tuple[str, ...], *_List, Field(min_length=1)]
Sizes = Annotated[tuple[Size, ...], *_List, Field(min_length=1)]
Rates = Annotated[tuple[Rate, ...], *_List, Field(min_length=1)]
RunShares = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], *_List, Field(min_length=1)]
Seeds = Annotated[tuple[Seed, ...], *_List, Field(min_length=1)]
"""One value or a list of them, each once."""
NamesOrNone = Annotated[tuple[str, ...], *_List]


class Entry(BaseModel):
    """Frozen, and refuses names that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
