from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from sanity.errors import BadInputError
from sanity.evals import max_cosines
from sanity.evals.geometry import (
    antipodes,
    directions_geometry,
    span_cosines,
    span_recovery,
    subspace_overlap,
)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(d: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(gaussian(d, d, seed=seed)).Q


@settings(deadline=None, max_examples=10)
@given(d=st.integers(2, 12), seed=st.integers(0, 1000))
def test_a_signed_basis_is_seen_as_one_in_any_rotation(d: int, seed: int) -> None:
    basis = rotation(d, seed)
    shuffled = torch.cat([basis, -3 * basis])[torch.randperm(2 * d)]
    found = directions_geometry(shuffled)
    assert (found.directions, found.rank, found.axes, found.antipodal_share) == (2 * d, d, d, 1.0)
    assert found.participation_ratio == pytest.approx(d)
    assert found.axis_cosine == pytest.approx(0.0, abs=1e-9)


def test_random_directions_have_the_axis_cosine_of_random_directions() -> None:
    found = directions_geometry(gaussian(400, 24))
    assert found.antipodal_share == 0.0
    assert found.axes == 400
    assert found.axis_cosine == pytest.approx(found.random_axis_cosine, rel=0.01)
    theirs = np.abs(gaussian(200_000, 3).numpy())
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    expected = directions_geometry(gaussian(2, 3)).random_axis_cosine
    assert expected == pytest.approx(theirs[:, 0].mean(), abs=2e-3) == pytest.approx(0.5, abs=2e-3)


def test_rank_and_participation_are_those_of_the_singular_values() -> None:
    rows = gaussian(20, 3) @ gaussian(3, 9, seed=1)
    found = directions_geometry(rows)
    unit = rows / rows.norm(dim=1, keepdim=True)
    squares = np.linalg.svd(unit.numpy(), compute_uv=False) ** 2
    assert found.rank == 3
    assert found.participation_ratio == pytest.approx(squares.sum() ** 2 / (squares**2).sum())


def test_one_direction_has_no_other() -> None:
    found = directions_geometry(torch.tensor([[0.0, 2.0]]))
    assert (found.rank, found.axes, found.antipodal_share) == (1, 1, 0.0)
    assert math.isnan(found.axis_cosine)
    assert antipodes(torch.tensor([[0.0, 2.0]])).tolist() == [1.0]
    with pytest.raises(BadInputError, match="0 directions"):
        directions_geometry(torch.zeros(0, 3))


def test_antipodes_are_the_smallest_cosines() -> None:
    rows = gaussian(15, 4)
    unit = rows / rows.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).fill_diagonal_(1)
    torch.testing.assert_close(antipodes(rows), cosines.min(1).values)


def test_one_direction_spans_as_the_cosine_says_and_more_span_more() -> None:
    features, W_dec = gaussian(40, 10), gaussian(60, 10, seed=1)
    signed = torch.maximum(max_cosines(features, W_dec), max_cosines(features, -W_dec))
    torch.testing.assert_close(span_cosines(features, W_dec, 1), signed)
    one, two, all_ten = (span_cosines(features, W_dec, size) for size in (1, 2, 10))
    assert bool((two >= one).all())
    torch.testing.assert_close(all_ten, torch.ones(40, dtype=torch.float64))


def test_features_split_over_two_latents_are_found_in_their_plane_only() -> None:
    W_dec = rotation(40)
    features = (W_dec[0::2] + W_dec[1::2]) / math.sqrt(2)
    assert float(max_cosines(features, W_dec).max()) < 0.75
    assert span_recovery(features, W_dec).value == 1.0
    assert 0 <= span_recovery(features, W_dec).floor < 0.2


@settings(deadline=None, max_examples=10)
@given(d=st.integers(4, 12), a=st.integers(1, 4), b=st.integers(1, 4), seed=st.integers(0, 1000))
def test_overlap_is_that_of_scipys_principal_angles(d: int, a: int, b: int, seed: int) -> None:
    A, B = gaussian(d, a, seed=seed), gaussian(d, b, seed=seed + 1)
    angles = subspace_angles(A.numpy(), B.numpy())
    score = subspace_overlap(A, B)
    assert score.value == pytest.approx((np.cos(angles) ** 2).mean())
    assert score.floor == max(a, b) / d
    assert subspace_overlap(A, A @ rotation(a)).value == pytest.approx(1.0)


def test_the_floor_of_overlap_is_the_mean_of_random_subspaces() -> None:
    values = [
        subspace_overlap(gaussian(9, 2, seed=s), gaussian(9, 4, seed=s + 500)).value for s in range(400)
    ]
    assert np.mean(values) == pytest.approx(4 / 9, abs=0.02)


def test_dependent_columns_are_refused() -> None:
    with pytest.raises(BadInputError, match="does not span 2 dimensions"):
        subspace_overlap(torch.ones(5, 2), gaussian(5, 2).float())
    with pytest.raises(BadInputError, match="a's columns 5"):
        subspace_overlap(gaussian(5, 2), gaussian(6, 2))
