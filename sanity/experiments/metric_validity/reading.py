"""What metrics are read on: held-out activations and windows of text, drawn anew by seed."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.evals import LossRecovered, Score
from sanity.subject import ActivationStore, Normalisation


def drawn_rows(
    store: ActivationStore, scale: Normalisation, n: int, *, seed: int
) -> Float[Tensor, "rows d_in"]:
    """`n` activations of a store (all, if it has fewer) in their order, which ones drawn by `seed`."""
    chosen = _drawn(store.n_tokens, n, seed)
    kept, start = [], 0
    for rows in store.rows(normalisation=scale):
        inside = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
        kept.append(rows[inside].clone())
        start += len(rows)
    return torch.cat(kept)


def drawn_windows(store: ActivationStore, n_tokens: int, *, seed: int) -> Int[Tensor, "n context"]:
    """Windows of a harvest's text with about `n_tokens` tokens, at least one, which ones drawn by `seed`."""
    chosen = _drawn(store.n_sequences, max(1, n_tokens // store.context), seed)
    return torch.cat([shard.tokens for shard in store.shards()])[chosen].long()


def recovered_shares(loss: LossRecovered) -> dict[str, Score]:
    """How far each loss has come from mean ablation (0) to the unspliced model (1), by the metrics' names.

    Where mean ablation costs nothing there is no way to be recovered, and the share is left out.
    """
    named = {"ce_recovered": loss.cross_entropy, "kl_recovered": loss.kl_divergence}
    return {
        name: Score(name, score.normalised(), 0.0, 1.0, True, score.n, score.unit, score.version)
        for name, score in named.items()
        if score.has_range
    }


def _drawn(n: int, wanted: int, seed: int) -> Int[Tensor, " some"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator)[:wanted].sort().values
