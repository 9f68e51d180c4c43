"""What every entry of a profile has in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
ArchitectureName = Literal["relu", "topk", "batchtopk", "jumprelu", "matryoshka"]
ConstraintName = Literal[
    "trained", "frozen_decoder", "soft_frozen_decoder", "frozen_encoder", "frozen_both", "untrained"
]
InitName = Literal["iso", "cov"]


class Entry(BaseModel):
    """Frozen, and refuses names that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArmNames(Entry):
    """One arm of a grid: what may move, and where it starts."""

    constraint: ConstraintName
    init: InitName = "iso"


class World(Entry):
    """A synthetic world with known features."""

    probabilities: Literal["constant", "variable"]
    d_in: Positive = 100
    n_features: Positive = 3200
    expected_l0: Annotated[float, Field(gt=0)] = 20.0
    log10_low: float = -5.5
    log10_high: float = -1.2
