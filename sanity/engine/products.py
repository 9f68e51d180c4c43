"""Dense products by the fastest exact kernel of this processor.

PyTorch sends float32 products to MKL, which on AMD processors with AVX-512 leaves half of the machine unused:
the encoder's product of `models.kernels` took 380 CPU milliseconds by MKL and 166 by oneDNN, which PyTorch
brings, too. On an AMD processor with AVX2 both took the same.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override


def product(
    x: Float[Tensor, "*rows d_in"], weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
) -> Float[Tensor, "*rows d_out"]:
    """`x @ weight.T + bias`, in the type of `x`.

    A gradient flows to `x`; where one is asked for `weight` or `bias`, PyTorch's own product is taken.

    >>> product(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1)).tolist()
    [[4.0], [4.0]]
    """
    fast = x.device.type == "cpu" and x.numel() > 0 and _has_onednn(x.dtype)
    if fast and not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    if not fast or weight.requires_grad or (bias is not None and bias.requires_grad):
        return functional.linear(x, weight, bias)
    found: Tensor = _OneDNNProduct.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return found


class _OneDNNProduct(torch.autograd.Function):
    """oneDNN's operator, which has no gradient by itself, with the one for `x`."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _onednn(gradient, weight.T, None), None, None


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


@functools.cache
def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN's product as an operator, and this processor computes it in `dtype`."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        x, weight, bias = (torch.ones(shape, dtype=dtype) for shape in ((2, 3), (4, 3), (4,)))
        return torch.equal(_onednn(x, weight, bias), torch.full((2, 4), 4.0, dtype=dtype))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
