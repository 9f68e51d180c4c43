"""Running an SAE over a pool: which latents are alive, which are drawn, and where they fire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.inputs import active_latents
from sanity.evals.interpretability.contexts import ALIVE_FREQUENCY, Counts, DrawnContexts, Part, generator_for
from sanity.evals.interpretability.windows import Pool


def collect_contexts(
    sae: Any,
    pool: Pool,
    activations: Callable[[], Iterable[Tensor]],
    *,
    n: int,
    fewest: int,
    seed: int,
) -> DrawnContexts:
    """Draw `n` latents of `sae` at random among the eligible, and keep where in the pool they fire.

    Parameters
    ----------
    sae
        Anything that passes `check_sae`; `encode_sparse` is used where there is one.
    activations
        Gives, each time it is called, the rows that `pool.first_row` counts, in order and in parts of any
        size, as the SAE takes them (centred and scaled).
    n
        How many latents; fewer where fewer are eligible (`counts.sampled`).
    fewest
        A latent is eligible with at least so many activating windows, and as many without, in each part.
    seed
        Of the order in which latents are drawn.

    Raises
    ------
    BadInputError
        No latent is eligible: all are dead, too rare or always on. The message has the counts.
    """
    if n < 1 or fewest < 1:
        raise BadInputError(f"n and fewest must be 1 or more, not {n} and {fewest}")
    d_sae = int(sae.W_dec.shape[0])
    order = torch.randperm(d_sae, generator=generator_for(seed, d_sae))
    keep = torch.zeros(d_sae, dtype=torch.bool)
    keep[order[: max(4096, 8 * n)]] = True
    tally = _Tally(pool, d_sae)
    entries = tally.run(sae, activations(), keep)
    eligible, counts = tally.eligible(fewest)
    chosen = order[eligible[order]][:n]
    if not len(chosen):
        raise BadInputError(
            f"none of the {d_sae} latents can be interpreted: {counts.alive} fire at all on the "
            f"{counts.tokens} tokens, {counts.rare} of them in fewer than {fewest} windows of a part and "
            f"{counts.dense} in nearly all; give more text, or train the SAE further"
        )
    if not bool(keep[chosen].all()):
        keep = torch.zeros_like(keep).index_fill_(0, chosen, True)
        entries = _Tally(pool, d_sae).run(sae, activations(), keep)
    place = torch.full((d_sae,), -1).index_copy_(0, chosen, torch.arange(len(chosen)))
    owner = place[entries[0]]
    wanted = owner >= 0
    kept = (owner[wanted], *(part[wanted] for part in entries[1:]))
    counts = Counts(**{**asdict(counts), "sampled": len(chosen)})
    return DrawnContexts.build(pool, chosen, (kept[0], kept[1], kept[2], kept[3]), counts)


class _Tally:
    """One pass of an SAE over a pool: in how many windows of each part every latent fires."""

    def __init__(self, pool: Pool, d_sae: int) -> None:
        self.pool = pool
        self.d_sae = d_sae
        self.tokens = torch.zeros(d_sae, dtype=torch.long)
        self.windows = {part: torch.zeros(d_sae, dtype=torch.long) for part in ("examples", "test")}

    def run(
        self, sae: Any, activations: Iterable[Tensor], keep: Bool[Tensor, " d_sae"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latent, window, position and value of every activation of the latents in `keep`."""
        kept: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for x, window, position in self.pool.batches(activations):
                found = active_latents(sae, x)
                row, latent = found.rows.long().cpu(), found.latents.long().cpu()
                value = found.values.float().cpu().abs()  # how strongly, also where latents are signed
                where = window[row]
                self.tokens += torch.bincount(latent, minlength=self.d_sae)
                self._count(where, latent)
                mine = keep[latent]
                kept.append((latent[mine], where[mine], position[row[mine]], value[mine]))
        joined = [torch.cat(parts) for parts in zip(*kept, strict=True)]
        return joined[0], joined[1], joined[2], joined[3]

    def _count(self, window: Tensor, latent: Tensor) -> None:
        once = torch.unique(window * self.d_sae + latent)
        windows, latents = once // self.d_sae, once % self.d_sae
        for part, counted in self.windows.items():
            inside = self.pool.is_in(part)[windows]
            counted += torch.bincount(latents[inside], minlength=self.d_sae)

    def eligible(self, fewest: int) -> tuple[Bool[Tensor, " d_sae"], Counts]:
        """Which latents can be asked about, and how many of which kind there are."""
        sizes = {part: int(self.pool.is_in(part).sum()) for part in self.windows}
        alive = self.tokens >= max(1.0, ALIVE_FREQUENCY * self.pool.n_tokens)
        rare = torch.zeros_like(alive)
        dense = torch.zeros_like(alive)
        for part, fired in self.windows.items():
            rare |= fired < fewest
            dense |= sizes[part] - fired < fewest
        eligible = alive & ~rare & ~dense
        counts = Counts(
            d_sae=self.d_sae,
            alive=int(alive.sum()),
            rare=int((alive & rare).sum()),
            dense=int(dense.sum()),
            eligible=int(eligible.sum()),
            sampled=0,
            fewest=fewest,
            tokens=self.pool.n_tokens,
            windows=len(self.pool),
            documents=self.pool.n_documents,
            l0=float(self.tokens.sum()) / self.pool.n_tokens,
        )
        return eligible, counts


def parts_of(documents: Sequence[int], sources: Sequence[str], *, seed: int) -> dict[int, Part]:
    """Which part each document is in: half of every source's documents in each, drawn by `seed`."""
    by_source: dict[str, list[int]] = {}
    for document, source in sorted(set(zip(documents, sources, strict=True))):
        by_source.setdefault(source, []).append(document)
    parts: dict[int, Part] = {}
    for number, (_, members) in enumerate(sorted(by_source.items())):
        drawn = torch.randperm(len(members), generator=generator_for(seed, number)).tolist()
        for place, index in enumerate(drawn):
            parts[members[index]] = "examples" if (place + number) % 2 else "test"
    return parts


def divided(pool: Pool, *, seed: int) -> Pool:
    """The same windows, their documents divided into examples and test by `seed` (see `parts_of`)."""
    documents = pool.documents.tolist()
    parts = parts_of(documents, pool.sources, seed=seed)
    return replace(pool, test=torch.tensor([parts[document] == "test" for document in documents]))
