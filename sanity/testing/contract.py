"""What all checks share."""

from __future__ import annotations

import dataclasses

from sanity.data import SyntheticSpec
from sanity.engine.config import canonical_json
from sanity.engine.naming import FamilyMember
from sanity.errors import SanityError
from sanity.sources import World

SMALL_WORLD = World(SyntheticSpec(d_in=12, n_features=32, expected_l0=2.0), held_out=512)
"""On which parts are tried."""


class ContractError(SanityError):
    """Something does not do what its protocol promises."""


def require(holds: bool, what: str) -> None:
    """Raise `ContractError` with `what` should be so, where it does not hold."""
    if not holds:
        raise ContractError(what)


def check_name(thing: FamilyMember) -> None:
    """It is a frozen dataclass, found again by its spelling, and has a canonical form for keys."""
    kind = type(thing)
    where = f"{kind.__module__}.{kind.__qualname__}"
    require(dataclasses.is_dataclass(thing), f"{where} must be a dataclass")
    params = getattr(kind, "__dataclass_params__", None)
    require(bool(params and params.frozen), f"{where} must be a frozen dataclass: it is part of keys")
    require(bool(thing.name), f"{where} needs a class attribute `name`")
    require(kind.known.get(thing.name) is kind, f"{where} is not the {kind.family} known as {thing.name!r}")
    require(bool(canonical_json(thing)), f"{where} has no canonical form")
