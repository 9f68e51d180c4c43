"""The few heavy operations of a step: one dense product, and sparse ones over active latents only.

Each is a call into PyTorch or numpy, so no compiler is needed (and would not help: all but the product is
bound by memory). The choices were measured on one core with AVX-512 (AMD Zen 5; d 768, m 6144, batch 4096,
k 64), in CPU milliseconds:

- encoder product: 380 by `torch.mm` (MKL), 166 by oneDNN's float32 kernel, 93 by its bf16 kernel;
- exact top-k of each row: 84 by `torch.topk`, 28 by bound, comparison, collecting and the exact choice;
- weighted sums of decoder rows: 17 by a CSR product, 9 by `embedding_bag`;
- products for the active latents: 20 row by row, 14 latent by latent; 290 by gathering and `bmm`;
- the order of the active entries by latent (of an Intel core): 6.5 by a stable sort, 1.7 by counting.

A whole float32 step then takes 250 to 266 (65 % of it the product), 185 to 205 with the bf16 product.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from sanity.models.selection import Rows, offsets

BLOCK_ENTRIES = 3_000_000
"""Pre-activations held at a time on the CPU: 12 MB of float32, so that they stay in the cache."""
MAX_DENSITY = 1 / 2
"""Share of active latents above which dense products are cheaper. At d 768, m 512 and 1,024 on two cores the
sparse way took 0.27 of the dense way's time at a share of 1/16, 0.54 at 1/4 and 0.81 at 1/2; on one core of
another machine (m 1,024) 0.47 at 1/8, 1.1 at 0.45 and 2.3 at 0.95."""


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
    """`rows` with latents as rows and samples as columns, and the order that its entries come from.

    On the CPU by scipy, which counts where the library's stable sort compares: a quarter of its time.
    """
    if rows.latents.device.type == "cpu":
        places = np.arange(rows.latents.numel(), dtype=np.int32)
        by_row = (places, rows.latents.numpy(), rows.starts.numpy())
        found = sparse.csr_array(by_row, shape=(rows.n_rows, rows.width)).tocsc()
        starts, samples, order = (torch.from_numpy(one) for one in (found.indptr, found.indices, found.data))
        order = order.long()
    else:
        order = rows.latents.argsort(stable=True)
        starts = offsets(torch.bincount(rows.latents, minlength=rows.width))
        samples = rows.rows.index_select(0, order)
    return Rows(starts, samples, rows.values.index_select(0, order), rows.n_rows), order


def block_rows(batch: int, d_sae: int, device: torch.device) -> int:
    """Rows of pre-activations to hold at a time: all on a GPU, on a CPU what fits its cache."""
    if device.type != "cpu":
        return max(1, batch)
    fitting = BLOCK_ENTRIES // d_sae
    return max(1, min(batch, max(128, fitting - fitting % 64)))
