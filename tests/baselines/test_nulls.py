"""Dictionaries wrong on purpose: they change the decoder as said, and nothing else."""

from __future__ import annotations

import pytest
import torch

from sanity.baselines import (
    permuted_decoder,
    random_latents,
    random_rotation,
    rotated_decoder,
)
from sanity.errors import BadInputError
from sanity.models import Autoencoder, TopK

NULLS = [permuted_decoder, rotated_decoder]


@pytest.fixture
def sae() -> Autoencoder:
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(30, 6, generator=generator), dim=1)
    return Autoencoder(
        W_enc=W_dec.T.contiguous(),
        W_dec=W_dec,
        b_enc=torch.randn(30, generator=generator),
        b_dec=torch.randn(6, generator=generator),
        architecture=TopK(4),
    )


@pytest.mark.parametrize("null", NULLS)
def test_latents_stay_and_reconstructions_break(null: object, sae: Autoencoder) -> None:
    assert callable(null)
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    broken = null(sae, seed=3)
    assert torch.equal(broken.encode(x), sae.encode(x))
    assert torch.allclose(broken.W_dec.norm(dim=1), torch.ones(30), atol=1e-6)
    error, intact = (float((s.reconstruct(x) - x).square().sum()) for s in (broken, sae))
    assert error > 1.2 * intact
    assert torch.equal(null(sae, seed=3).W_dec, broken.W_dec)
    assert not torch.equal(null(sae, seed=4).W_dec, broken.W_dec)


def test_a_permuted_decoder_holds_the_same_rows(sae: Autoencoder) -> None:
    permuted = permuted_decoder(sae, seed=0).W_dec
    similar = permuted @ sae.W_dec.T
    assert torch.allclose(similar.max(dim=1).values, torch.ones(30), atol=1e-6)
    assert sorted(similar.argmax(dim=1).tolist()) == list(range(30))
    assert not torch.equal(permuted, sae.W_dec)


def test_a_rotated_decoder_keeps_its_angles(sae: Autoencoder) -> None:
    rotated = rotated_decoder(sae, seed=0).W_dec
    assert torch.allclose(rotated @ rotated.T, sae.W_dec @ sae.W_dec.T, atol=1e-5)
    assert float((rotated * sae.W_dec).sum(1).abs().mean()) < 0.8


def test_rotations_are_rotations() -> None:
    for d in (2, 3, 8):
        rotation = random_rotation(d, seed=d)
        assert torch.allclose(rotation @ rotation.T, torch.eye(d, dtype=torch.float64), atol=1e-12)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)


def test_rotations_prefer_no_direction() -> None:
    """Every entry of a uniform rotation in 4 dimensions has mean 0 and variance 1/4."""
    drawn = torch.stack([random_rotation(4, seed=seed) for seed in range(400)])
    assert float(drawn.mean(0).abs().max()) < 4 * 0.5 / 20
    assert float((drawn.square().mean(0) - 0.25).abs().max()) < 0.07


def test_random_latents_are_distinct() -> None:
    chosen = random_latents(10, 40, seed=1)
    assert len(set(chosen.tolist())) == 10
    assert chosen.tolist() == sorted(chosen.tolist())
    assert torch.equal(chosen, random_latents(10, 40, seed=1))
    assert not torch.equal(chosen, random_latents(10, 40, seed=2))
    with pytest.raises(BadInputError, match="41 of 40"):
        random_latents(41, 40, seed=1)
