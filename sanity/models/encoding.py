"""The latents that an encoder and a rule select, without dense pre-activations in memory at once."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from sanity.engine.products import product
from sanity.models.kernels import block_rows, sampled_products, transposed
from sanity.models.selection import Rows, Rule, offsets, rounding_error

_STAYS_IN_CACHE = 1_500_000
"""Bytes of a table that a core reads again and again without waiting for memory."""
_SLACKS = (1.25, 4.0, float("inf"))


def select(
    x: Float[Tensor, "batch d_in"],
    W_enc_t: Float[Tensor, "d_sae d_in"],
    b_enc: Float[Tensor, " d_sae"],
    rule: Rule,
    *,
    precision: str = "float32",
) -> Rows:
    """`select_sparse`, however many latents are selected."""
    found = select_sparse(x, W_enc_t, b_enc, rule, precision=precision, max_density=1.0)
    assert found is not None  # nothing is denser than 1
    return found


def select_sparse(
    x: Float[Tensor, "batch d_in"],
    W_enc_t: Float[Tensor, "d_sae d_in"],
    b_enc: Float[Tensor, " d_sae"],
    rule: Rule,
    *,
    precision: str = "float32",
    max_density: float,
) -> Rows | None:
    """Pre-activations of the latents that `rule` selects from `x W_enc + b_enc`; `x` is less `b_dec`.

    The dense pre-activations exist one block of rows at a time. With `precision="bf16"` the dense product is
    rounded to bf16 and the bound lowered by more than its error; the candidates' values are then computed
    exactly, and decide the selection. A processor without bf16 takes the product in float32 and is done.
    `None` when more than `max_density` of a block would be candidates: dense products are then cheaper.
    """
    batch, d_sae = x.shape[0], W_enc_t.shape[0]
    # Of weights in 16 bits there is nothing to round.
    rounded = precision == "bf16" and torch.finfo(x.dtype).bits > 16
    rounded = rounded and (x.device.type != "cpu" or multiplies_bf16())
    encoder = _RoundedProduct(x, W_enc_t, b_enc) if rounded else _ExactProduct(x, W_enc_t, b_enc)
    block = block_rows(batch, d_sae, x.device)
    if batch == 0:
        nothing = b_enc.new_zeros(0)
        return Rows(nothing.new_zeros(1, dtype=torch.int32), nothing.int(), nothing, d_sae)
    for slack in _SLACKS:
        parts: list[Rows] = []
        bound: Tensor | None = None
        for first in range(0, batch, block):
            last = min(first + block, batch)
            pre = encoder.product(first, last)
            bound = rule.bound(pre, bound, slack)
            parts.append(collect(pre, at_least(pre, encoder.lowered(bound, first, last))))
            if parts[-1].latents.numel() > max_density * pre.numel():
                return None
        found = encoder.exact(stacked(parts))
        if bound is None or rule.complete(found, bound):
            break
    return found.where(rule.keep(found))


def at_least(pre: Float[Tensor, "rows d_sae"], bound: Tensor) -> Bool[Tensor, "rows d_sae"]:
    """`pre >= bound`, broadcast.

    On the CPU by numpy, whose comparison is vectorised: 1.5 CPU milliseconds for a batch of `kernels`' shape,
    where PyTorch takes 10. As numpy has no bf16, positive numbers are compared by their bits.
    """
    if pre.device.type != "cpu":
        return pre >= bound
    if pre.dtype == torch.bfloat16:
        if not bool((bound > 0).all()):
            return pre >= bound
        pre, bound = pre.view(torch.int16), bound.view(torch.int16)
    return torch.from_numpy(np.greater_equal(pre.numpy(), bound.numpy()))


def collect(pre: Float[Tensor, "rows d_sae"], marked: Bool[Tensor, "rows d_sae"]) -> Rows:
    """The marked entries of `pre`.

    On the CPU eight marks are read as one integer, which is four times as fast as `nonzero` on marks that
    are mostly empty.
    """
    rows, d_sae = pre.shape
    flat = marked.view(-1)
    if flat.device.type == "cpu" and flat.numel() % 8 == 0:
        words = torch.from_numpy(np.flatnonzero(flat.view(torch.int64).numpy() != 0))
        marks = flat.view(-1, 8).index_select(0, words).view(-1)
        inside = torch.from_numpy(np.flatnonzero(marks.numpy()))
        index = words.index_select(0, inside >> 3).mul_(8).add_(inside & 7)
    else:
        index = flat.nonzero().squeeze(1)
    edges = torch.arange(0, (rows + 1) * d_sae, d_sae, device=pre.device)
    starts = torch.searchsorted(index, edges, out_int32=True)
    row = edges[:-1].repeat_interleave(starts.diff())
    return Rows(starts, (index - row).to(torch.int32), pre.view(-1).index_select(0, index), d_sae)


def stacked(parts: list[Rows]) -> Rows:
    """Blocks of rows as one."""
    if len(parts) == 1:
        return parts[0]
    starts = offsets(torch.cat([part.counts for part in parts]))
    latents = torch.cat([part.latents for part in parts])
    return Rows(starts, latents, torch.cat([part.values for part in parts]), parts[0].width)


@functools.cache
def multiplies_bf16() -> bool:
    """Whether this processor has instructions for products in bf16.

    Without them a product takes eight times as long as in float32 (AMD Zen 3).
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in asked)
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


@dataclass
class _ExactProduct:
    """The encoder product in the type of its factors: bounds and values hold as they are."""

    x: Float[Tensor, "batch d_in"]
    W_enc_t: Float[Tensor, "d_sae d_in"]
    b_enc: Float[Tensor, " d_sae"]

    def product(self, first: int, last: int) -> Float[Tensor, "rows d_sae"]:
        """Pre-activations of a block of rows."""
        return product(self.x[first:last], self.W_enc_t, self.b_enc)

    def lowered(self, bound: Tensor, first: int, last: int) -> Tensor:
        """What an entry of `product` reaches at least if its exact value reaches `bound`."""
        return bound

    def exact(self, found: Rows) -> Rows:
        """`found` with exact values."""
        return found


@dataclass
class _RoundedProduct(_ExactProduct):
    """The encoder product in bf16, with how far below an exact bound its entries may lie.

    Bounds are lowered by 2^-7 of |bound| and by `rounding_error`; the exact values decide afterwards.
    """

    def __post_init__(self) -> None:
        self.rounded = self.x.bfloat16(), self.W_enc_t.bfloat16(), self.b_enc.bfloat16()
        self.error = rounding_error(self.x, self.W_enc_t, self.b_enc)

    @override
    def product(self, first: int, last: int) -> Float[Tensor, "rows d_sae"]:
        x, weight, bias = self.rounded
        return product(x[first:last], weight, bias)

    @override
    def lowered(self, bound: Tensor, first: int, last: int) -> Tensor:
        error = self.error[first:last]
        if bound.ndim != 2:
            error = error.max()
        bound = bound.float()
        low: Tensor = (bound - bound.abs() / 128 - error).to(torch.bfloat16)
        return low

    @override
    def exact(self, found: Rows) -> Rows:
        if self.W_enc_t.nbytes <= _STAYS_IN_CACHE:
            values = sampled_products(found, self.x, self.W_enc_t)
        else:  # latent by latent, which reads each latent's row once
            columns, order = transposed(found)
            values = torch.empty(order.numel(), dtype=self.x.dtype, device=self.x.device)
            values[order] = sampled_products(columns, self.W_enc_t, self.x)
        return replace(found, values=values + self.b_enc.index_select(0, found.latents))
