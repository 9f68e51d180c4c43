"""What metrics are read on: held-out activations and windows of text, drawn by a seed."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.sources import OpenedSource
from sanity.subject import ActivationStore


def drawn_rows(opened: OpenedSource, n: int, *, seed: int) -> Float[Tensor, "rows d_in"]:
    """`n` held-out activations (all, if there are fewer) in their order, which ones drawn by `seed`.

    Of transcoders the targets.
    """
    chosen = _drawn(sum(map(len, opened.targets())), n, seed)
    kept, start = [], 0
    for rows in opened.targets():
        inside = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
        kept.append(rows[inside].clone())
        start += len(rows)
    return torch.cat(kept)


def drawn_windows(store: ActivationStore, n_tokens: int, *, seed: int) -> Int[Tensor, "n context"]:
    """Windows of a harvest's text with about `n_tokens` tokens, at least one, which ones drawn by `seed`."""
    chosen = _drawn(store.n_sequences, max(1, n_tokens // store.context), seed)
    return torch.cat([shard.tokens for shard in store.shards()])[chosen].long()


def spread_windows(
    store: ActivationStore, n_tokens: int, *, among: Bool[Tensor, " n_sequences"]
) -> tuple[Tensor, Tensor | None]:
    """Windows `among` those of a harvest's text, `n_tokens` or a little less, with each token's document.

    They are spread evenly over the text: neighbours would come from a handful of documents.
    """
    there = among.nonzero().squeeze(1)
    wanted = max(1, n_tokens // store.context)
    which = there[torch.linspace(0, len(there) - 1, min(wanted, len(there))).round().long()]
    shards = list(store.shards())
    tokens = torch.cat([shard.tokens for shard in shards])[which].long()
    documents = [shard.documents for shard in shards if shard.documents is not None]
    return tokens, torch.cat(documents)[which] if documents else None


def derangement(n: int, generator: torch.Generator) -> list[int]:
    """A random order of `n` things in which each gets another's place: one round trip through all of them.

    >>> derangement(2, torch.Generator())
    [1, 0]
    """
    order = torch.randperm(n, generator=generator).tolist()
    given = [0] * n
    for here, there in zip(order, order[1:] + order[:1], strict=True):
        given[here] = there
    return given


def _drawn(n: int, wanted: int, seed: int) -> Int[Tensor, " some"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator)[:wanted].sort().values
