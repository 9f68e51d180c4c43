"""Which latents are active: exact rules that sort as little as possible.

A rule works in two steps. `bound` gives, for a block of pre-activations, a value below which nothing can be
selected; the few entries above it, the candidates, are collected in rows. `keep` then decides exactly which
candidates stay. So the dense block is read twice (once for the bound, once for the comparison), and the cost
of everything after is proportional to the candidates. `mask` is the same rule in plain dense form: the
definition that the tests compare the fast form with.

Only positive pre-activations are ever selected: the others would be zero after ReLU. Of equal ones the lower
row is taken, then the lower latent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

_GROUPS_PER_K, _LANES = 3, 64
"""Groups per wanted latent: with 3, about 1.2 k entries pass the bound (6 would give 1.1 k). Their number is
a multiple of the lanes, which makes the maxima up to ten times as fast."""

_ENOUGH_ROWS = 256
"""Of which a batch's threshold is estimated well within the slack."""


def offsets(counts: Int[Tensor, " n"] | Bool[Tensor, " n"]) -> Int[Tensor, " n_plus_1"]:
    """Where each of some consecutive runs of entries begins, and the end of the last; int32."""
    out = counts.new_zeros(counts.numel() + 1, dtype=torch.int32)
    torch.cumsum(counts, 0, dtype=torch.int32, out=out[1:])
    return out


