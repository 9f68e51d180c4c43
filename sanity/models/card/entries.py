"""What a step selects, in shapes that do not depend on the data.

A rule of `sanity.models.selection` becomes one top-k of each row for `PerRow`. For the others a bound comes
first: the thresholds of `Above`, and for `PerBatch` a value that enough entries reach. What reaches it is
collected, sample after sample, in a stated number of places for the whole batch (single rows differ too
much). More than that is *overflow*: it is counted, and read with the curve. Places that are not needed hold
value 0.

Samples and latents of all arms of a stack count on in one numbering: sample i of arm a is row
a * batch + i, latent j of it is a * d_sae + j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.models.card.shards import ALONE, SingleShard
from sanity.models.selection import Above, PerBatch, PerRow, Rule, group_maxima

SPARE = 4.0
"""Places per sample for `Above`, in multiples of the target L0; 16 more."""
EXTRA = 1.125
"""Candidates of a rounded product, in multiples of what is wanted (and 8 more); exact values decide.

At three shapes (d 100 to 768, 3,200 to 18,432 latents) none of about 120,000 latents was missing with
1.05 and 8 more; by the rounded values alone .4 to 1.5 % were others."""
GROUP = 16
"""Latents of which a bound for `PerBatch` sees the largest alone."""
REACH = 2.0
"""Places for what reaches that bound, in multiples of what is wanted (and 32 more). At four shapes (3,200 to
73,728 latents) 1.01 to 1.08 times as many as wanted reached it where samples were alike, and 1.1 to 1.35
where a tenth of them held half or more of all."""

Pre = Float[Tensor, "arms batch d_sae"]
Lowest = Float[Tensor, "arms d_sae"] | None
Spans = Int[Tensor, "2 n_rows"]
"""Where the places of each row begin, and where they end."""


@dataclass
class Entries:
    """Places of a sparse matrix, row after row; between those of two arms there may be some of no row."""

    spans: Spans
    rows: Int[Tensor, " n"]
    latents: Int[Tensor, " n"]
    flat: Int[Tensor, "arms each"]
    """Numbers row * d_sae + latent within each arm, ascending."""

    @classmethod
    def of(
        cls, flat: Int[Tensor, "arms each"], batch: int, d_sae: int, spans: Spans | None = None
    ) -> Entries:
        """From the numbers; without `spans` all of them are of a row."""
        arms = len(flat)
        arm = torch.arange(arms, device=flat.device).unsqueeze(1)
        rows = (flat // d_sae + batch * arm).view(-1)
        if spans is None:
            edges = torch.searchsorted(rows, torch.arange(arms * batch + 1, device=flat.device))
            spans = torch.stack([edges[:-1], edges[1:]])
        return cls(spans, rows, (flat % d_sae + d_sae * arm).view(-1), flat)

    def of_a_row(self) -> Bool[Tensor, "arms each"]:
        """Which places any row has."""
        ends = self.spans[1].view(len(self.flat), -1)[:, -1:]
        return torch.arange(self.flat.numel(), device=ends.device).view_as(self.flat) < ends


def spread(counts: Int[Tensor, "arms batch"], places: int) -> tuple[Spans, Int[Tensor, " arms"]]:
    """The spans of rows with so many entries, in as many places per arm, and how many entries have none.

    Where there are too many, each row keeps the same share of its own.
    """
    totals = counts.cumsum(1)
    ends = totals * places // totals[:, -1:].clamp_min(places)
    starts = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], 1)
    first = torch.arange(0, len(counts) * places, places, device=counts.device).unsqueeze(1)
    return torch.stack([(starts + first).view(-1), (ends + first).view(-1)]), totals[:, -1] - ends[:, -1]


@dataclass(frozen=True)
class Selection:
    """A rule with a static number of places."""

    rule: Rule
    room: int
    """Places per sample for `Above`; the other rules say themselves how many entries they select."""
    rounded: bool = False
    """Whether pre-activations are rounded: then there are `EXTRA` times as many candidates, and 8 more."""

    @classmethod
    def by(cls, rule: Rule, d_sae: int, target: float, *, rounded: bool) -> Selection:
        """With `SPARE` times the target L0 as room."""
        return cls(rule, min(d_sae, math.ceil(SPARE * target) + 16), rounded)

    def lowest(self, threshold: Lowest) -> Lowest:
        """Above which pre-activations are of interest, where thresholds are learned."""
        margin = self.rule.margin if isinstance(self.rule, Above) else 0.0
        if threshold is None:
            return None
        return threshold - margin if margin else threshold.clamp_min(0)

    def candidates(
        self, pre: Pre, lowest: Lowest, error: Float[Tensor, "arms batch"] | None, ops: Any
    ) -> tuple[Entries, Int[Tensor, " arms"]]:
        """All that the rule may select, and how many entries found no place.

        `error` is how far rounded pre-activations of each sample may be off; see `rounding_error`.
        """
        arms, batch, d_sae = pre.shape
        if isinstance(self.rule, PerRow):
            best, lost = ops.best(pre, self._many(self.rule.k, d_sae))
            first = torch.arange(0, batch * d_sae, d_sae, device=pre.device).unsqueeze(1)
            return Entries.of((best + first).view(arms, -1), batch, d_sae), lost.sum(1)
        slack = pre.new_zeros(1, 1)
        if isinstance(self.rule, PerBatch):
            many = self._many(round(self.rule.k * batch), batch * d_sae)
            bound, places = _reached(pre, many, math.ceil(self.rule.k)), math.ceil(REACH * many) + 32
        else:
            bound, places = pre.new_zeros(1, 1) if lowest is None else lowest, self.room * batch
            if error is not None:
                bound, slack = bound - bound.abs() / 128, error
            elif lowest is None:
                bound = bound + torch.finfo(pre.dtype).tiny
        flat, spans, lost = ops.above(pre, bound, slack, min(places, batch * d_sae))
        return Entries.of(flat, batch, d_sae, spans), lost

    def chosen(
        self,
        found: Entries,
        values: Float[Tensor, " n"],
        lowest: Lowest,
        batch: int,
        d_sae: int,
        shards: SingleShard = ALONE,
    ) -> tuple[Entries, Float[Tensor, " m"], Bool[Tensor, " m"]]:
        """What the rule selects by exact values, of all shards: places, values, and which it selects."""
        if isinstance(self.rule, Above):
            least = 0.0 if lowest is None else lowest.view(-1).index_select(0, found.latents)
            return found, values, found.of_a_row().view(-1) & (values > least)
        each = values.view(len(found.flat), -1)
        if isinstance(self.rule, PerBatch):
            wanted = round(self.rule.k * batch)
            if shards is not ALONE:  # how many of the best are here is not known beforehand
                return found, values, among_best(each, wanted, shards).view(-1) & (values > 0)
            best = each.topk(min(each.shape[1], wanted), dim=1, sorted=False).indices.sort(dim=1).values
            kept = each.gather(1, best).view(-1)
            return Entries.of(found.flat.gather(1, best), batch, d_sae), kept, kept > 0
        assert isinstance(self.rule, PerRow)
        rows = values.view(found.spans.shape[1], -1)
        return found, values, among_best(rows, self.rule.k, shards).view(-1) & (values > 0)

    def _many(self, wanted: int, of: int) -> int:
        return min(of, math.ceil(EXTRA * wanted) + 8) if self.rounded else min(of, wanted)


def among_best(
    values: Float[Tensor, "groups each"], wanted: int, shards: SingleShard = ALONE
) -> Bool[Tensor, "groups each"]:
    """Which values are among the `wanted` largest that all shards have in each group."""
    every = shards.joined(values)
    if every.shape[1] <= wanted:
        return torch.ones_like(values, dtype=torch.bool)
    best = every.topk(wanted, dim=1, sorted=False).indices
    return shards.own(torch.zeros_like(every, dtype=torch.bool).scatter_(1, best, True)).contiguous()


def _reached(pre: Pre, many: int, k: int) -> Float[Tensor, "arms 1"]:
    """A positive value of each arm that at least `many` entries reach, if as many are positive.

    It is one of the maxima of groups of latents: at least three groups for each latent that is wanted, and of
    at most `GROUP` latents, since samples differ.
    """
    enough = max(k, pre.shape[2] // (3 * GROUP))
    maxima = group_maxima(pre.flatten(0, 1), enough).view(len(pre), -1)
    # What is no number counts as large: it has to be found.
    best = maxima.nan_to_num(nan=math.inf, posinf=math.inf).topk(many, dim=1, sorted=False).values
    return best.amin(1, keepdim=True).clamp_min(torch.finfo(pre.dtype).tiny)
