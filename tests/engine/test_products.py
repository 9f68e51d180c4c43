"""The fastest product of this processor gives what PyTorch's gives, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from sanity.engine.products import product


@pytest.mark.parametrize("rows", [(), (7,), (2, 5), (0,), (3, 0)])
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_the_product(rows: tuple[int, ...], biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*rows, 9, generator=generator)
    weight, bias = (torch.randn(*shape, generator=generator) for shape in ((4, 9), (4,)))
    found = product(x, weight, bias if biased else None)
    torch.testing.assert_close(found, functional.linear(x, weight, bias if biased else None))


def test_strides_do_not_matter() -> None:
    x, weight = torch.randn(6, 3, 9)[:, 1], torch.randn(9, 4).T
    torch.testing.assert_close(product(x, weight, None), x.contiguous() @ weight.T.contiguous())


@pytest.mark.parametrize("asks", ["x", "weight", "bias", "x weight bias"])
def test_gradients_are_those_of_pytorch(asks: str) -> None:
    given = {"x": torch.randn(2, 5, 9), "weight": torch.randn(4, 9), "bias": torch.randn(4)}
    towards = torch.randn(2, 5, 4)
    found = []
    for way in (product, functional.linear):
        mine = {name: value.clone().requires_grad_(name in asks.split()) for name, value in given.items()}
        way(mine["x"], mine["weight"], mine["bias"]).mul(towards).sum().backward()
        found.append({name: value.grad for name, value in mine.items()})
    for name, gradient in found[0].items():
        assert (gradient is None) == (name not in asks.split())
        if gradient is not None:
            torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-5)


def test_a_gradient_that_is_one_number_spread_out_is_taken() -> None:
    """What `sum` hands back has strides of 0."""
    x, weight = torch.randn(5, 9).requires_grad_(), torch.randn(4, 9)
    product(x, weight, None).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(5, 9))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_stay_what_they_are(dtype: torch.dtype) -> None:
    x, weight = torch.ones(2, 3, dtype=dtype), torch.ones(4, 3, dtype=dtype)
    assert torch.equal(product(x, weight, None), torch.full((2, 4), 3.0, dtype=dtype))
