"""What a step selects, in shapes that do not depend on the data.

A rule of `sanity.models.selection` becomes one top-k: of each row for `PerRow`, of the whole batch for
`PerBatch`, and for `Above` of the distance above the threshold, in a stated number of places for the whole
batch (single rows differ too much). More than that is *overflow*: it is counted, and read with the curve.
Places that are not needed hold value 0.

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

from sanity.models.card.shards import ALONE, Alone
from sanity.models.selection import Above, PerBatch, PerRow, Rule

SPARE = 4.0
"""Places per sample for `Above`, in multiples of the target L0; 16 more."""
EXTRA = 1.125
"""Candidates of a rounded product, in multiples of what is wanted (and 8 more); exact values decide.

At three shapes (d 100 to 768, 3,200 to 18,432 latents) none of about 120,000 latents was missing with
1.05 and 8 more; by the rounded values alone .4 to 1.5 % were others."""

Pre = Float[Tensor, "arms batch d_sae"]
Lowest = Float[Tensor, "arms d_sae"] | None


@dataclass
class Entries:
    """Places of a sparse matrix, row after row."""

    starts: Int[Tensor, " n_rows_plus_1"]
    rows: Int[Tensor, " n"]
    latents: Int[Tensor, " n"]

    @classmethod
    def of(cls, flat: Int[Tensor, "arms each"], batch: int, d_sae: int) -> Entries:
        """From numbers row * d_sae + latent of each arm, rows ascending."""
        arms = len(flat)
        arm = torch.arange(arms, device=flat.device).unsqueeze(1)
        rows = (flat // d_sae + batch * arm).view(-1)
        edges = torch.arange(arms * batch + 1, device=flat.device)
        return cls(torch.searchsorted(rows, edges), rows, (flat % d_sae + d_sae * arm).view(-1))


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

    def over(self, pre: Pre, lowest: Lowest) -> Pre:
        """By what candidates are ranked: how far above its threshold each latent is."""
        return pre if lowest is None else pre - lowest.unsqueeze(1).to(pre.dtype)

    def candidates(self, over: Pre, ops: Any) -> tuple[Int[Tensor, "arms each"], Int[Tensor, " arms"]]:
        """Numbers row * d_sae + latent of each arm, rows ascending; and how many entries found no place."""
        arms, batch, d_sae = over.shape
        if isinstance(self.rule, PerRow):
            best, lost = ops.best(over, self._many(self.rule.k, d_sae))
            first = torch.arange(0, batch * d_sae, d_sae, device=over.device).unsqueeze(1)
            return (best + first).view(arms, -1), lost.sum(1)
        flat, lost = over.view(arms, -1), torch.zeros(arms, dtype=torch.int64, device=over.device)
        wanted = round(self.rule.k * batch) if isinstance(self.rule, PerBatch) else self.room * batch
        if isinstance(self.rule, Above) and wanted < flat.shape[1]:
            lost = ((flat > 0).sum(1) - wanted).clamp_min(0)
        best = flat.topk(self._many(wanted, flat.shape[1]), dim=1, sorted=False).indices
        return best.sort(dim=1).values, lost

    def keeps(
        self,
        found: Entries,
        values: Float[Tensor, " n"],
        lowest: Lowest,
        arms: int,
        shards: Alone = ALONE,
    ) -> Bool[Tensor, " n"]:
        """Which candidates the rule selects by their exact values, among those of all shards."""
        if isinstance(self.rule, Above):
            least = 0.0 if lowest is None else lowest.view(-1).index_select(0, found.latents)
            return values > least
        rows = found.starts.numel() - 1
        if isinstance(self.rule, PerBatch):
            groups, wanted = arms, round(self.rule.k * (rows // arms))
        else:
            assert isinstance(self.rule, PerRow)
            groups, wanted = rows, self.rule.k
        shaped = shards.joined(values.view(groups, -1))
        if shaped.shape[1] <= wanted:
            return values > 0
        best = shaped.topk(wanted, dim=1, sorted=False).indices
        marks = torch.zeros_like(shaped, dtype=torch.bool).scatter_(1, best, True)
        return shards.own(marks).reshape(-1) & (values > 0)

    def _many(self, wanted: int, of: int) -> int:
        return min(of, math.ceil(EXTRA * wanted) + 8) if self.rounded else min(of, wanted)
