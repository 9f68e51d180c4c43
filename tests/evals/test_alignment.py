from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.evals import expected_max_cosine
from sanity.evals.alignment import (
    cosine_quantiles,
    cosine_to_init,
    covariance_matched_max_cosine,
    encoder_decoder_cosine,
    encoder_decoder_cosines,
    row_cosines,
)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Sae:
    def __init__(self, W_enc: torch.Tensor, W_dec: torch.Tensor) -> None:
        self.W_enc, self.W_dec = W_enc, W_dec

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.W_enc).relu()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.W_dec


@given(n=st.integers(1, 20), d=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_row_cosines_agree_with_torch(n: int, d: int, seed: int) -> None:
    a, b = gaussian(n, d, seed=seed), gaussian(n, d, seed=seed + 1)
    torch.testing.assert_close(row_cosines(a, b).float(), functional.cosine_similarity(a, b))


def test_nothing_turned_is_one_and_all_reversed_minus_one() -> None:
    W0 = gaussian(50, 8)
    assert float(cosine_to_init(3 * W0, W0)) == pytest.approx(1.0, abs=1e-12)
    assert float(cosine_to_init(-W0, W0)) == pytest.approx(-1.0, abs=1e-12)
    score = cosine_to_init(gaussian(5000, 8, seed=1), gaussian(5000, 8, seed=2))
    assert abs(score.value) < 5 / math.sqrt(5000 * 8)
    assert (score.floor, score.ceiling, score.n, score.unit) == (0.0, 1.0, 5000, "latent")


def test_a_known_turn_is_measured() -> None:
    W0 = torch.eye(4)
    angles = torch.tensor([0.0, 0.3, 1.0, 3.0])
    W = angles.cos()[:, None] * W0 + angles.sin()[:, None] * W0.roll(1, 1)
    torch.testing.assert_close(row_cosines(W, W0).float(), angles.cos())


def test_encoder_and_decoder_are_compared_latent_by_latent() -> None:
    W_dec = gaussian(6, 4)
    assert float(encoder_decoder_cosine(Sae(2 * W_dec.T, W_dec))) == pytest.approx(1.0)
    W_enc = gaussian(4, 6, seed=1)
    expected = functional.cosine_similarity(W_enc.T, W_dec)
    torch.testing.assert_close(encoder_decoder_cosines(Sae(W_enc, W_dec)).float(), expected)
    assert float(encoder_decoder_cosine(Sae(W_enc, W_dec))) == pytest.approx(float(expected.mean()))


def test_quantiles_are_named_for_a_curve() -> None:
    summary = cosine_quantiles(torch.linspace(0, 1, 101))
    assert list(summary) == ["mean", "q05", "q25", "q50", "q75", "q95"]
    assert list(summary.values()) == pytest.approx([0.5, 0.05, 0.25, 0.5, 0.75, 0.95])


def test_the_empirical_null_with_the_identity_is_the_exact_one() -> None:
    # The targets are made from the very seed of the null: it must be independent of them all the same.
    nulls = covariance_matched_max_cosine(gaussian(500, 20), torch.eye(20), 300, seed=0, draws=2)
    assert nulls.shape == (2, 500)
    assert float(nulls.mean()) == pytest.approx(expected_max_cosine(20, 300), abs=0.01)


def test_the_empirical_null_knows_which_directions_vary() -> None:
    variances = torch.tensor([1.0] * 4 + [0.0] * 16)
    targets = torch.eye(20)
    nulls = covariance_matched_max_cosine(targets, torch.diag(variances), 300, seed=0)[0]
    assert float(nulls[:4].min()) > 0.8
    assert float(nulls[4:].abs().max()) < 1e-5
    assert nulls[:4].mean() == pytest.approx(expected_max_cosine(4, 300), abs=0.05)
    again = covariance_matched_max_cosine(targets, torch.diag(variances), 300, seed=0)[0]
    assert torch.equal(nulls, again)
    assert not torch.equal(
        nulls, covariance_matched_max_cosine(targets, torch.diag(variances), 300, seed=1)[0]
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cosine_to_init(gaussian(3, 4), gaussian(3, 5)), r"W has shape \[3, 4\] and W0 \[3, 5\]"),
        (lambda: cosine_to_init(gaussian(3, 4), gaussian(1, 4)), "in pairs"),
        (lambda: cosine_to_init(gaussian(3, 4), torch.zeros(3, 4)), "W0 .* 3 rows of length 0"),
        (lambda: cosine_to_init(gaussian(3, 4) * math.nan, gaussian(3, 4)), "W of shape"),
        (lambda: encoder_decoder_cosine(Sae(gaussian(4, 5), gaussian(6, 4))), r"W_enc.T has shape \[5, 4\]"),
        (lambda: covariance_matched_max_cosine(gaussian(2, 3), torch.eye(4), 5, seed=0), "4 wide"),
        (lambda: covariance_matched_max_cosine(gaussian(2, 3), -torch.eye(3), 5, seed=0), "eigenvalues"),
        (lambda: covariance_matched_max_cosine(gaussian(2, 3), torch.eye(3), 0, seed=0), "m=0"),
    ],
)
def test_impossible_comparisons_are_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(BadInputError, match=words):
        call()


def test_an_sae_without_an_encoder_matrix_is_named() -> None:
    sae = Sae(gaussian(4, 6), gaussian(6, 4))
    del sae.W_enc
    with pytest.raises(BadInputError, match="Sae has no W_enc"):
        encoder_decoder_cosine(sae)
