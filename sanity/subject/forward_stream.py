"""Activations straight from language models into training: shuffled in memory, never on disk.

An epoch is a permutation of the text's windows. They pass the model in pools of as many windows as the buffer
holds; the rows of each pool are shuffled, and the next pool takes the place of the last. So a batch is a
function of its step alone: whoever goes on from a checkpoint computes one pool again, and sees the same
batches as one that ran through (to the bit on a CPU, at the same number of threads).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.arguments import Count, Seed, checked, usable_device
from sanity.engine.config import digest
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.subject.activations import JointNormalisation, Normalisation

Read = Callable[[Int[Tensor, "batch context"]], Float[Tensor, "batch context d"]]
"""A forward pass: what there is of each token, side by side where it is of several hooks."""

# Tokens per forward pass, as when activations are harvested.
_PASS_TOKENS = {"cpu": 2048, "cuda": 16_384}


class ForwardStream:
    """Batches of what language models give on a text, centred and scaled by `normalisation`.

    Parameters
    ----------
    load
        Loads what is read; called when the first batch is asked for.
    tokens [n, context]
        The windows of the text.
    where
        What is read, in words.
    covariance
        Gives that of the batches [d_in, d_in], as far as it is known.
    buffer_tokens
        Tokens of one pool, rounded down to whole windows (at least one).
    dtype
        In which activations wait in the buffer.
    seed
        Of the order. It does not depend on `batch_size`.
    key
        Names models, hooks and text.

    Attributes
    ----------
    resident_bytes
        What the buffer takes, on `device`.
    passes
        How many pools have passed the models.
    """

    @checked
    def __init__(
        self,
        load: Callable[[], Read],
        tokens: Int[Tensor, "n context"],
        *,
        where: str,
        normalisation: Normalisation,
        covariance: Callable[[], Tensor],
        batch_size: Count,
        buffer_tokens: Count,
        dtype: torch.dtype = torch.float32,
        drop_first: bool = True,
        seed: Seed = 0,
        device: str | torch.device = "cpu",
        key: str = "",
    ) -> None:
        n, context = tokens.shape
        if not n or context <= drop_first:
            raise BadInputError(
                f"{n} windows of {context} tokens give no activations: give longer ones, or more"
            )
        self._load = load
        self._tokens, self._where, self._first, self._dtype = tokens, where, int(drop_first), dtype
        self.device = usable_device(device)
        self.batch_size, self.seed = batch_size, seed
        self._normalisation = normalisation.on(self.device)
        self.centre, self.factor = self._normalisation.centre, normalisation.factor
        self.d_in = self._width = len(self.centre)
        self._covariance = covariance
        self._windows = min(n, max(1, buffer_tokens // context))
        self._rows = context - self._first
        self.tokens_per_epoch = n * self._rows
        self.resident_bytes = self._windows * self._rows * self._width * dtype.itemsize
        order = [self._windows, seed, batch_size, str(dtype), self.factor, self.centre.tolist()]
        if isinstance(normalisation, JointNormalisation):
            order.append(normalisation.factors.tolist())
        self.key = f"{key}-forward-{digest(order)}"
        self.passes = 0
        self._pool: tuple[tuple[int, int], Tensor] = ((-1, -1), torch.empty(0))
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of any step >= 0, always the same; in order of steps each window passes once an epoch."""
        return self._rows_of(step)

    def _rows_of(self, step: int) -> Float[Tensor, "batch width"]:
        """All that is read of the tokens of a step."""
        position, left, parts = step * self.batch_size, self.batch_size, []
        while left:
            part = self._take(position, left)
            parts.append(part)
            position, left = position + len(part), left - len(part)
        return self._normalisation.apply(torch.cat(parts))

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of what `batch` gives, as far as it is known."""
        return self._covariance().to(self.device)

    def _take(self, position: int, most: int) -> Tensor:
        """Up to `most` raw rows from `position` of the endless sequence of epochs, as far as a pool goes."""
        epoch, within = divmod(position, self.tokens_per_epoch)
        number, offset = divmod(within, self._windows * self._rows)
        if self._pool[0] != (epoch, number):
            self._pool = ((-1, -1), torch.empty(0))
            n = self._fill(epoch, number)
            order = torch.randperm(n, generator=self._generator(epoch, number)).to(self.device)
            self._pool = ((epoch, number), order)
        return self._buffer[self._pool[1][offset : offset + most]]

    @cached_property
    def _read(self) -> Read:
        return self._load()

    @cached_property
    def _buffer(self) -> Tensor:
        """The rows of one pool; the next is written into the same memory."""
        return torch.empty(self._windows * self._rows, self._width, dtype=self._dtype, device=self.device)

    def _fill(self, epoch: int, number: int) -> int:
        """Run the models on the windows of a pool; how many rows they are."""
        chosen = self._order_of(epoch)[number * self._windows : (number + 1) * self._windows]
        at_once = max(1, _PASS_TOKENS.get(self.device.type, 2048) // self._tokens.shape[1])
        words = f"activations at {self._where}"
        bar: Any = track(description=words, total=len(chosen) * self._tokens.shape[1], unit="tok")
        with bar:
            for start in range(0, len(chosen), at_once):
                tokens = self._tokens[chosen[start : start + at_once]].long()
                found = self._read(tokens)[:, self._first :].flatten(0, 1)
                at = start * self._rows
                self._buffer[at : at + len(found)] = found.to(self._dtype)
                bar.update(tokens.numel())
        self.passes += 1
        return len(chosen) * self._rows

    def _order_of(self, epoch: int) -> Tensor:
        """The order of the windows in an epoch."""
        if self._epoch[0] != epoch:
            shuffled = torch.randperm(len(self._tokens), generator=self._generator(epoch, "windows"))
            self._epoch = (epoch, shuffled)
        return self._epoch[1]

    def _generator(self, epoch: int, what: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(int(digest([self.seed, epoch, what]), 16) % 2**63)


class ForwardPairs(ForwardStream):
    """The same of inputs of `d_in` columns, with the target of each behind it: a `PairedStream`.

    `normalisation` and `covariance` are of both side by side.
    """

    def __init__(self, *given: Any, d_in: int, normalisation: JointNormalisation, **more: Any) -> None:
        super().__init__(*given, normalisation=normalisation, **more)
        self.d_in, self.d_out = d_in, self._width - d_in
        self.target_centre, self.centre = self.centre[d_in:], self.centre[:d_in]
        self.target_factor = float(normalisation.factors[d_in])
        self._drawn: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The inputs of a step."""
        return self._pairs(step)[:, : self.d_in].contiguous()

    def targets(self, step: int) -> Float[Tensor, "batch d_out"]:
        """The targets of a step."""
        return self._pairs(step)[:, self.d_in :].contiguous()

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of what `batch` gives, as far as it is known."""
        return super().covariance()[: self.d_in, : self.d_in]

    def target_covariance(self) -> Float[Tensor, "d_out d_out"]:
        """The same of what `targets` gives."""
        return super().covariance()[self.d_in :, self.d_in :]

    def _pairs(self, step: int) -> Tensor:
        if self._drawn[0] != step:
            self._drawn = (step, self._rows_of(step))
        return self._drawn[1]
