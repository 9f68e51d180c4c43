"""Intruder detection: among contexts in which a latent fires, is the one in which it does not told apart?"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

SET = 5
"""Contexts per set, one of them the intruder: chance is 1 / 5."""


def intruder_accuracy(
    embeddings: Float[Tensor, "windows d"],
    members: Int[Tensor, " m"],
    strangers: Int[Tensor, " s"],
    *,
    sets: int,
    generator: torch.Generator,
) -> float:
    """Share of `sets` in which the intruder is the context least like the others, by mean cosine.

    Each set is four of `members` (contexts in which the latent fires), drawn without replacement, and one of
    `strangers` (in which it does not). NaN with fewer than four members or no stranger.
    """
    if len(members) < SET - 1 or not len(strangers):
        return float("nan")
    drawn = torch.rand(sets, len(members), generator=generator).argsort(1)[:, : SET - 1]
    intruders = torch.randint(len(strangers), (sets, 1), generator=generator)
    chosen = torch.cat([members[drawn], strangers[intruders]], dim=1)
    vectors = embeddings[chosen]
    likeness = (vectors @ vectors.transpose(1, 2)).sum(2)
    return float((likeness.argmin(1) == SET - 1).float().mean())
