"""Harvested activations as an endless, shuffled, seeded stream of batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import Seed, checked, usable_device
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.subject.activations import ActivationStore, Normalisation, Shard


@dataclass(frozen=True)
class _ShufflePool:
    """Shards that are shuffled together, and where in an epoch their rows end."""

    shards: tuple[int, ...]
    end: int
    rows: int


class ActivationStream:
    """Batches of a store's activations, centred to mean 0 and times one factor so that E||x||^2 = d_in.

    An epoch is a permutation of all rows: the shards are shuffled and dealt into pools of `pool_shards`,
    and the rows of each pool are shuffled. Rows from distant parts of the text share a batch if they are in
    one pool, so larger pools shuffle better; one pool is in memory at a time. Batches run on from one epoch
    into the next.

    Parameters
    ----------
    seed
        Of the order. It does not depend on `batch_size`.
    normalisation
        Of another store, for held-out activations; by default the store's own.
    device
        Where the pool is kept and the batches are given.

    Attributes
    ----------
    centre [d_in], factor
        What is given is (x - centre) * factor.
    tokens_per_epoch
        Rows of the store.
    key
        Names the data and its order.
    """

    @checked
    def __init__(
        self,
        store: ActivationStore,
        *,
        batch_size: int,
        seed: Seed,
        pool_shards: int = 8,
        normalisation: Normalisation | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1 or pool_shards < 1:
            raise BadInputError(
                "a stream needs at least one row per batch and one shard per pool, not "
                f"batch_size={batch_size} and pool_shards={pool_shards}"
            )
        own = normalisation or store.normalisation
        self.store, self.batch_size, self.seed, self.pool_shards = store, batch_size, seed, pool_shards
        self.device: torch.device = usable_device(device)
        self.d_in = store.d_in
        self.tokens_per_epoch = store.n_tokens
        self.centre: Float[Tensor, " d_in"] = own.centre.to(self.device, torch.float32)
        self.factor = own.factor
        by = None if normalisation is None else [own.factor, *own.centre.tolist()]
        self.key = f"{store.key}-stream-{digest([batch_size, seed, pool_shards, by])}"
        self._pools: tuple[int, list[_ShufflePool]] = (-1, [])
        self._loaded: tuple[tuple[int, ...], Tensor] = ((), torch.empty(0))
        self._order: tuple[tuple[int, int], Tensor] = ((-1, -1), torch.empty(0))

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of any step >= 0, always the same; in order of steps each pool is read once an epoch."""
        return (self._raw(step).float() - self.centre) * self.factor

    def _raw(self, step: int) -> Tensor:
        """The batch of a step as it is stored."""
        position, left, parts = step * self.batch_size, self.batch_size, []
        while left:
            part = self._rows(position, left)
            parts.append(part)
            position, left = position + len(part), left - len(part)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of what `batch` gives, over the whole store."""
        return self.store.covariance.to(self.device) * self.factor**2

    def _rows(self, position: int, most: int) -> Tensor:
        """Up to `most` raw rows from `position` of the endless sequence of epochs, as far as a pool goes."""
        epoch, within = divmod(position, self.tokens_per_epoch)
        number, pool = next((i, p) for i, p in enumerate(self._pools_of(epoch)) if within < p.end)
        offset = within - (pool.end - pool.rows)
        chosen = self._order_of(epoch, number, pool)[offset : offset + most]
        return self._load(pool)[chosen]

    def _pools_of(self, epoch: int) -> list[_ShufflePool]:
        """The pools of an epoch, in the order in which they are read."""
        if self._pools[0] != epoch:
            sizes = self.store.shard_sizes
            shuffled = torch.randperm(len(sizes), generator=self._generator(epoch, "shards")).tolist()
            starts = range(0, len(sizes), self.pool_shards)
            dealt = [tuple(sorted(shuffled[i : i + self.pool_shards])) for i in starts]
            rows = [sum(sizes[index] for index in shards) for shards in dealt]
            pools = [_ShufflePool(*entry) for entry in zip(dealt, accumulate(rows), rows, strict=True)]
            self._pools = (epoch, pools)
        return self._pools[1]

    def _order_of(self, epoch: int, number: int, pool: _ShufflePool) -> Tensor:
        if self._order[0] != (epoch, number):
            order = torch.randperm(pool.rows, generator=self._generator(epoch, number)).to(self.device)
            self._order = ((epoch, number), order)
        return self._order[1]

    def _load(self, pool: _ShufflePool) -> Tensor:
        """The raw rows of a pool; the one before it is let go first."""
        if self._loaded[0] != pool.shards:
            self._loaded = ((), torch.empty(0))
            rows = torch.empty(pool.rows, self._width, dtype=self.store.dtype, device=self.device)
            start = 0
            for index in pool.shards:
                part = self._stored(self.store.shard(index))
                rows[start : start + len(part)] = part
                start += len(part)
            self._loaded = (pool.shards, rows)
        return self._loaded[1]

    @property
    def _width(self) -> int:
        """Of what a pool keeps of each row."""
        return self.d_in

    def _stored(self, shard: Shard) -> Tensor:
        """What a pool keeps of a shard."""
        return shard.activations

    def _generator(self, epoch: int, what: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(int(digest([self.seed, epoch, what]), 16) % 2**63)