@dataclass
class Rows:
    """Entries of a sparse matrix [n_rows, width], row after row, latents ascending in each."""

    starts: Int[Tensor, " n_rows_plus_1"]
    """Where each row begins in `latents` and `values`, and the end; int32."""
    latents: Int[Tensor, " n"]
    """Column of each entry; int32."""
    values: Float[Tensor, " n"]
    width: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.starts.numel() - 1

    @property
    def counts(self) -> Int[Tensor, " n_rows"]:
        """Entries per row."""
        return self.starts.diff()

    @property
    def rows(self) -> Int[Tensor, " n"]:
        """Row of each entry; int32."""
        index = torch.arange(self.n_rows, dtype=torch.int32, device=self.starts.device)
        return index.repeat_interleave(self.counts)

    def where(self, keep: Bool[Tensor, " n"]) -> Rows:
        """Only the entries that `keep` marks."""
        index = keep.nonzero().squeeze(1)
        latents, values = self.latents.index_select(0, index), self.values.index_select(0, index)
        return Rows(offsets(keep)[self.starts.long()], latents, values, self.width)

    def rows_from(self, first: int, last: int) -> Rows:
        """The rows from `first` to before `last`."""
        if (first, last) == (0, self.n_rows):
            return self
        starts = self.starts[first : last + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        return Rows(starts - starts[0], self.latents[inside], self.values[inside], self.width)

    @classmethod
    def of(cls, matrix: Float[Tensor, "n_rows width"]) -> Rows:
        """The entries of a matrix that are not 0, of either sign."""
        marked = matrix != 0
        row, latent = marked.nonzero(as_tuple=True)
        return cls(offsets(marked.sum(1)), latent.to(torch.int32), matrix[row, latent], matrix.shape[1])

    def dense(self) -> Float[Tensor, "n_rows width"]:
        """The whole matrix."""
        out = self.values.new_zeros(self.n_rows, self.width)
        out[self.rows.long(), self.latents.long()] = self.values
        return out


Dense = Float[Tensor, "rows d_sae"]
Marks = Bool[Tensor, "rows d_sae"]


class Rule(ABC):
    """How latents are selected from pre-activations."""

    whole_batch: ClassVar[bool] = False
    """Whether rows compete with each other, so that only a whole batch can be decided."""

    @abstractmethod
    def bound(self, pre: Dense, previous: Tensor | None, slack: float) -> Float[Tensor, ...]:
        """What to collect from this block: entries at or above this (it broadcasts against `pre`).

        `previous` is the bound of the block before; `slack` widens a bound that is only an estimate.
        """

    @abstractmethod
    def keep(self, candidates: Rows) -> Bool[Tensor, " n"]:
        """Exactly which candidates are selected."""

    def complete(self, candidates: Rows, bound: Tensor) -> bool:
        """Whether the entries collected above `bound` certainly hold all that can be selected."""
        return True

    @abstractmethod
    def mask(self, pre: Dense) -> Marks:
        """The same selection by its plain definition."""


def kth_largest(values: Float[Tensor, "*rows n"], k: int) -> Float[Tensor, "*rows 1"]:
    """The k-th largest value along the last axis, exactly.

    On the CPU by numpy's partition, which is vectorised and about ten times as fast as `torch.topk`.
    """
    if values.device.type != "cpu":
        return values.topk(k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    n = values.shape[-1]
    # numpy has no bf16.
    known = values.float() if values.dtype == torch.bfloat16 else values
    parted = np.partition(known.numpy(), n - k, axis=-1)
    return torch.from_numpy(parted[..., n - k : n - k + 1]).to(values.dtype)


@dataclass(frozen=True)
class PerRow(Rule):
    """The k largest positive entries of each row."""

    k: int

    @override
    def bound(self, pre: Dense, previous: Tensor | None, slack: float) -> Float[Tensor, "rows 1"]:
        """The k-th largest of the maxima of groups of latents: at least k entries are at or above it."""
        largest = kth_largest(group_maxima(pre, self.k), self.k)
        return largest.clamp_min_(torch.finfo(largest.dtype).tiny)

    @override
    def keep(self, candidates: Rows) -> Bool[Tensor, " n"]:
        values, starts, rows = candidates.values, candidates.starts.long(), candidates.rows.long()
        width = int(candidates.counts.max()) if candidates.n_rows else 0
        if width <= self.k:
            return values > 0
        place = torch.arange(values.numel(), device=values.device) - starts[rows]
        padded = values.new_full((candidates.n_rows, width), -math.inf)
        padded.view(-1)[rows * width + place] = values
        smallest = kth_largest(padded, self.k).squeeze(1).clamp_min_(0)[rows]
        keep = (values >= smallest) & (values > 0)
        if bool((_per_row(keep, starts) > self.k).any()):
            tied = keep & (values == smallest)
            room = self.k - _per_row(keep & ~tied, starts)
            keep &= ~tied | (_rank(tied, starts[rows]) < room[rows])
        return keep

    @override
    def mask(self, pre: Dense) -> Marks:
        order = pre.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        chosen = torch.zeros_like(pre, dtype=torch.bool).scatter_(1, order, True)
        return chosen & (pre > 0)


@dataclass(frozen=True)
class PerBatch(Rule):
    """The k x rows largest positive entries of all rows together; k may be a fraction."""

    k: float
    whole_batch: ClassVar[bool] = True

    @override
    def bound(self, pre: Dense, previous: Tensor | None, slack: float) -> Float[Tensor, ""]:
        """Estimated from rows of the first block, `slack` times as generous as needed; later blocks keep it.

        It decides only how much is collected: too little is noticed (`select` then asks again with more
        slack), and `keep` decides exactly which of the candidates stay.
        """
        if previous is not None:
            return previous
        some = pre[:: max(1, pre.shape[0] // _ENOUGH_ROWS)]
        wanted = self.k * some.shape[0] * slack
        if wanted >= some.numel():
            return pre.new_zeros(())
        return kth_largest(some.flatten(), math.ceil(wanted)).clamp_min_(0).squeeze()

    @override
    def keep(self, candidates: Rows) -> Bool[Tensor, " n"]:
        values, wanted = candidates.values, round(self.k * candidates.n_rows)
        if values.numel() <= wanted:
            return values > 0
        smallest = kth_largest(values, wanted)
        keep = (values >= smallest) & (values > 0)
        if int(keep.sum()) > wanted:
            tied = keep & (values == smallest)
            keep &= ~tied | (tied.cumsum(0) <= wanted - (keep & ~tied).sum())
        return keep

    @override
    def complete(self, candidates: Rows, bound: Tensor) -> bool:
        above = int((candidates.values >= bound).sum())
        return float(bound) <= 0 or above >= round(self.k * candidates.n_rows)

    @override
    def mask(self, pre: Dense) -> Marks:
        order = pre.flatten().argsort(descending=True, stable=True)[: round(self.k * pre.shape[0])]
        chosen = torch.zeros_like(pre, dtype=torch.bool)
        chosen.view(-1)[order] = True
        return chosen & (pre > 0)


@dataclass(frozen=True, eq=False)
class Above(Rule):
    """Positive entries above their latent's threshold (0 without one).

    With a `margin` the candidates within it below the threshold are kept too: they carry the
    straight-through gradient of the threshold. Their pre-activations may be negative.
    """

    threshold: Float[Tensor, " d_sae"] | None
    margin: float = 0.0

    @override
    def bound(self, pre: Dense, previous: Tensor | None, slack: float) -> Float[Tensor, ...]:
        if self.threshold is None:
            return pre.new_zeros(())
        return self._lowest(self.threshold)

    @override
    def keep(self, candidates: Rows) -> Bool[Tensor, " n"]:
        if self.threshold is None:
            return candidates.values > 0
        return candidates.values > self._lowest(self.threshold)[candidates.latents.long()]

    @override
    def mask(self, pre: Dense) -> Marks:
        return pre > (0.0 if self.threshold is None else self._lowest(self.threshold))

    def _lowest(self, threshold: Float[Tensor, " d_sae"]) -> Float[Tensor, " d_sae"]:
        return threshold - self.margin if self.margin else threshold.clamp_min(0)


def group_maxima(pre: Float[Tensor, "rows d_sae"], k: int) -> Float[Tensor, "rows groups"]:
    """Maxima of disjoint groups of latents, at least k of them; strided groups let it vectorise.

    The k-th largest group maximum is never above the k-th largest entry. A remainder of latents that fills
    no group is left out, which only lowers the bound. Numbers in bf16 are compared by their bits, seven
    times as fast: correct for all groups with a positive entry, and no other matters.
    """
    groups = -(-_GROUPS_PER_K * k // _LANES) * _LANES
    size = pre.shape[1] // groups
    if size < 2:
        return pre
    bits = torch.int16 if pre.dtype == torch.bfloat16 else pre.dtype
    grouped = pre.view(bits)[:, : size * groups].view(pre.shape[0], size, groups)
    return grouped.amax(1).view(pre.dtype)


def rounding_error(
    x: Float[Tensor, "*arms rows d_in"],
    W_enc_t: Float[Tensor, "*arms d_sae d_in"],
    b_enc: Float[Tensor, "*arms d_sae"],
) -> Float[Tensor, "*arms rows 1"]:
    """How far a pre-activation of a product in bf16 may be off, next to 2^-7 of itself.

    It is off by the rounding of both factors (at most 2^-9 of each, adding up like noise over d_in) and by
    its own. This is 2^-7 of |x| max|w| / sqrt(d_in) and 2^-8 of the largest bias: more than ten standard
    errors when no dimension dominates.
    """
    largest = torch.linalg.vector_norm(W_enc_t, dim=-1).amax(-1)[..., None, None]
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * largest / x.shape[-1] ** 0.5
    error: Tensor = scale / 128 + b_enc.abs().amax(-1)[..., None, None] / 256
    return error


def _per_row(marked: Bool[Tensor, " n"], starts: Int[Tensor, " rows_plus_1"]) -> Int[Tensor, " rows"]:
    """How many entries of each row are marked."""
    return offsets(marked)[starts].diff()


def _rank(marked: Bool[Tensor, " n"], start: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """For each entry, how many marked ones precede it, counted from `start`."""
    before = offsets(marked)
    return before[:-1] - before[start]
