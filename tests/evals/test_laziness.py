"""Linearisation, supports and kernels, held against automatic differentiation on a tiny SAE."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev, jvp
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.evals.kernel_drift import kernel_drift, tangent_kernel
from sanity.evals.laziness import (
    first_order,
    held_gradients,
    held_output,
    linearisation,
    overlap,
    support_overlap,
    supports,
)
from sanity.models import Autoencoder, TopK

N, D, M = 6, 5, 9
SEEDS = st.integers(0, 2**31)


def tiny(seed: int, *, near: Autoencoder | None = None, by: float = 0.0) -> Autoencoder:
    """A random SAE in float64, or one whose parameters differ from `near` by `by` times random ones."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    made = {"W_enc": draw(D, M), "W_dec": draw(M, D), "b_enc": 0.1 * draw(M), "b_dec": 0.1 * draw(D)}
    if near is not None:
        made = {name: getattr(near, name) + by * value for name, value in made.items()}
    else:
        made["W_dec"] = functional.normalize(made["W_dec"], dim=1)
    return Autoencoder(**made, architecture=TopK(k=3))


def samples(seed: int) -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)


def parameters(sae: Autoencoder) -> tuple[Tensor, ...]:
    return sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec


def on_support(x: Tensor, support: Tensor, *, b_dec: Tensor | None = None):  # type: ignore[no-untyped-def]
    """f_S as a plain function of the parameters, written once more for torch.func."""

    def f(W_enc: Tensor, W_dec: Tensor, b_enc: Tensor, offset: Tensor) -> Tensor:
        shift = offset if b_dec is None else b_dec
        return (((x - shift) @ W_enc + b_enc) * support) @ W_dec + shift

    return f


@given(seed=SEEDS)
def test_the_held_output_is_the_reconstruction_on_the_own_support(seed: int) -> None:
    sae, x = tiny(seed), samples(seed)
    assert torch.allclose(held_output(sae, x, supports(sae, x)), sae.decode(sae.encode(x)))


@given(seed=SEEDS)
def test_gradients_on_held_supports_are_those_of_automatic_differentiation(seed: int) -> None:
    sae, x, target = tiny(seed), samples(seed), samples(seed + 7)
    support = supports(tiny(seed + 3), x)
    f = on_support(x, support.double())
    leaves = tuple(one.clone().requires_grad_() for one in parameters(sae))
    loss = (f(*leaves) - target).square().sum(1).mean()
    found = held_gradients(sae, x, support, target)
    for name, expected in zip(
        ("W_enc", "W_dec", "b_enc", "b_dec"), torch.autograd.grad(loss, leaves), strict=True
    ):
        assert torch.allclose(found[name], expected), name


@given(seed=SEEDS, by=st.sampled_from([0.01, 1.0]))
def test_the_first_order_model_is_that_of_automatic_differentiation(seed: int, by: float) -> None:
    start, x = tiny(seed), samples(seed)
    end = tiny(seed + 5, near=start, by=by)
    for support in (supports(start, x), supports(end, x)):
        f = on_support(x, support.double())
        moved = tuple(b - a for a, b in zip(parameters(start), parameters(end), strict=True))
        value, slope = jvp(f, parameters(start), moved)
        assert torch.allclose(first_order(start, end, x, support), value + slope, atol=1e-10)


@given(seed=SEEDS)
def test_small_moves_are_lazy_and_large_ones_are_not(seed: int) -> None:
    start, x = tiny(seed), samples(seed)
    small = linearisation(start, tiny(seed + 5, near=start, by=1e-7), x)
    assert small["jaccard"] == 1
    assert small["predicted_start"] > 1 - 1e-6
    assert small["predicted_end"] == pytest.approx(small["predicted_start"])
    assert small["first_order_start"] == pytest.approx(small["ev"], abs=1e-6)
    large = linearisation(start, tiny(seed + 5, near=start, by=3.0), x)
    assert large["predicted_start"] < 0.9
    still = linearisation(start, start, x)
    assert still["predicted_start"] != still["predicted_start"], "nothing changed: nothing to predict"
    assert still["held_end"] == pytest.approx(still["ev"])


@given(seed=SEEDS, by=st.sampled_from([0.05, 1.0]))
def test_the_kernel_is_that_of_the_jacobian(seed: int, by: float) -> None:
    start, x = tiny(seed), samples(seed)
    end = tiny(seed + 5, near=start, by=by)
    whole = []
    for sae in (start, end):
        f = on_support(x, supports(sae, x).double(), b_dec=sae.b_dec)
        blocks = jacrev(f, argnums=(0, 1, 2))(*parameters(sae))
        jacobian = torch.cat([block.reshape(N * D, -1) for block in blocks], dim=1)
        whole.append(jacobian @ jacobian.T)
    before, after = whole
    kernels = [tangent_kernel(sae, x) for sae in (start, end)]
    assert kernels[0].product(kernels[1]) == pytest.approx(float((before * after).sum()))
    found = kernel_drift(*kernels)
    assert found["kernel_change"] == pytest.approx(float((after - before).norm() / before.norm()))
    cosine = (before * after).sum() / (before.norm() * after.norm())
    assert found["kernel_alignment"] == pytest.approx(float(cosine))
    assert kernel_drift(kernels[0], kernels[0]) == pytest.approx(
        {"kernel_change": 0.0, "kernel_alignment": 1.0}, abs=1e-6
    )


def test_overlap_and_its_chance() -> None:
    a = torch.eye(4, dtype=torch.bool)
    assert support_overlap(a, a) == {"jaccard": 1.0, "jaccard_chance": 0.0}
    always = torch.ones(4, 2, dtype=torch.bool)
    assert support_overlap(always, always)["jaccard_chance"] == 1
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert overlap(nothing, nothing) != overlap(nothing, nothing)


def test_what_cannot_be_compared_is_refused() -> None:
    sae, x = tiny(0), samples(0)
    other = Autoencoder(sae.W_enc[:, :4], sae.W_dec[:4], sae.b_enc[:4], sae.b_dec, TopK(k=2))
    with pytest.raises(BadInputError, match="one run's start and end"):
        linearisation(sae, other, x)
    with pytest.raises(BadInputError, match="same samples"):
        kernel_drift(tangent_kernel(sae, x), tangent_kernel(sae, x[:3]))
    silent = Autoencoder(sae.W_enc, sae.W_dec, sae.b_enc - 100, sae.b_dec, TopK(k=2))
    with pytest.raises(BadInputError, match="kernel of zeros"):
        kernel_drift(tangent_kernel(silent, x), tangent_kernel(silent, x))
    with pytest.raises(BadInputError, match="at least 2 samples"):
        support_overlap(supports(sae, x[:1]), supports(sae, x[:1]))
    with pytest.raises(BadInputError, match="same space"):
        supports(sae, torch.zeros(2, D + 1))
