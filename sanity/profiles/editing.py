"""Causal editing: which facts, arms and mask sizes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sanity.profiles.entry import ArmNames, Entry, Positive, Rate

Share = Annotated[float, Field(ge=0, le=1)]


class EditedPair(Entry):
    """One attribute that is to change, and those that are to stay."""

    target: str
    keep: Annotated[tuple[str, ...], Field(min_length=1)]


class EditingGrid(Entry):
    """Causal editing: which facts, arms and mask sizes. Without pairs nothing is edited."""

    facts: str = "geonames"
    """"geonames", "hij/ravel", or a folder with RAVEL's data."""
    attributes: tuple[str, ...] = ("country", "continent", "language", "initial", "hemisphere")
    """Those that the subject is asked about."""
    most_entities: Positive = 200
    per_country: Positive = 12
    entity_tokens: Positive = 1
    """Entities of more tokens are left out."""
    templates_tried: Positive = 2
    """Per attribute; the best are fitted on, the next best tested on."""
    templates_fitted: Positive = 1
    templates_tested: Positive = 1
    least_known: Positive = 20
    """Drop templates, and then refuse to edit, with fewer known entities than this in either split."""
    least_range: Share = 0.1
    """No verdict from a pair whose ceiling is not this far above its floor."""
    pairs: tuple[EditedPair, ...] = ()
    arms: tuple[ArmNames, ...] = ()
    seeds: tuple[int, ...] = (0,)
    steps: Positive = 40
    prompts: Positive = 32
    """Per step of a fit, half of them about the target."""
    learning_rate: Rate = 0.1
    l1: Annotated[float, Field(ge=0)] = 0.0
    rotation_rank: Positive = 64
    rotation_steps: Positive = 60
    rotation_learning_rate: Rate = 0.01
    exact: tuple[Literal["raw neurons", "PCA"], ...] = ("raw neurons", "PCA")
    """Exact dictionaries with a mask of their own, for comparison."""
    exact_seeds: tuple[int, ...] = (0,)
    scored_pairs: Positive = 64
    error_seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds on which the error term is kept in a second reading, with masks fitted that way."""
    sizes: tuple[Positive, ...] = (16, 64, 256)
    """Mask sizes of the curve."""
    curve_seeds: tuple[int, ...] = (0, 1, 2)
    grades: tuple[Share, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """How far the ceiling is turned away for the validity gate."""
    grade_seeds: tuple[int, ...] = (1000, 1001, 1002)
    prompts_per_second: Rate = 60.0
    """Through the blocks above the hook, forward, on one thread: what the cost estimate assumes."""
