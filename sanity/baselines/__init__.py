"""Baselines by composition: where an arm starts, what may move, and dictionaries wrong on purpose."""

from sanity.baselines.constraints import (
    FrozenBoth,
    FrozenDecoder,
    FrozenEncoder,
    OwnNeurons,
    SkipOnly,
    SoftFrozenBlocks,
    SoftFrozenDecoder,
    Trained,
    Untrained,
    project_to_cone,
)
from sanity.baselines.init import Cov, Iso
from sanity.baselines.nulls import (
    permuted_decoder,
    random_latents,
    random_rotation,
    rotated_decoder,
)
from sanity.engine.naming import import_modules

__all__ = [
    "Cov",
    "FrozenBoth",
    "FrozenDecoder",
    "FrozenEncoder",
    "Iso",
    "OwnNeurons",
    "SkipOnly",
    "SoftFrozenBlocks",
    "SoftFrozenDecoder",
    "Trained",
    "Untrained",
    "permuted_decoder",
    "project_to_cone",
    "random_latents",
    "random_rotation",
    "rotated_decoder",
]

import_modules(__name__)
