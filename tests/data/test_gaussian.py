"""Gaussian streams: their covariance, their scale, and the same batches whenever they are asked for."""

from __future__ import annotations

import pytest
import torch

from sanity.data.gaussian import GaussianStream
from sanity.errors import BadInputError
from sanity.models import Stream

COVARIANCE = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.3], [0.0, 0.3, 0.1]])


def test_it_has_the_covariance_it_says_on_one_scale() -> None:
    stream = GaussianStream(COVARIANCE, batch_size=40_000, seed=0, name="test")
    assert isinstance(stream, Stream)
    x = torch.cat([stream.batch(step) for step in range(5)])
    assert torch.allclose(stream.covariance(), COVARIANCE * stream.factor**2, atol=1e-5)
    assert float(stream.covariance().trace()) == pytest.approx(3.0)
    assert torch.allclose(x.T @ x / len(x), stream.covariance(), atol=0.03)
    assert float(x.mean(0).abs().max()) < 0.02


def test_batches_are_functions_of_their_step() -> None:
    stream = GaussianStream(COVARIANCE, batch_size=8, seed=0, name="test")
    again = GaussianStream(COVARIANCE, batch_size=8, seed=0, name="test")
    third = stream.batch(3)
    assert torch.equal(third, again.batch(3))
    assert not torch.equal(third, stream.batch(4))
    other = GaussianStream(COVARIANCE, batch_size=8, seed=1, name="test")
    assert not torch.equal(third, other.batch(3))
    assert len({stream.key, other.key, GaussianStream(COVARIANCE, batch_size=8, seed=0, name="b").key}) == 3


def test_a_direction_without_variance_stays_without() -> None:
    flat = torch.diag(torch.tensor([1.0, 0.0]))
    assert float(GaussianStream(flat, batch_size=50, seed=0, name="flat").batch(0)[:, 1].abs().max()) == 0


def test_what_is_no_covariance_is_refused() -> None:
    for bad, words in (
        (torch.ones(2, 3), "square"),
        (torch.zeros(2, 2), "without variance"),
        (torch.diag(torch.tensor([1.0, -0.5])), "eigenvalue -0.5"),
    ):
        with pytest.raises(BadInputError, match=words):
            GaussianStream(bad, batch_size=4, seed=0, name="bad")
    with pytest.raises(BadInputError, match="steps run from 0"):
        GaussianStream(COVARIANCE, batch_size=4, seed=0, name="test").batch(-1)
