"""The heavy operations of a card's step as Triton kernels; `plain.py` says what each computes.

All are bound by memory, so each reads what it needs once: a program works on one sample, or on one latent,
and walks through its entries a few at a time. Sums are in a fixed order, so that a step repeats to the bit.
With TRITON_INTERPRET=1 they run on a processor, slowly, which is how they are tested without a card.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sanity.models.card.entries import Entries, Spans
from sanity.models.card.fused_selection import above, best, kernel
from sanity.models.card.plain import MIX, Adam, Columns, LatentGradients
from sanity.models.learner import SHORTEST

__all__ = ["above", "best", "latent_gradients", "move_rows", "products", "weighted_sums"]

_WIDE = 8192
"""Numbers that a program holds of each matrix at a time."""


def _tile(d: int) -> dict[str, int]:
    """A row's length as a power of two, entries at a time, and warps."""
    D = max(16, triton.next_power_of_2(d))
    return {"D": D, "T": max(2, min(16, _WIDE // D)), "num_warps": 4 if D <= 1024 else 8}


@kernel
def _sums(spans, columns, values, table, out, n_rows, d, T: tl.constexpr, D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, D)
    total = tl.zeros([D], dtype=out.dtype.element_ty)
    last = tl.load(spans + n_rows + row)
    for first in range(tl.load(spans + row), last, T):
        entry = first + tl.arange(0, T)
        value = tl.load(values + entry, mask=entry < last, other=0.0)
        column = tl.load(columns + entry, mask=entry < last, other=0)
        needed = (value != 0)[:, None] & (at < d)[None, :]
        rows = tl.load(table + column[:, None] * d + at[None, :], mask=needed, other=0.0)
        total += tl.sum(value[:, None] * rows, axis=0)
    tl.store(out + row * d + at, total, mask=at < d)


def weighted_sums(spans: Spans, columns: Tensor, values: Tensor, table: Tensor) -> Tensor:
    """See `plain.weighted_sums`."""
    n_rows, d = spans.shape[1], table.shape[1]
    out = table.new_empty(n_rows, d)
    _sums[(n_rows,)](spans, columns, values, table, out, n_rows, d, **_tile(d))
    return out


@kernel
def _products(spans, latents, left, right, out, n_rows, d, T: tl.constexpr, D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, D)
    own = tl.load(left + row * d + at, mask=at < d, other=0.0)
    last = tl.load(spans + n_rows + row)
    for first in range(tl.load(spans + row), last, T):
        entry = first + tl.arange(0, T)
        latent = tl.load(latents + entry, mask=entry < last, other=0)
        needed = (entry < last)[:, None] & (at < d)[None, :]
        rows = tl.load(right + latent[:, None] * d + at[None, :], mask=needed, other=0.0)
        tl.store(out + entry, tl.sum(rows * own[None, :], axis=1), mask=entry < last)


def products(found: Entries, left: Tensor, right: Tensor) -> Tensor:
    """See `plain.products`."""
    out = left.new_empty(found.rows.numel())
    n_rows, d = found.spans.shape[1], left.shape[1]
    _products[(n_rows,)](found.spans, found.latents, left, right, out, n_rows, d, **_tile(d))
    return out


@kernel
def _gradients(
    starts, order, g_rows, x_rows, zs, slopes, shifts, nears, W_dec, G, reads,
    out_dec, out_enc, out_bias, out_near_dz, out_near, d_out, d_in,
    T: tl.constexpr, D: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    latent = tl.load(order + tl.program_id(0))
    at, into = tl.arange(0, D), tl.arange(0, N)
    kind = out_dec.dtype.element_ty
    own = tl.load(W_dec + latent * d_out + at, mask=at < d_out, other=0.0)
    dec, enc = tl.zeros([D], dtype=kind), tl.zeros([N], dtype=kind)
    bias, near_dz, near = tl.zeros([T], dtype=kind), tl.zeros([T], dtype=kind), tl.zeros([T], dtype=kind)
    last = tl.load(starts + latent + 1)
    for first in range(tl.load(starts + latent), last, T):
        entry = first + tl.arange(0, T)
        there = entry < last
        g_row = tl.load(g_rows + entry, mask=there, other=0)
        x_row = tl.load(x_rows + entry, mask=there, other=0)
        z = tl.load(zs + entry, mask=there, other=0.0)
        close = tl.load(nears + entry, mask=there, other=0.0)
        g = tl.load(
            G + g_row[:, None] * d_out + at[None, :], mask=there[:, None] & (at < d_out)[None, :], other=0.0
        )
        dz = tl.sum(g * own[None, :], axis=1)
        du = tl.load(slopes + entry, mask=there, other=0.0) * dz + tl.load(
            shifts + entry, mask=there, other=0.0
        )
        x = tl.load(
            reads + x_row[:, None] * d_in + into[None, :],
            mask=there[:, None] & (into < d_in)[None, :],
            other=0.0,
        )
        dec += tl.sum(z[:, None] * g, axis=0)
        enc += tl.sum(du[:, None] * x, axis=0)
        bias += du
        near_dz += close * dz
        near += close
    tl.store(out_dec + latent * d_out + at, dec, mask=at < d_out)
    tl.store(out_enc + latent * d_in + into, enc, mask=into < d_in)
    tl.store(out_bias + latent, tl.sum(bias, axis=0))
    tl.store(out_near_dz + latent, tl.sum(near_dz, axis=0))
    tl.store(out_near + latent, tl.sum(near, axis=0))


def latent_gradients(columns: Columns, W_dec: Tensor, G: Tensor, reads: Tensor) -> LatentGradients:
    """See `plain.latent_gradients`: both matrices' gradients in one pass over the active latents.

    The latents with most entries begin first, so that none of them is what all others wait for.
    """
    width, d_out, d_in = len(W_dec), W_dec.shape[1], reads.shape[1]
    busiest = columns.starts.diff().argsort(descending=True)
    out = LatentGradients(
        W_dec.new_empty(width, d_out),
        W_dec.new_empty(width, d_in),
        *(W_dec.new_empty(width) for _ in range(3)),
    )
    tile = _tile(max(d_out, d_in))
    tile["D"], tile["N"] = (max(16, triton.next_power_of_2(d)) for d in (d_out, d_in))
    _gradients[(width,)](
        columns.starts, busiest, columns.g_rows, columns.x_rows, columns.z, columns.slope, columns.shift,
        columns.near, W_dec, G, reads, out.W_dec, out.W_enc, out.b_enc, out.near_dz, out.near, d_out, d_in,
        **tile,
    )  # fmt: skip
    return out


@kernel
def _shortened(values, more):
    """To bf16, towards 0 after `more` was added to what is cut off."""
    bits = values.to(tl.float32).to(tl.int32, bitcast=True) + more
    return (bits & -65536).to(tl.float32, bitcast=True)


@kernel
def _in_cone(row, anchor, here, at, bound, EPS: tl.constexpr, BLOCKS: tl.constexpr):
    """A row, with what is `here` of it at the edge of its cone where it was outside; see `plain.in_cones`."""
    part, axis = tl.where(here, row, 0.0), tl.where(here, anchor, 0.0)
    length = tl.sum(axis, axis=0) * 0 + 1
    if BLOCKS > 1:
        length = tl.sqrt(tl.sum(part * part, axis=0))
        part /= length
        axis /= tl.sqrt(tl.sum(axis * axis, axis=0))
    along = tl.sum(part * axis, axis=0)
    across = part - along * axis
    across -= tl.sum(across * axis, axis=0) * axis
    weakest = tl.argmin(tl.where(here, tl.abs(axis), float("inf")), axis=0)
    unit = tl.where(at == weakest, 1.0, 0.0).to(axis.dtype)
    lost = tl.sqrt(tl.sum(across * across, axis=0)) < 64 * EPS
    across = tl.where(lost, unit - tl.sum(unit * axis, axis=0) * axis, across)
    across /= tl.sqrt(tl.sum(across * across, axis=0))
    edge = bound * axis + tl.sqrt(1 - bound * bound) * across
    outside = tl.where(bound > -1, along, bound) < bound - 2 * EPS  # of no length: no number, and inside
    return tl.where(outside, tl.where(here, length * edge, row), row)


@kernel
def _move(
    weights, gradients, means, squares, anchors, rates, corrections, learns, steps, bounds, d_sae, d,
    BETA1: tl.constexpr, BETA2: tl.constexpr, EPSILON: tl.constexpr, DECAY: tl.constexpr,
    SHORT: tl.constexpr, EPS: tl.constexpr, DECODER: tl.constexpr, ANCHORED: tl.constexpr,
    BLOCKS: tl.constexpr, MIX0: tl.constexpr, MIX1: tl.constexpr, MIX2: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    arm, at = row // d_sae, tl.arange(0, D)
    place, inside = row * d + at, at < d
    if tl.load(learns + arm) != 0:
        weight = tl.load(weights + place, mask=inside, other=0.0)
        gradient = tl.load(gradients + place, mask=inside, other=0.0)
        mean = tl.load(means + place, mask=inside, other=0.0).to(weight.dtype)
        square = tl.load(squares + place, mask=inside, other=0.0).to(weight.dtype)
        rate, bound, axis = tl.load(rates + arm), tl.load(bounds + arm), weight
        if ANCHORED:
            axis = tl.load(anchors + place, mask=at < tl.where(bound > -1, d, 0), other=0.0)
        if DECODER:
            gradient -= tl.sum(gradient * weight, axis=0) * weight
        elif ANCHORED:
            gradient = tl.where(bound >= 1, tl.sum(gradient * axis, axis=0) * axis, gradient)
        mean += (1 - BETA1) * (gradient - mean)
        square = BETA2 * square + (1 - BETA2) * gradient * gradient
        below = tl.sqrt(square / tl.load(corrections + 1)) + EPSILON
        weight = weight * (1 - rate * DECAY) - rate / tl.load(corrections) * mean / below
        if DECODER:
            weight /= tl.sqrt(tl.sum(weight * weight, axis=0))
            if ANCHORED:
                for block in tl.static_range(BLOCKS):
                    here = inside & (at // (d // BLOCKS) == block)
                    weight = _in_cone(weight, axis, here, at, bound, EPS, BLOCKS)
        elif ANCHORED:
            length = tl.maximum(tl.sum(weight * axis, axis=0), tl.full([], SHORT, axis.dtype))
            weight = tl.where(bound >= 1, length * axis, weight)
        tl.store(weights + place, weight, mask=inside)
        if squares.dtype.element_ty == tl.bfloat16:  # see `plain._to_bf16`
            mixed = place.to(tl.int32) * MIX0 + tl.load(steps).to(tl.int32) * MIX1
            mixed = (mixed ^ (mixed >> 15)) * MIX2
            square = _shortened(square, (mixed >> 16) & 0xFFFF)
            mean = _shortened(mean, 0x7FFF + ((mean.to(tl.float32).to(tl.int32, bitcast=True) >> 16) & 1))
        tl.store(means + place, mean.to(means.dtype.element_ty), mask=inside)
        tl.store(squares + place, square.to(squares.dtype.element_ty), mask=inside)


def move_rows(
    weight: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    adam: Adam,
    anchor: Tensor | None,
    bound: Tensor,
    *,
    decoder: bool,
    blocks: int = 1,
) -> None:
    """See `plain.move_rows`: AdamW, unit norm and cone in one pass over the weights."""
    arms, d_sae, d = weight.shape
    tile: dict[str, Any] = {name: value for name, value in _tile(d).items() if name != "T"}
    _move[(arms * d_sae,)](
        weight, gradient, *moments, weight if anchor is None else anchor, adam.rate, adam.corrections,
        adam.learns, adam.count, bound.to(weight.dtype), d_sae, d, adam.beta1, adam.beta2, adam.epsilon,
        adam.decay, SHORTEST, torch.finfo(weight.dtype).eps, decoder, anchor is not None, blocks, *MIX,
        **tile,
    )  # fmt: skip
