"""The contracts hold for everything that is known, and notice what does not keep them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity import sources
from sanity.evals import Candidate, Eval, EvalResult, Metric, Score, Setting
from sanity.models import Architecture, Constraint, Init
from sanity.sources import Noise
from sanity.testing import (
    ContractError,
    check_architecture,
    check_constraint,
    check_eval,
    check_init,
    check_source,
)
from sanity.testing.contract import SMALL_WORLD

WORLD_EVALS = ("reconstruction", "directions", "recovery")


def ours(family: type[Any]) -> list[str]:
    return sorted(name for name, kind in family.known.items() if kind.__module__.startswith("sanity."))


@pytest.mark.parametrize("name", ours(Architecture))
def test_every_architecture_keeps_its_contract(name: str) -> None:
    check_architecture(Architecture.class_named(name).with_l0(3))


@pytest.mark.parametrize(
    "spelled",
    [*(name for name in ours(Constraint) if name != "skip_only"), "soft_frozen_decoder(cosine=0.3)"],
)
def test_every_constraint_keeps_its_contract(spelled: str) -> None:
    check_constraint(Constraint.named(spelled))


@pytest.mark.parametrize("name", [name for name in ours(Init) if name not in ("truth", "signed_basis")])
def test_every_init_keeps_its_contract(name: str) -> None:
    check_init(Init.named(name))


@pytest.mark.parametrize("source", [SMALL_WORLD, Noise(SMALL_WORLD, held_out=512)])
def test_sources_keep_their_contract(source: sources.Source) -> None:
    check_source(source)


@pytest.mark.parametrize("name", WORLD_EVALS)
def test_evals_of_worlds_keep_their_contract(name: str) -> None:
    scores = check_eval(Eval.named(name))
    assert set(Eval.class_named(name).metrics) & set(scores["metric"])


@dataclass(frozen=True)
class Loosened(Constraint):
    """Says that the decoder stays, and lets it learn."""

    name: ClassVar[str] = "loosened"

    @override
    def project(self, W_dec: Float[Tensor, "d_sae d_in"], anchor: Float[Tensor, "d_sae d_in"]) -> None:
        W_dec.mul_(1.01)


@dataclass(frozen=True)
class Lopsided(Init):
    """Gives rows that are no unit vectors."""

    name: ClassVar[str] = "lopsided"

    @override
    def directions(self, gaussian: Tensor, covariance: Any) -> Tensor:
        return torch.full_like(gaussian, torch.nan)


@dataclass(frozen=True)
class Moody(Eval):
    """Scores by when it is asked."""

    name: ClassVar[str] = "moody"
    version: ClassVar[int] = 1
    metrics: ClassVar = {"mood": Metric("mood", "higher", 1.0, "bad", "good")}

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        for i, _ in enumerate(candidates):
            yield EvalResult([Score("mood", 0.1 * (len(candidates) + i), 0.0, 1.0, True, 1, "day", "1")])


def test_what_breaks_a_contract_is_noticed() -> None:
    with pytest.raises(ContractError, match="moves decoder rows away"):
        check_constraint(Loosened())
    with pytest.raises(Exception, match="finite"):
        check_init(Lopsided())
    with pytest.raises(AssertionError):
        check_eval(Moody())
