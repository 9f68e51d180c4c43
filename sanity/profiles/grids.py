"""Grids: which arms are trained on what, with which budget, and by which evals they are scored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from sanity.baselines import Iso
from sanity.errors import BadInputError
from sanity.models import Architecture, Arm, Constraint, Init, Objective, Training, objectives
from sanity.profiles.entry import Entry, Names, NamesOrNone, Positive, Rates, RunShares, Seeds, Size, Sizes
from sanity.sources import Budget

assert objectives  # importing them makes their names known


class GridBlock(Entry):
    """All combinations of what is listed; everything may be one value or several.

    An arm is spelled `constraint` or `constraint/init`, such as `soft_frozen_decoder(cosine=0.6)/cov`.
    """

    sources: Names
    scored_on: str = ""
    """Another source on which the evals work; empty: that on which the arm was trained."""
    architectures: Names
    l0: Sizes
    d_sae: Sizes
    arms: Names = ("trained",)
    objectives: Names = ("plain",)
    seeds: Seeds = (0,)
    learning_rates: Rates
    batch_size: Size
    steps: Positive
    at: RunShares = (1.0,)
    """After which shares of the steps arms are taken and scored; 1 is their end."""
    training: dict[str, Any] = Field(default_factory=dict)
    """What differs from the usual hyper-parameters."""
    evals: NamesOrNone = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> GridBlock:
        for l0, d_sae in itertools.product(self.l0, self.d_sae):
            if l0 > d_sae:
                raise ValueError(f"an L0 of {l0} does not fit into d_sae {d_sae}")
        try:
            list(self.every_arm())
            Training(**self.training)
        except (BadInputError, TypeError) as error:
            raise ValueError(str(error)) from error
        return self

    def every_arm(self) -> Iterator[Arm]:
        """All arms, seeds innermost."""
        for architecture, l0, d_sae, rate, arm, objective, seed in itertools.product(
            self.architectures,
            self.l0,
            self.d_sae,
            self.learning_rates,
            self.arms,
            self.objectives,
            self.seeds,
        ):
            constraint, init = named_arm(arm)
            yield Arm(
                Architecture.class_named(architecture).with_l0(l0),
                d_sae,
                constraint,
                init,
                seed,
                rate,
                Objective.named(objective),
            )

    def budget(self, precision: Literal["float32", "bf16"]) -> Budget:
        """Steps, batch and hyper-parameters."""
        return Budget(self.steps, self.batch_size, Training(**self.training), precision)


def named_arm(spelled: str) -> tuple[Constraint, Init]:
    """What `constraint` or `constraint/init` spells.

    >>> [one.name for one in named_arm("trained")]
    ['trained', 'iso']
    """
    constraint, slash, init = spelled.partition("/")
    return Constraint.named(constraint), Init.named(init) if slash else Iso()


def inherited(grids: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Grids as lists of blocks, with what `like: NAME` takes over from another grid's first block.

    Raises `BadInputError` for a name that is not there, grids that are like each other, and what is no block.
    """
    blocks = {name: list(grid) if isinstance(grid, list | tuple) else [grid] for name, grid in grids.items()}

    def resolved(block: Any, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        if not isinstance(block, Mapping):
            raise BadInputError(
                f"a grid is a block or a list of blocks, and a block is a mapping, not {block!r}"
            )
        if "like" not in block:
            return dict(block)
        name = block["like"]
        if not isinstance(name, str) or not blocks.get(name):
            raise BadInputError(
                f"a grid is like {name!r}, which is not there; there are: {', '.join(blocks)}"
            )
        if name in seen:
            raise BadInputError(f"grids are like each other: {' -> '.join((*seen, name))}")
        base = resolved(blocks[name][0], (*seen, name))
        return {**base, **{key: value for key, value in block.items() if key != "like"}}

    return {name: [resolved(block) for block in grid] for name, grid in blocks.items()}
