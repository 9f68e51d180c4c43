"""The heavy operations of a card's step in plain PyTorch: what the kernels of `fused.py` are tested against.

They run everywhere, with static shapes and without the host, and serve where there is no Triton.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sanity.models.card.entries import Entries, Spans, spread
from sanity.models.learner import SHORTEST

MIX = (-1640531535, -2048144777, 739982445)
"""Odd numbers that scatter a place and a step over all 32 bits."""
_AT_ONCE = 1 << 24
"""Numbers that `products` holds at a time."""


@dataclass
class Columns:
    """Entries latent by latent, and what each takes part in."""

    starts: Int[Tensor, " width_plus_1"]
    latents: Int[Tensor, " n"]
    """`width` for those that take part in nothing; they come last."""
    g_rows: Int[Tensor, " n"]
    """The row of the residuals' gradients that each multiplies."""
    x_rows: Int[Tensor, " n"]
    z: Float[Tensor, " n"]
    slope: Float[Tensor, " n"]
    """1 where the pre-activation moves the latent."""
    shift: Float[Tensor, " n"]
    """What a penalty adds to the pre-activation's gradient."""
    near: Float[Tensor, " n"]
    """1 within reach of a learned threshold."""


@dataclass
class LatentGradients:
    """Sums over the entries of each latent, of all arms."""

    W_dec: Float[Tensor, "width d_out"]
    W_enc: Float[Tensor, "width d_in"]
    b_enc: Float[Tensor, " width"]
    near_dz: Float[Tensor, " width"]
    near: Float[Tensor, " width"]


@dataclass
class Adam:
    """AdamW of one matrix, with a rate per arm; what changes from step to step lives on the device."""

    beta1: float
    beta2: float
    epsilon: float
    decay: float
    """Weight decay."""
    rate: Float[Tensor, " arms"]
    corrections: Float[Tensor, 2]
    """1 - beta1^t and 1 - beta2^t."""
    learns: Bool[Tensor, " arms"]
    count: Int[Tensor, 1]
    """Steps before this one; it decides how moments are rounded."""


def best(
    over: Float[Tensor, "arms batch d_sae"], many: int
) -> tuple[Int[Tensor, "arms batch many"], Int[Tensor, "arms batch"]]:
    """The latents of the `many` largest entries of each row, in any order, and how many were left out."""
    found = over.topk(many, dim=2, sorted=False).indices
    return found, found.new_zeros(over.shape[:2])


def above(
    pre: Float[Tensor, "arms batch d_sae"],
    lowest: Float[Tensor, "#arms #d_sae"],
    slack: Float[Tensor, "#arms #batch"],
    places: int,
) -> tuple[Int[Tensor, "arms places"], Spans, Int[Tensor, " arms"]]:
    """The entries that are not below `lowest` (of each latent, or one) less `slack` (of each sample, or one).

    Their numbers row * d_sae + latent within each arm, ascending, and the last number where none is left;
    where the rows have theirs, and how many had no place (see `spread`). What is no number is not below.
    """
    arms, batch, d_sae = pre.shape
    marks = ~(pre < lowest.unsqueeze(1) - slack.unsqueeze(2))
    counts = marks.sum(2)
    spans, lost = spread(counts, places)
    starts, ends = spans.view(2, arms, batch) - places * torch.arange(arms, device=pre.device).view(-1, 1)
    at = torch.arange(places, device=pre.device).expand(arms, -1).contiguous()
    row = torch.searchsorted(ends.contiguous(), at, right=True).clamp_max_(batch - 1)
    rank = at + 1 + (counts.cumsum(1) - counts - starts).gather(1, row)
    so_far = marks.view(arms, -1).cumsum(1, dtype=torch.int32)
    return torch.searchsorted(so_far, rank.int()).clamp_max_(batch * d_sae - 1), spans, lost


def weighted_sums(
    spans: Spans,
    columns: Int[Tensor, " n"],
    values: Float[Tensor, " n"],
    table: Float[Tensor, "width d"],
) -> Float[Tensor, "n_rows d"]:
    """Row i is the sum of values[e] table[columns[e]] over its entries; values between rows are 0."""
    if columns.numel() == 0:
        return table.new_zeros(spans.shape[1], table.shape[1])
    # A last bag takes what follows the last row.
    bags = torch.cat([spans[0], spans[1, -1:]])
    return functional.embedding_bag(columns, table, bags, mode="sum", per_sample_weights=values)[:-1]


