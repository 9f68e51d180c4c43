"""The selection of a card's step as Triton kernels; `plain.py` says what each computes.

Pre-activations are the largest thing that a step makes, so they are read once where a bound is known, and
twice where it comes from them. No place depends on which program comes first: a step repeats to the bit.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sanity.models.card import plain
from sanity.models.card.entries import spread

_BYTES = 512
"""Bytes of marks, one for eight latents, that a program writes or reads at a time."""


def kernel(function: Any) -> Any:
    """`triton.jit` of the function itself, without the checks of types that a test wraps around it."""
    return triton.jit(inspect.unwrap(function))


@kernel
def _ordered(values):
    """Whole numbers in the order of some float32 or shorter ones, from 0."""
    bits = values.to(tl.float32).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + 2147483648


@kernel
def _kth(keys, k: tl.constexpr):
    """The k-th largest, bit by bit."""
    found = tl.sum(keys, axis=0) * 0
    for i in range(32):
        tried = found | (tl.full([], 1, tl.int64) << (31 - i))
        found = tl.where(tl.sum((keys >= tried).to(tl.int32), axis=0) >= k, tried, found)
    return found


@kernel
def _best(
    over, keys, latents, out, lost, d_sae,
    K: tl.constexpr, PLACES: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    group, at = tl.arange(0, GROUPS), tl.arange(0, BLOCK)
    most = tl.full([GROUPS], float("-inf"), tl.float32)
    for first in range(0, d_sae, GROUPS):
        inside = first + group < d_sae
        some = tl.load(over + row * d_sae + first + group, mask=inside, other=float("-inf"))
        most = tl.maximum(most, some.to(tl.float32))
    bound = _kth(_ordered(most), K)
    count = tl.full([], 0, tl.int32)
    for first in range(0, d_sae, BLOCK):
        inside = first + at < d_sae
        key = _ordered(tl.load(over + row * d_sae + first + at, mask=inside, other=float("-inf")))
        held = ((key >= bound) & inside).to(tl.int32)
        place = count + tl.cumsum(held, axis=0) - 1
        fits = (held > 0) & (place < PLACES)
        tl.store(keys + row * PLACES + place, key, mask=fits)
        tl.store(latents + row * PLACES + place, (first + at).to(tl.int64), mask=fits)
        count += tl.sum(held, axis=0)
    tl.debug_barrier()  # what one thread wrote another reads
    slot = tl.arange(0, PLACES)
    key = tl.load(keys + row * PLACES + slot, mask=slot < count, other=-1)
    latent = tl.load(latents + row * PLACES + slot, mask=slot < count, other=0)
    least = _kth(key, K)
    above, tied = (key > least).to(tl.int32), (key == least).to(tl.int32)
    room = K - tl.sum(above, axis=0)
    taken = above + tied * (tl.cumsum(tied, axis=0) <= room).to(tl.int32)
    place = tl.cumsum(taken, axis=0) - 1
    tl.store(out + row * K + place, latent, mask=(taken > 0) & (place < K))
    tl.store(lost + row, tl.maximum(count - PLACES, 0).to(tl.int64))


def best(over: Tensor, many: int) -> tuple[Tensor, Tensor]:
    """See `plain.best`: the row is read twice, once for a bound and once for the entries that reach it.

    The bound is the k-th largest of the maxima of groups of latents, three groups for each that is wanted, so
    that some 1.2 k entries reach it (see `selection.PerRow.bound`). There is room for more than twice k; of
    rows with more at the bound the first are taken, and the others counted.
    """
    groups = max(128, triton.next_power_of_2(3 * many))
    arms, batch, d_sae = over.shape
    if d_sae < 4 * groups or over.dtype == torch.float64:
        return plain.best(over, many)
    rows, places = arms * batch, triton.next_power_of_2(2 * many + 32)
    keys, latents = (torch.empty(rows, places, dtype=torch.int64, device=over.device) for _ in range(2))
    # Where too few entries are numbers at all, the first latents stand in.
    out = torch.arange(many, device=over.device).repeat(arms, batch, 1)
    lost = out.new_empty(arms, batch)
    block = min(4096, max(groups, triton.next_power_of_2(d_sae) // 4))
    _best[(rows,)](over, keys, latents, out, lost, d_sae, many, places, groups, block, num_warps=8)
    return out, lost


@kernel
def _mark(
    pre, lowest, slack, marks, counts, batch, d_sae, width, of_arm, of_latent, slack_of_arm, slack_of_row,
    BYTES: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    arm = row // batch
    byte, bit = tl.arange(0, BYTES), tl.arange(0, 8)
    own = tl.load(slack + arm * slack_of_arm + (row % batch) * slack_of_row)
    count = tl.full([], 0, tl.int32)
    for first in range(0, width, BYTES):
        latent = (first + byte)[:, None] * 8 + bit[None, :]
        inside = latent < d_sae
        low = tl.load(lowest + arm * of_arm + latent * of_latent, mask=inside, other=0.0) - own
        value = tl.load(pre + row * d_sae + latent, mask=inside, other=0.0).to(low.dtype)
        held = (((value < low) == 0) & inside).to(tl.int32)  # what is no number is not below
        eight = tl.sum(held << bit[None, :], axis=1)
        tl.store(marks + row * width + first + byte, eight.to(tl.uint8), mask=first + byte < width)
        count += tl.sum(tl.sum(held, axis=1), axis=0)
    tl.store(counts + row, count.to(tl.int64))


@kernel
def _list(marks, spans, out, n_rows, batch, d_sae, width, BYTES: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    byte, bit = tl.arange(0, BYTES), tl.arange(0, 8)
    begin, end = tl.load(spans + row), tl.load(spans + n_rows + row)
    for first in range(0, width, BYTES):
        eight = tl.load(marks + row * width + first + byte, mask=first + byte < width, other=0)
        held = (eight.to(tl.int32)[:, None] >> bit[None, :]) & 1
        each = tl.sum(held, axis=1)
        before = (tl.cumsum(each, axis=0) - each)[:, None] + tl.cumsum(held, axis=1) - held
        number = (row % batch) * d_sae + (first + byte)[:, None] * 8 + bit[None, :]
        tl.store(out + begin + before, number, mask=(held > 0) & (begin + before < end))
        begin += tl.sum(each, axis=0)


def above(pre: Tensor, lowest: Tensor, slack: Tensor, places: int) -> tuple[Tensor, Tensor, Tensor]:
    """See `plain.above`: pre-activations are read once, and leave one bit each with the count of each row.

    Once all counts are known, and with them the place of each row, the bits are read and the numbers written.
    """
    arms, batch, d_sae = pre.shape
    width, rows = triton.cdiv(d_sae, 8), (arms * batch,)
    marks = torch.empty(arms, batch, width, dtype=torch.uint8, device=pre.device)
    counts = torch.empty(arms, batch, dtype=torch.int64, device=pre.device)
    exact = torch.promote_types(pre.dtype, torch.float32)
    lowest, slack = lowest.to(exact).expand(arms, d_sae), slack.to(exact).expand(arms, batch)
    strides = *lowest.stride(), *slack.stride()
    _mark[rows](pre, lowest, slack, marks, counts, batch, d_sae, width, *strides, _BYTES, num_warps=8)
    spans, lost = spread(counts, places)
    numbers = torch.full((arms, places), batch * d_sae - 1, device=pre.device)
    _list[rows](marks, spans, numbers, arms * batch, batch, d_sae, width, _BYTES, num_warps=8)
    return numbers, spans, lost
