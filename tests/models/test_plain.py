"""The plain autoencoder by itself; that the fast way agrees with it is tested where the fast way is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch
from typing_extensions import override

from sanity.errors import BadInputError
from sanity.models import Architecture, Matryoshka, TopK, check_sae
from sanity.models.arm import gaussian_matrix
from sanity.models.plain import PlainAutoencoder
from sanity.models.selection import PerRow, Rule
from sanity.models.sparsity import Threshold

W0 = torch.nn.functional.normalize(gaussian_matrix(0, 24, 8), dim=1)


@dataclass(frozen=True)
class Largest(Architecture):
    """Somebody's own: the one largest latent. Without a name, so that no other test finds it."""

    @property
    @override
    def l0(self) -> float:
        return 1.0

    @override
    def training_rule(self, threshold: Threshold) -> Rule:
        return PerRow(1)


@dataclass(frozen=True)
class LargestAbove(Largest):
    """Somebody's own with a threshold, of which the plain file cannot know how it learns."""

    threshold: ClassVar[Literal["none", "averaged", "learned"]] = "learned"


def test_it_can_be_evaluated_like_any_sae(architecture: Architecture) -> None:
    check_sae(PlainAutoencoder(architecture, W0).eval())


def test_descent_lowers_the_loss_and_rows_only_turn(architecture: Architecture, stream: Any) -> None:
    plain = PlainAutoencoder(architecture, W0)
    x = stream.batch(0)
    before = plain.loss(x).item()
    for _ in range(5):
        plain.zero_grad()
        plain.loss(x).backward()  # type: ignore[no-untyped-call]
        plain.only_turn()
        assert plain.W_dec.grad is not None
        assert float((plain.W_dec.grad * plain.W_dec).sum(1).abs().max()) < 1e-5
        with torch.no_grad():
            for parameter in plain.parameters():
                if parameter.grad is not None:
                    parameter -= 0.01 * parameter.grad
        plain.make_unit()
    assert torch.allclose(plain.W_dec.norm(dim=1), torch.ones(24), atol=1e-6)
    assert plain.loss(x).item() < 0.95 * before


def test_a_frozen_decoder_has_no_gradient_to_turn(stream: Any) -> None:
    plain = PlainAutoencoder(TopK(3), W0)
    plain.W_dec.requires_grad_(False)
    plain.loss(stream.batch(0)).backward()  # type: ignore[no-untyped-call]
    plain.only_turn()
    assert plain.W_dec.grad is None
    assert plain.W_enc.grad is not None


def test_nested_losses_add_up(stream: Any) -> None:
    nested, plain = (PlainAutoencoder(Matryoshka(3, fractions=f), W0) for f in ((0.5, 0.5), (1.0,)))
    x = stream.batch(0)
    z = plain.encode(x)
    half = (z[:, :12] @ W0[:12] - x).square().sum(1).mean()
    assert nested.loss(x).item() == pytest.approx((plain.loss(x) + half).item(), rel=1e-6)


def test_evaluation_looks_at_one_sample_at_a_time(architecture: Architecture, stream: Any) -> None:
    plain = PlainAutoencoder(architecture, W0)
    x = stream.batch(0)
    plain.encode(x)  # where thresholds are averaged, this is where they come from
    plain.eval()
    assert torch.allclose(plain.encode(x)[:5], plain.encode(x[:5]), atol=1e-6)


def test_an_architecture_of_ones_own_selects_by_its_rule(stream: Any) -> None:
    z = PlainAutoencoder(Largest(), W0).encode(stream.batch(0))
    assert ((z > 0).sum(1) == 1).all()
    with pytest.raises(BadInputError, match="add a case"):
        PlainAutoencoder(LargestAbove(), W0).encode(stream.batch(0))
