"""The cone projection: nearest points, exact edges, and directions at the limit of the floating type."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sanity.baselines import (
    FrozenBoth,
    FrozenDecoder,
    FrozenEncoder,
    SoftFrozenDecoder,
    Trained,
    Untrained,
    project_to_cone,
)
from sanity.errors import BadInputError
from sanity.models.arm import PARAMETERS

DTYPES = st.sampled_from([torch.float32, torch.float64])
COSINES = st.sampled_from([-1.0, -0.6, 0.0, 0.3, 0.8, 0.99, 1.0])
SEEDS = st.integers(0, 2**31)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.double(), b.double()
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def pairs(seed: int, d: int, dtype: torch.dtype, n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randn(n, d, generator=generator, dtype=torch.float64)
    vectors = torch.randn(n, d, generator=generator, dtype=torch.float64)
    scales = 10 ** (8 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 4)
    return (vectors * scales).to(dtype), anchors.to(dtype)


@given(seed=SEEDS, d=st.integers(2, 30), dtype=DTYPES, tau=COSINES)
def test_what_is_inside_stays_and_the_rest_goes_to_the_edge(
    seed: int, d: int, dtype: torch.dtype, tau: float
) -> None:
    vectors, anchors = pairs(seed, d, dtype)
    projected = project_to_cone(vectors, anchors, tau)
    before, after = cosines(vectors, anchors), cosines(projected, anchors)
    inside = before >= tau
    assert torch.equal(projected[inside], vectors[inside])
    resolution = 4 * torch.finfo(dtype).eps
    assert float((after - before.clamp_min(tau)).abs().max()) < resolution * math.sqrt(d)
    norms = projected.double().norm(dim=-1) / vectors.double().norm(dim=-1)
    assert float((norms - 1).abs().max()) < resolution
    assert torch.equal(project_to_cone(projected, anchors, tau), projected)
    assert torch.equal(
        project_to_cone(vectors.view(5, 8, d), anchors.view(5, 8, d), tau).view(40, d), projected
    )


@given(seed=SEEDS, d=st.integers(2, 6), tau=st.floats(-0.95, 0.95))
def test_no_point_of_the_cone_is_nearer(seed: int, d: int, tau: float) -> None:
    """Against many random points of the cone, on the sphere of the vector's own norm."""
    vectors, anchors = pairs(seed, d, torch.float64, n=5)
    vectors, anchors = (torch.nn.functional.normalize(v, dim=1) for v in (vectors, anchors))
    projected = project_to_cone(vectors, anchors, tau)
    points = torch.randn(2000, d, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    points = torch.nn.functional.normalize(points, dim=1)
    for vector, anchor, nearest in zip(vectors, anchors, projected, strict=True):
        allowed = points[points @ anchor >= tau]
        if len(allowed):
            assert float((allowed @ vector).max()) <= float(nearest @ vector) + 1e-9


@given(seed=SEEDS, dtype=DTYPES, sign=st.sampled_from([-1.0, 1.0]), tau=st.sampled_from([-0.5, 0.3, 0.8]))
def test_the_direction_survives_almost_parallel_vectors(
    seed: int, dtype: torch.dtype, sign: float, tau: float
) -> None:
    """A vector a few roundings away from its axis still goes to the side it leans to."""
    d = 20
    generator = torch.Generator().manual_seed(seed)
    anchor = torch.randn(1, d, generator=generator, dtype=torch.float64).to(dtype)
    lean = torch.randn(1, d, generator=generator, dtype=torch.float64)
    vector = (sign * anchor.double() + 30 * torch.finfo(dtype).eps * lean).to(dtype)
    projected = project_to_cone(vector, anchor, tau)
    if sign > 0:
        assert torch.equal(projected, vector)
        return
    assert abs(float(cosines(projected, anchor)) - tau) < 1e-6
    # The side is that of the vector as it was rounded to its type.
    u = anchor.double() / anchor.double().norm()
    exact = vector.double() - (vector.double() * u).sum() * u
    if dtype == torch.float32:
        side = projected.double() - (projected.double() * u).sum() * u
        assert float(cosines(side, exact)) > 0.999


@given(
    seed=SEEDS,
    dtype=DTYPES,
    tau=COSINES,
    shape=st.sampled_from([(), (0,), (1,), (3,), (2, 3), (2, 1, 3)]),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_parallel_and_antiparallel_vectors_of_any_shape(
    seed: int, dtype: torch.dtype, tau: float, shape: tuple[int, ...], sign: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randn(*shape, 7, generator=generator, dtype=torch.float64).to(dtype)
    vectors = sign * 4 * anchors
    projected = project_to_cone(vectors, anchors, tau)
    assert (projected.shape, projected.dtype) == (vectors.shape, dtype)
    if sign > 0 or tau == -1:
        assert torch.equal(projected, vectors)
    elif vectors.numel():
        resolution = 20 * torch.finfo(dtype).eps
        assert float((cosines(projected, anchors) - tau).abs().max()) < resolution
        norms = projected.double().norm(dim=-1) / vectors.double().norm(dim=-1)
        assert float((norms - 1).abs().max()) < resolution
    assert torch.equal(project_to_cone(projected, anchors, tau), projected)


def test_special_vectors() -> None:
    anchor = torch.tensor([[3.0, 0.0, -4.0]])
    opposite = project_to_cone(-2 * anchor, anchor, 0.8)
    assert float(cosines(opposite, anchor)) == pytest.approx(0.8, abs=1e-6)
    assert float(opposite.norm()) == pytest.approx(10.0, rel=1e-6)
    assert torch.equal(opposite, project_to_cone(-2 * anchor, anchor, 0.8))
    # Least along the second axis: that is where it leans.
    assert float(opposite[0, 1]) == pytest.approx(6.0, rel=1e-6)
    zero = torch.zeros(1, 3)
    assert torch.equal(project_to_cone(zero, anchor, 0.8), zero)
    assert torch.allclose(project_to_cone(torch.tensor([[0.0, 5.0, 0.0]]), anchor, 1.0), anchor)
    vector = torch.randn(1, 3)
    assert torch.equal(project_to_cone(vector, anchor, -1.0), vector)
    line = project_to_cone(torch.tensor([[-2.0]]), torch.tensor([[1.0]]), 1.0)
    assert torch.allclose(line, torch.tensor([[2.0]]))


def test_what_has_no_cone_is_refused() -> None:
    with pytest.raises(BadInputError, match="zero anchor"):
        project_to_cone(torch.ones(1, 3), torch.zeros(1, 3), 0.5)
    with pytest.raises(BadInputError, match=r"cosine 1\.1"):
        project_to_cone(torch.ones(1, 3), torch.ones(1, 3), 1.1)


def test_constraints_say_what_learns() -> None:
    learns = {
        c.name: c.learns
        for c in (Trained(), FrozenDecoder(), SoftFrozenDecoder(), FrozenEncoder(), FrozenBoth(), Untrained())
    }
    assert learns == {
        "trained": PARAMETERS,
        "frozen_decoder": PARAMETERS - {"W_dec"},
        "soft_frozen_decoder": PARAMETERS,
        "frozen_encoder": PARAMETERS,
        "frozen_both": PARAMETERS - {"W_dec"},
        "untrained": frozenset(),
    }
    assert not FrozenEncoder().encoder_turns
    assert not FrozenBoth().encoder_turns
    assert SoftFrozenDecoder().encoder_turns
