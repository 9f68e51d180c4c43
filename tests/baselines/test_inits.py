"""Directions at the start: unit, distributed as said, and shared by all inits of a seed."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from sanity.baselines import Cov, Iso
from sanity.errors import BadInputError
from sanity.models import Arm, TopK
from sanity.models.arm import gaussian_matrix


def unasked() -> torch.Tensor:
    raise AssertionError("an iso init has no use for the covariance")


def test_iso_is_uniform_on_the_sphere() -> None:
    directions = Iso().directions(gaussian_matrix(0, 20_000, 5), unasked)
    assert torch.allclose(directions.norm(dim=1), torch.ones(20_000), atol=1e-6)
    # One coordinate of a uniform unit vector in 5 dimensions: (1 + t) / 2 ~ Beta(2, 2).
    assert stats.kstest((1 + directions[:, 2].numpy()) / 2, stats.beta(2, 2).cdf).pvalue > 0.01


def test_cov_has_the_covariance_before_it_is_normalised() -> None:
    generator = torch.Generator().manual_seed(1)
    factor = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    covariance = factor @ factor.T
    directions = Cov().directions(gaussian_matrix(0, 50_000, 6), lambda: covariance).double()
    assert torch.allclose(directions.norm(dim=1), torch.ones(50_000, dtype=torch.float64), atol=1e-6)
    # Independent construction: Cholesky draws, normalised.
    drawn = torch.randn(50_000, 6, generator=generator, dtype=torch.float64)
    reference = torch.nn.functional.normalize(drawn @ torch.linalg.cholesky(covariance).T, dim=1)
    difference = directions.T @ directions - reference.T @ reference
    assert float(difference.abs().max()) / 50_000 < 0.01
    assert float((reference.T @ reference / 50_000 - torch.eye(6) / 6).abs().max()) > 0.1


def test_iso_and_cov_share_their_randomness() -> None:
    gaussian = gaussian_matrix(3, 50, 4)
    iso = Iso().directions(gaussian, unasked)
    assert torch.allclose(Cov().directions(gaussian, lambda: 7.0 * torch.eye(4)), iso, atol=1e-6)
    assert torch.equal(gaussian_matrix(3, 50, 4), gaussian)
    assert not torch.equal(gaussian_matrix(4, 50, 4), gaussian)


def test_a_flat_dimension_gets_no_weight() -> None:
    covariance = torch.diag(torch.tensor([1.0, 4.0, 0.0]))
    directions = Cov().directions(gaussian_matrix(0, 10, 3), lambda: covariance)
    assert float(directions[:, 2].abs().max()) < 1e-6


def test_a_broken_covariance_is_named() -> None:
    with pytest.raises(BadInputError, match="not finite"):
        Cov().directions(gaussian_matrix(0, 4, 2), lambda: torch.full((2, 2), float("nan")))


def test_labels_name_the_init() -> None:
    assert Arm(TopK(32), 64, init=Cov(), seed=5).label == "topk-32 trained (cov) seed 5"
    assert Arm(TopK(32), 64, learning_rate=1e-3).label == "topk-32 trained (iso) seed 0 lr 0.001"