def products(
    found: Entries, left: Float[Tensor, "n_rows d"], right: Float[Tensor, "width d"]
) -> Float[Tensor, " n"]:
    """`<left[rows[e]], right[latents[e]]>` for every entry of a row; for the others anything."""
    return _products(found.rows, found.latents, left, right)


def _products(
    rows: Int[Tensor, " n"],
    latents: Int[Tensor, " n"],
    left: Float[Tensor, "n_rows d"],
    right: Float[Tensor, "width d"],
) -> Float[Tensor, " n"]:
    size = max(1, _AT_ONCE // left.shape[1])
    pairs = zip(torch.split(rows, size), torch.split(latents, size), strict=True)
    parts = [torch.linalg.vecdot(left.index_select(0, i), right.index_select(0, j)) for i, j in pairs]
    return torch.cat(parts)


def latent_gradients(
    columns: Columns,
    W_dec: Float[Tensor, "width d_out"],
    G: Float[Tensor, "g_rows d_out"],
    reads: Float[Tensor, "x_rows d_in"],
) -> LatentGradients:
    """dz_e = <G, W_dec>, du = slope dz + shift; then sum z G, sum du x, sum du, sum near dz and sum near."""
    dz = _products(columns.g_rows, columns.latents.clamp_max(len(W_dec) - 1), G, W_dec)
    du = columns.slope * dz + columns.shift
    singles = torch.stack([du, columns.near * dz, columns.near], 1)
    each = torch.arange(len(dz), device=dz.device)
    spans = torch.stack([columns.starts[:-1], columns.starts[1:]])
    b_enc, near_dz, near = weighted_sums(spans, each, torch.ones_like(dz), singles).unbind(1)
    return LatentGradients(
        weighted_sums(spans, columns.g_rows, columns.z, G),
        weighted_sums(spans, columns.x_rows, du, reads),
        b_enc,
        near_dz,
        near,
    )


def adam_step(
    weight: Float[Tensor, arms * shape],
    gradient: Float[Tensor, arms * shape],
    moments: tuple[Float[Tensor, arms * shape], Float[Tensor, arms * shape]],
    adam: Adam,
) -> Float[Tensor, arms * shape]:
    """Moves the moments in place and returns the weight after the step, as `torch.optim.AdamW` has it.

    Moments may be kept in bf16 (see `Training.moments`); the step itself is taken with those before rounding.
    """
    each = (-1, *(1,) * (weight.ndim - 1))
    rate, (first, second) = adam.rate.view(each), adam.corrections.unbind(0)
    mean, square = (moment.to(weight.dtype) for moment in moments)
    mean.lerp_(gradient, 1 - adam.beta1)
    square.mul_(adam.beta2).addcmul_(gradient, gradient, value=1 - adam.beta2)
    if moments[0].dtype != mean.dtype:
        moments[0].copy_(mean)
        moments[1].copy_(_to_bf16(square, adam.count))
    below = (square / second).sqrt().add_(adam.epsilon)
    return weight * (1 - rate * adam.decay) - (rate / first) * mean / below


def _to_bf16(values: Float[Tensor, "*shape"], count: Int[Tensor, 1]) -> Float[Tensor, "*shape"]:
    """Each rounded up as often as it is near the next number of bf16: by chance of its place and the step."""
    place = torch.arange(values.numel(), dtype=torch.int32, device=values.device).view_as(values)
    mixed = place * MIX[0] + count.int() * MIX[1]
    mixed = (mixed ^ (mixed >> 15)) * MIX[2]
    bits = values.float().view(torch.int32) + ((mixed >> 16) & 0xFFFF)
    return (bits & ~0xFFFF).view(torch.float32)


def move(
    weight: Float[Tensor, arms * shape],
    gradient: Float[Tensor, arms * shape],
    moments: tuple[Float[Tensor, arms * shape], Float[Tensor, arms * shape]],
    adam: Adam,
) -> None:
    """An optimiser step of what has no constraint, in place."""
    moved = adam_step(weight, gradient, moments, adam)
    weight.copy_(torch.where(adam.learns.view(-1, *(1,) * (weight.ndim - 1)), moved, weight))


def move_rows(
    weight: Float[Tensor, "arms d_sae d"],
    gradient: Float[Tensor, "arms d_sae d"],
    moments: tuple[Float[Tensor, "arms d_sae d"], Float[Tensor, "arms d_sae d"]],
    adam: Adam,
    anchor: Float[Tensor, "arms d_sae d"] | None,
    bound: Float[Tensor, " arms"],
    *,
    decoder: bool,
    blocks: int = 1,
) -> None:
    """An optimiser step of a matrix with its constraint, in place; the gradient is used up.

    A decoder's rows keep unit norm and a cosine of at least `bound` with their anchor (-1: any), in each of
    some `blocks` of equal width. An encoder with a `bound` of 1 keeps its directions: its rows move along
    their anchor only (-1: freely). Without an `anchor` no arm has a bound.
    """
    cosine = bound.view(-1, 1, 1).to(weight.dtype)
    fixed = cosine >= 1
    if decoder:
        gradient.sub_(_along(gradient, weight) * weight)
        moved = adam_step(weight, gradient, moments, adam)
        moved = moved / torch.linalg.vector_norm(moved, dim=2, keepdim=True)
        if anchor is not None:
            within = in_cone if blocks == 1 else functools.partial(in_cones, blocks=blocks)
            moved = torch.where(cosine > -1, within(moved, anchor, cosine), moved)
    elif anchor is None:
        moved = adam_step(weight, gradient, moments, adam)
    else:
        gradient.copy_(torch.where(fixed, _along(gradient, anchor) * anchor, gradient))
        moved = adam_step(weight, gradient, moments, adam)
        moved = torch.where(fixed, _along(moved, anchor).clamp_min(SHORTEST) * anchor, moved)
    weight.copy_(torch.where(adam.learns.view(-1, 1, 1), moved, weight))


def in_cone(
    rows: Float[Tensor, "arms d_sae d"],
    anchor: Float[Tensor, "arms d_sae d"],
    cosine: Float[Tensor, "arms 1 1"],
) -> Float[Tensor, "arms d_sae d"]:
    """`project_to_cone` of unit rows and anchors, in their own type and without a look at the numbers."""
    along = _along(rows, anchor)
    outside = along < cosine - 2 * torch.finfo(rows.dtype).eps
    across = rows - along * anchor
    across = across - _along(across, anchor) * anchor  # what rounding left along the anchor
    length = torch.linalg.vector_norm(across, dim=2, keepdim=True)
    axis = torch.zeros_like(rows).scatter_(2, anchor.abs().argmin(2, keepdim=True), 1.0)
    lost = length < 64 * torch.finfo(rows.dtype).eps  # antiparallel: any direction is as near
    across = torch.where(lost, axis - _along(axis, anchor) * anchor, across)
    across = across / torch.linalg.vector_norm(across, dim=2, keepdim=True)
    return torch.where(outside, cosine * anchor + (1 - cosine.square()).sqrt() * across, rows)


def in_cones(
    rows: Float[Tensor, "arms d_sae d"],
    anchor: Float[Tensor, "arms d_sae d"],
    cosine: Float[Tensor, "arms 1 1"],
    *,
    blocks: int,
) -> Float[Tensor, "arms d_sae d"]:
    """`in_cone` of every block of a row by itself, which keeps its length; what has none stays."""
    shape = len(rows), -1, rows.shape[2] // blocks
    parts, axes = rows.reshape(shape), anchor.reshape(shape)
    length = torch.linalg.vector_norm(parts, dim=2, keepdim=True)
    axes = axes / torch.linalg.vector_norm(axes, dim=2, keepdim=True)
    return torch.where(length > 0, length * in_cone(parts / length, axes, cosine), parts).view_as(rows)


def _along(
    a: Float[Tensor, "arms d_sae d"], b: Float[Tensor, "arms d_sae d"]
) -> Float[Tensor, "arms d_sae 1"]:
    out: Tensor = torch.linalg.vecdot(a, b).unsqueeze(2)
    return out
