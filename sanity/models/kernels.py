"""The few heavy operations of a step: one dense product, and sparse ones over active latents only.

Each is a call into PyTorch or numpy, so no compiler is needed (and would not help: all but the product is
bound by memory). The choices were measured on one core with AVX-512 (AMD Zen 5; d 768, m 6144, batch 4096,
k 64), in CPU milliseconds:

- encoder product: 380 by `torch.mm` (MKL), 166 by oneDNN's float32 kernel, 93 by its bf16 kernel;
- exact top-k of each row: 84 by `torch.topk`, 28 by bound, comparison, collecting and the exact choice;
- weighted sums of decoder rows: 17 by a CSR product, 9 by `embedding_bag`;
- products for the active latents: 20 row by row, 14 latent by latent; 290 by gathering and `bmm`.

A whole float32 step then takes 250 to 266 (65 % of it the product), 185 to 205 with the bf16 product.
"""

from __future__ import annotations

import functools
import platform
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.models.selection import Rows, Rule, offsets, rounding_error

BLOCK_ENTRIES = 3_000_000
"""Pre-activations held at a time on the CPU: 12 MB of float32, so that they stay in the cache."""
MAX_DENSITY = 1 / 2
"""Share of active latents above which dense products are cheaper. At d 768, m 512 and 1,024 on two cores the
sparse way took 0.27 of the dense way's time at a share of 1/16, 0.54 at 1/4 and 0.81 at 1/2; on one core of
another machine (m 1,024) 0.47 at 1/8, 1.1 at 0.45 and 2.3 at 0.95."""
_SLACKS = (1.25, 4.0, float("inf"))


@functools.cache
def _onednn_linear(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN's product as an operator, and this processor computes it in `dtype`."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        x, weight, bias = (torch.ones(shape, dtype=dtype) for shape in ((2, 3), (4, 3), (4,)))
        out = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return torch.equal(out, torch.full((2, 4), 4.0, dtype=dtype))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


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


def product(
    x: Float[Tensor, "rows d_in"], W_enc_t: Float[Tensor, "d_sae d_in"], b_enc: Float[Tensor, " d_sae"]
) -> Float[Tensor, "rows d_sae"]:
    """`x @ W_enc_t.T + b_enc`, in the type of `x`, by the fastest exact kernel available.

    PyTorch sends float32 products to MKL, which on AMD processors leaves half of the machine unused. The
    operator of oneDNN has no gradient: where one is asked for, MKL's is used.
    """
    fast = x.device.type == "cpu" and _onednn_linear(x.dtype)
    if fast and not (torch.is_grad_enabled() and (x.requires_grad or W_enc_t.requires_grad)):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, W_enc_t, b_enc, "none", [], "")
        return out
    return torch.addmm(b_enc, x, W_enc_t.T)


def weighted_sums(
    rows: Rows, table: Float[Tensor, "width d"], values: Float[Tensor, " n"] | None = None
) -> Float[Tensor, "n_rows d"]:
    """The product of a sparse matrix with a dense one: row i is sum_j values[i, j] table[j]."""
    weights = rows.values if values is None else values
    if weights.numel() == 0:
        return table.new_zeros(rows.n_rows, table.shape[1])
    return functional.embedding_bag(
        rows.latents,
        table,
        rows.starts,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def row_sums(rows: Rows, values: Float[Tensor, " n"]) -> Float[Tensor, " n_rows"]:
    """Sums of the values of each row."""
    total = torch.zeros(rows.n_rows, dtype=values.dtype, device=values.device)
    return total.index_add_(0, rows.rows.long(), values)


def sampled_products(
    rows: Rows, left: Float[Tensor, "n_rows d"], right: Float[Tensor, "width d"]
) -> Float[Tensor, " n"]:
    """`<left[i], right[j]>` for the entries (i, j) of `rows` only."""
    if rows.latents.numel() == 0:
        return left.new_zeros(0)
    _silence_beta_warning()
    pattern = torch.sparse_csr_tensor(
        rows.starts,
        rows.latents,
        torch.zeros_like(rows.values, dtype=left.dtype),
        (rows.n_rows, rows.width),
        check_invariants=False,
    )
    out: Tensor = torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()
    return out


@functools.cache
def _silence_beta_warning() -> None:
    """PyTorch warns once per process that CSR tensors are in beta; one old product is used here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty = torch.zeros(2, dtype=torch.int32)
        torch.sparse_csr_tensor(empty, empty[:0], torch.zeros(0), (1, 1))


def transposed(rows: Rows) -> tuple[Rows, Int[Tensor, " n"]]:
    """`rows` with latents as rows and samples as columns, and the order that its entries come from."""
    order = rows.latents.argsort(stable=True)
    starts = offsets(torch.bincount(rows.latents, minlength=rows.width))
    return Rows(starts, rows.rows[order], rows.values[order], rows.n_rows), order


def block_rows(batch: int, d_sae: int, device: torch.device) -> int:
    """Rows of pre-activations to hold at a time: all on a GPU, on a CPU what fits its cache."""
    if device.type != "cpu":
        return max(1, batch)
    fitting = BLOCK_ENTRIES // d_sae
    return max(1, min(batch, max(128, fitting - fitting % 64)))


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
    encoder = _Rounded(x, W_enc_t, b_enc) if rounded else _Exact(x, W_enc_t, b_enc)
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

    On the CPU by numpy, whose comparison is vectorised: 1.5 CPU milliseconds for a batch of the shape above,
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
        words = flat.view(torch.int64).nonzero().squeeze(1)
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


@dataclass
class _Exact:
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
class _Rounded(_Exact):
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
        columns, order = transposed(found)
        values = torch.empty(order.numel(), dtype=self.x.dtype, device=self.x.device)
        values[order] = sampled_products(columns, self.W_enc_t, self.x)
        return Rows(found.starts, found.latents, values + self.b_enc[found.latents.long()], found.width)
