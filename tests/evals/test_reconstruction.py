from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.evals import explained_variance
from sanity.evals.reconstruction import ExplainedVariance, firing_frequency, reconstruction_scores
from sanity.models import Autoencoder, TopK


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Threshold:
    """Latents max(x @ W_dec.T - 1, 0): a small SAE with a fourth latent that never fires."""

    def __init__(self) -> None:
        self.W_dec = torch.cat([torch.eye(3), torch.zeros(1, 3)])

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.W_dec.T - 1).relu()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.W_dec


def test_perfect_is_one_and_the_mean_is_zero() -> None:
    x = gaussian(50, 7) + 100
    assert float(explained_variance(x, x)) == 1.0
    score = explained_variance(x.double(), x.double().mean(0).expand_as(x))
    assert float(score) == pytest.approx(0.0, abs=1e-12)
    assert (score.floor, score.ceiling, score.n, score.unit) == (0.0, 1.0, 50, "sample")


@given(n=st.integers(2, 40), d=st.integers(1, 5), scale=st.floats(0.0, 3.0), seed=st.integers(0, 10**6))
def test_agrees_with_the_variance_weighted_r2_of_scikit_learn(
    n: int, d: int, scale: float, seed: int
) -> None:
    x = gaussian(n, d, seed=seed).double()
    x_hat = x + scale * gaussian(n, d, seed=seed + 1).double()
    theirs = r2_score(x.numpy(), x_hat.numpy(), multioutput="variance_weighted")
    assert float(explained_variance(x, x_hat)) == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@given(cuts=st.lists(st.integers(0, 60), max_size=6), offset=st.sampled_from([0.0, 1e4]))
def test_batches_of_any_size_give_the_same(cuts: list[int], offset: float) -> None:
    x = gaussian(60, 4) + offset
    x_hat = x + gaussian(60, 4, seed=1)
    total = ExplainedVariance()
    ends = [0, *sorted(cuts), 60]
    for start, end in itertools.pairwise(ends):
        total.update(x[start:end], x_hat[start:end])
    exact = x.numpy().astype(np.float64)
    expected = 1 - ((exact - x_hat.numpy()) ** 2).sum() / ((exact - exact.mean(0)) ** 2).sum()
    assert float(total.score()) == pytest.approx(expected, rel=1e-10)
    assert total.score().n == 60


def test_sums_are_kept_in_float64() -> None:
    # In float32 the mean of these would be off by more than their spread.
    x = (1e5 + gaussian(20_000, 1)).float()
    ours = float(explained_variance(x, torch.full_like(x, 1e5)))
    exact = x.numpy().astype(np.float64)
    assert ours == pytest.approx(1 - ((exact - 1e5) ** 2).mean() / exact.var(), rel=1e-9)


def broken(value: float) -> torch.Tensor:
    x = gaussian(5, 3)
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "x_hat", "words"),
    [
        (torch.zeros(0, 3), torch.zeros(0, 3), "no samples"),
        (gaussian(5, 3), gaussian(5, 2), r"\[5, 3\].*\[5, 2\]"),
        (gaussian(5, 3), gaussian(1, 3), r"\[1, 3\]"),
        (broken(math.nan), gaussian(5, 3), r"x of shape \[5, 3\] holds 1 NaN .* first at \[3, 1\] \(nan\)"),
        (gaussian(5, 3), broken(-math.inf), r"x_hat .* \[3, 1\] \(-inf\)"),
        (torch.full((5, 3), 0.1), gaussian(5, 3), "5 samples are all equal"),
        (torch.zeros(5, 3), gaussian(5, 3), "all equal"),
        (gaussian(1, 3), gaussian(1, 3), "all equal"),
    ],
)
def test_data_without_an_explained_variance_is_refused(
    x: torch.Tensor, x_hat: torch.Tensor, words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        explained_variance(x, x_hat)


def test_constant_data_is_noticed_in_spite_of_rounding() -> None:
    total = ExplainedVariance()
    for n in (3, 7, 11):
        constant = torch.full((n, 2), 0.1, dtype=torch.float64)
        total.update(constant, torch.zeros_like(constant))
    assert total._deviation > 0
    with pytest.raises(BadInputError, match="21 samples are all equal"):
        total.score()
    with pytest.raises(BadInputError, match="batch 3 wide follows batches 2 wide"):
        total.update(gaussian(2, 3), gaussian(2, 3))


def test_l0_and_dead_latents_count_what_fires() -> None:
    x = torch.tensor([[2.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    scores = reconstruction_scores(Threshold(), [x[:1], x[1:]])
    score, dead = scores["l0"], scores["dead_latents"]
    assert float(score) == 1.0
    assert (score.floor, score.ceiling, score.n) == (4.0, None, 4)
    assert firing_frequency(Threshold(), [x[:1], x[1:]]).tolist() == [0.75, 0.25, 0.0, 0.0]
    assert float(dead) == 0.5
    assert dead.normalised() == 0.5
    assert dead.n == 4


def test_one_pass_over_parts_gives_what_the_whole_gives() -> None:
    x = gaussian(101, 3) * 2
    scores = reconstruction_scores(Threshold(), [x[:30], x[30:]])
    assert list(scores) == ["explained_variance", "l0", "dead_latents"]
    whole = reconstruction_scores(Threshold(), [x])
    assert (scores["l0"], scores["dead_latents"]) == (whole["l0"], whole["dead_latents"])
    expected = explained_variance(x, Threshold().decode(Threshold().encode(x))).value
    assert scores["explained_variance"].value == pytest.approx(expected)


def test_an_sae_of_the_package_is_read_through_its_sparse_code() -> None:
    g = torch.Generator().manual_seed(0)
    W_dec = functional.normalize(torch.randn(20, 6, generator=g), dim=1)
    sae = Autoencoder(W_dec.T.clone(), W_dec, torch.zeros(20), torch.zeros(6), TopK(k=3))

    class Dense:
        W_dec, encode, decode = sae.W_dec, staticmethod(sae.encode), staticmethod(sae.decode)

    x = gaussian(500, 6)
    ours, dense = reconstruction_scores(sae, [x]), reconstruction_scores(Dense(), [x])
    assert {k: v.value for k, v in ours.items()} == pytest.approx({k: v.value for k, v in dense.items()})
    assert float(ours["l0"]) == 3.0


def test_counting_in_small_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gaussian(101, 3) * 2
    whole = reconstruction_scores(Threshold(), [x]), firing_frequency(Threshold(), [x])
    monkeypatch.setattr("sanity.evals.inputs.CHUNK_ELEMENTS", 30)
    parts = {name: score.value for name, score in reconstruction_scores(Threshold(), [x]).items()}
    assert parts == pytest.approx({name: score.value for name, score in whole[0].items()})
    assert torch.equal(firing_frequency(Threshold(), [x]), whole[1])


def test_finite_numbers_whose_sum_overflows_are_finite() -> None:
    x = torch.full((4, 3), 3e38)
    x[0] = 0
    assert float(explained_variance(x, x)) == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reconstruction_scores(Threshold(), [gaussian(4, 2)]), "x is 2 wide and what it reads 3"),
        (lambda: reconstruction_scores(Threshold(), [gaussian(0, 3)]), "no samples"),
        (lambda: reconstruction_scores(Threshold(), [broken(math.inf)]), r"\[3, 1\]"),
        (lambda: reconstruction_scores(Threshold(), []), "no samples"),
        (lambda: reconstruction_scores(Threshold(), [broken(math.nan)]), r"\[3, 1\]"),
    ],
)
def test_counts_of_nothing_are_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(BadInputError, match=words):
        call()
