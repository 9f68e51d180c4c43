from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.evals import explained_variance
from sanity.evals.pursuit import orthogonal_matching_pursuit, pursuit_explained_variance


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(x: torch.Tensor, dictionary: torch.Tensor, k: int) -> torch.Tensor:
    found = orthogonal_matching_pursuit(x, dictionary, k)
    kept = found.indices >= 0
    out = torch.zeros(len(x), len(dictionary), dtype=x.dtype)
    return out.scatter_add_(1, found.indices.clamp(min=0), found.coefficients * kept)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), d=st.integers(6, 20), k=st.integers(1, 5))
def test_it_chooses_and_fits_as_scikit_learn_does(seed: int, d: int, k: int) -> None:
    dictionary, x = gaussian(3 * d, d, seed=seed), gaussian(9, d, seed=seed + 1)
    unit = functional.normalize(dictionary, dim=1)
    theirs = orthogonal_mp(unit.T.numpy(), x.T.numpy(), n_nonzero_coefs=k).reshape(3 * d, 9).T
    np.testing.assert_allclose(dense(x, dictionary, k).numpy(), theirs, atol=1e-9)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 8))
def test_what_it_gives_is_the_projection_on_what_it_chose(seed: int, k: int) -> None:
    dictionary, x = gaussian(30, 8, seed=seed), gaussian(5, 8, seed=seed + 1)
    found = orthogonal_matching_pursuit(x, dictionary, k)
    unit = functional.normalize(dictionary, dim=1)
    torch.testing.assert_close(dense(x, dictionary, k) @ unit, found.reconstruction)
    chosen = unit[found.indices]
    residual = x - found.reconstruction
    assert float((chosen @ residual[:, :, None]).abs().max()) < 1e-9
    assert all(len(set(row)) == k for row in found.indices.tolist())
    if k == 8:
        torch.testing.assert_close(found.reconstruction, x)


def test_sparse_sums_of_few_incoherent_directions_are_found_exactly() -> None:
    basis = torch.linalg.qr(gaussian(12, 12)).Q
    truth = torch.zeros(6, 12, dtype=torch.float64)
    for row in range(6):
        truth[row, torch.tensor([row, row + 3, row + 6])] = torch.tensor([1.0, 2.0, 0.5]).double()
    torch.testing.assert_close(dense(truth @ basis, basis, 3), truth)


def test_a_direction_that_adds_nothing_is_not_counted() -> None:
    dictionary = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = orthogonal_matching_pursuit(torch.tensor([[3.0, 0.0, 0.0]]), dictionary, 2)
    assert found.indices.tolist() == [[0, -1]]
    assert found.coefficients.tolist() == [[3.0, 0.0]]


def test_small_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary, x = gaussian(30, 8), gaussian(17, 8, seed=1)
    whole = orthogonal_matching_pursuit(x, dictionary, 3)
    monkeypatch.setattr("sanity.evals.pursuit.CHUNK_ELEMENTS", 60 * 5)
    parts = orthogonal_matching_pursuit(x, dictionary, 3)
    assert torch.equal(whole.indices, parts.indices)
    torch.testing.assert_close(whole.reconstruction, parts.reconstruction)


def test_its_score_is_the_explained_variance_of_its_reconstruction() -> None:
    dictionary, x = gaussian(30, 8), gaussian(50, 8, seed=1) + 5
    centre = x.mean(0)
    score = pursuit_explained_variance(x, dictionary, 2, centre=centre)
    rebuilt = orthogonal_matching_pursuit(x - centre, dictionary, 2).reconstruction + centre
    assert score.value == pytest.approx(explained_variance(x, rebuilt).value)
    assert (score.metric, score.floor, score.ceiling) == ("pursuit_explained_variance", 0.0, 1.0)
    assert pursuit_explained_variance(x, dictionary, 20, centre=centre).value == pytest.approx(1.0)


def test_bad_input_is_refused_in_words() -> None:
    dictionary, x = gaussian(30, 8), gaussian(5, 8)
    with pytest.raises(BadInputError, match="9 of 30 directions in 8 dimensions"):
        orthogonal_matching_pursuit(x, dictionary, 9)
    with pytest.raises(BadInputError, match="dictionary is 7 wide and x 8"):
        orthogonal_matching_pursuit(x, dictionary[:, :7], 2)
    with pytest.raises(BadInputError, match="NaN or infinite"):
        orthogonal_matching_pursuit(x * torch.inf, dictionary, 2)
    with pytest.raises(BadInputError, match="rows of length 0"):
        orthogonal_matching_pursuit(x, dictionary * 0, 2)
