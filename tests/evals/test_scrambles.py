"""Corruptions in grades, and scrambles, on dictionaries whose metrics are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.errors import BadInputError
from sanity.evals import explained_variance, recovery
from sanity.evals.alignment import encoder_decoder_cosine
from sanity.evals.feature_recovery import mean_max_cosine
from sanity.evals.reconstruction import reconstruction_scores
from sanity.evals.scrambles import (
    SCRAMBLES,
    MeanMixture,
    mixed_directions,
    repaired_latents,
    replaced_directions,
    silenced_latents,
    tied_autoencoder,
)
from sanity.models import Autoencoder, BatchTopK, JumpReLU, TopK

WORLD = SyntheticWorld.from_spec(SyntheticSpec(d_in=24, n_features=96, expected_l0=3.0))
X = SyntheticStream(WORLD, batch_size=2048, seed=5).batch(3)
LEVELS = st.floats(0, 1)


def oracle(directions: torch.Tensor | None = None) -> Autoencoder:
    return tied_autoencoder(WORLD.features if directions is None else directions, TopK(k=3), X)


def biased(seed: int = 0) -> Autoencoder:
    """An autoencoder whose every part matters."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return Autoencoder(
        normal(24, 96), functional.normalize(normal(96, 24), dim=1), normal(96), 0.1 * normal(24),
        JumpReLU(target_l0=3), threshold=1 + normal(96).abs(),
    )  # fmt: skip


@given(LEVELS, st.integers(0, 99))
def test_mixing_keeps_unit_rows_and_turns_each_as_far_as_the_level_says(level: float, seed: int) -> None:
    mixed = mixed_directions(WORLD.features, level, seed=seed)
    assert torch.allclose(mixed.norm(dim=1), torch.ones(96), atol=1e-5)
    # a random direction has cosine r to the feature, so the mixed one lies where plane geometry puts it
    random = mixed_directions(WORLD.features, 1.0, seed=seed)
    r = (random * WORLD.features).sum(1)
    expected = ((1 - level) + level * r) / ((1 - level) ** 2 + level**2 + 2 * level * (1 - level) * r).sqrt()
    assert torch.allclose((mixed * WORLD.features).sum(1), expected, atol=1e-4)


def test_nothing_is_touched_at_level_zero_and_draws_differ_by_seed() -> None:
    for corrupt in (mixed_directions, replaced_directions):
        assert torch.equal(corrupt(WORLD.features, 0.0, seed=1), WORLD.features)
        full = [corrupt(WORLD.features, 1.0, seed=seed) for seed in (1, 1, 2)]
        assert torch.equal(full[0], full[1])
        assert not torch.allclose(full[0], full[2])
        assert recovery(WORLD.features, full[0]).value < 0.1
    for corrupt in (repaired_latents, silenced_latents):
        same = corrupt(biased(), 0.0, seed=1)
        assert torch.equal(same.encode(X), biased().encode(X))
        assert torch.equal(same.W_dec, biased().W_dec)


@given(LEVELS, st.integers(0, 99))
def test_replacing_drops_just_the_share_that_was_asked_for(level: float, seed: int) -> None:
    replaced = replaced_directions(WORLD.features, level, seed=seed)
    kept = (replaced == WORLD.features).all(1)
    assert int((~kept).sum()) == round(96 * level)


@given(LEVELS, st.integers(0, 99))
def test_repairing_keeps_the_rows_and_moves_every_chosen_one(level: float, seed: int) -> None:
    sae = biased()
    other = repaired_latents(sae, level, seed=seed)
    moved = int((other.W_dec != sae.W_dec).any(1).sum())
    # a circle of one latent is that latent
    assert moved == (0 if round(96 * level) == 1 else round(96 * level))
    assert torch.equal(other.W_dec.sort(0).values, sae.W_dec.sort(0).values)
    assert torch.equal(other.encode(X[:50]), sae.encode(X[:50]))


def test_silenced_latents_never_fire_and_are_counted_as_dead() -> None:
    sae = biased()
    alive = 1 - reconstruction_scores(sae, [X])["dead_latents"].value
    assert alive > 0.5
    for level in (0.25, 1.0):
        dead = reconstruction_scores(silenced_latents(sae, level, seed=3), [X])["dead_latents"].value
        assert level <= dead <= level + (1 - alive)


def test_the_tied_oracle_has_the_scale_at_which_it_reconstructs_best() -> None:
    sae = oracle()
    assert encoder_decoder_cosine(sae).value == pytest.approx(1.0)
    best = explained_variance(X, sae.reconstruct(X)).value
    for factor in (0.97, 1.03):
        scaled = Autoencoder(sae.W_enc * factor, sae.W_dec, sae.b_enc, sae.b_dec, TopK(k=3))
        assert explained_variance(X, scaled.reconstruct(X)).value < best
    with pytest.raises(BadInputError, match="needs thresholds: a tied autoencoder takes TopK"):
        tied_autoencoder(WORLD.features, BatchTopK(k=3), X)
    with pytest.raises(BadInputError, match="no latent answers"):
        tied_autoencoder(WORLD.features, TopK(k=3), torch.zeros(4, 24))


@given(LEVELS)
def test_mixing_with_the_mean_explains_one_minus_the_level_squared(level: float) -> None:
    centred = X - X.mean(0)
    mixed = MeanMixture(24, level)
    value = explained_variance(centred, mixed.decode(mixed.encode(centred))).value
    assert value == pytest.approx(1 - level**2, abs=1e-5)


def test_a_level_outside_its_range_is_refused() -> None:
    for level in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInputError, match=r"from 0 to 1|a finite number"):
            mixed_directions(WORLD.features, level, seed=0)
        with pytest.raises(BadInputError, match=r"from 0 to 1|a finite number"):
            MeanMixture(24, level)


def test_scrambles_touch_what_they_name_and_nothing_else() -> None:
    sae = biased()
    touched = {
        "encoder permuted": {"W_enc"},
        "encoder rotated": {"W_enc"},
        "decoder permuted": {"W_dec"},
        "decoder rotated": {"W_dec"},
        "both permuted alike": {"W_enc", "W_dec", "b_enc", "threshold"},
        "both rotated alike": {"W_enc", "W_dec"},
        "latent biases permuted": {"b_enc", "threshold"},
    }
    assert set(SCRAMBLES) == set(touched)
    for name, scramble in SCRAMBLES.items():
        other = scramble(sae, seed=4)
        parts = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
        assert {p for p in parts if not torch.equal(getattr(sae, p), getattr(other, p))} == touched[name]
        assert torch.allclose(other.W_dec.norm(dim=1), torch.ones(96), atol=1e-5)


def test_latents_under_another_name_reconstruct_the_same_and_rotations_keep_the_angles() -> None:
    sae = biased()
    names = SCRAMBLES["both permuted alike"](sae, seed=4)
    assert torch.allclose(names.reconstruct(X), sae.reconstruct(X), atol=1e-4)
    assert encoder_decoder_cosine(names).value == pytest.approx(encoder_decoder_cosine(sae).value, abs=1e-6)
    turned = SCRAMBLES["both rotated alike"](sae, seed=4)
    assert torch.allclose(turned.W_dec @ turned.W_dec.T, sae.W_dec @ sae.W_dec.T, atol=1e-5)
    assert encoder_decoder_cosine(turned).value == pytest.approx(encoder_decoder_cosine(sae).value, abs=1e-5)
    truth = oracle()
    assert mean_max_cosine(WORLD.features, SCRAMBLES["decoder rotated"](truth, seed=4).W_dec).value < 0.7
