"""Activations straight from the language model into training: shuffled in memory, never on disk.

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
from sanity.subject.activations import Normalisation
from sanity.subject.interface import Subject

# Tokens per forward pass, as when activations are harvested.
_PASS_TOKENS = {"cpu": 2048, "cuda": 16_384}


class ForwardStream:
    """Batches of a language model's activations at a hook, centred and scaled by `normalisation`.

    Parameters
    ----------
    load
        Gives the language model; called when the first batch is asked for.
    tokens [n, context]
        The windows of the text.
    covariance [d_in, d_in]
        Of the raw activations, as far as it is known.
    buffer_tokens
        Tokens of one pool, rounded down to whole windows (at least one).
    dtype
        In which activations wait in the buffer.
    seed
        Of the order. It does not depend on `batch_size`.
    key
        Names model, hook and text.

    Attributes
    ----------
    resident_bytes
        What the buffer takes, on `device`.
    passes
        How many pools have passed the model.
    """

    @checked
    def __init__(
        self,
        load: Callable[[], Subject],
        tokens: Int[Tensor, "n context"],
        *,
        hook: str,
        normalisation: Normalisation,
        covariance: Float[Tensor, "d_in d_in"],
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
        self._tokens, self._hook, self._first, self._dtype = tokens, hook, int(drop_first), dtype
        self.device = usable_device(device)
        self.batch_size, self.d_in, self.seed = batch_size, len(covariance), seed
        self.centre = normalisation.centre.to(self.device, torch.float32)
        self.factor = normalisation.factor
        self._covariance = covariance
        self._windows = min(n, max(1, buffer_tokens // context))
        self._rows = context - self._first
        self.tokens_per_epoch = n * self._rows
        self.resident_bytes = self._windows * self._rows * self.d_in * dtype.itemsize
        order = [self._windows, seed, batch_size, str(dtype), self.factor, self.centre.tolist()]
        self.key = f"{key}-forward-{digest(order)}"
        self.passes = 0
        self._pool: tuple[tuple[int, int], Tensor] = ((-1, -1), torch.empty(0))
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of any step >= 0, always the same; in order of steps each window passes once an epoch."""
        position, left, parts = step * self.batch_size, self.batch_size, []
        while left:
            part = self._take(position, left)
            parts.append(part)
            position, left = position + len(part), left - len(part)
        return (torch.cat(parts).float() - self.centre) * self.factor

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of what `batch` gives, as far as it is known."""
        return self._covariance.to(self.device) * self.factor**2

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
    def _subject(self) -> Subject:
        return self._load()

    @cached_property
    def _buffer(self) -> Tensor:
        """The rows of one pool; the next is written into the same memory."""
        return torch.empty(self._windows * self._rows, self.d_in, dtype=self._dtype, device=self.device)

    def _fill(self, epoch: int, number: int) -> int:
        """Run the model on the windows of a pool; how many rows they are."""
        chosen = self._order_of(epoch)[number * self._windows : (number + 1) * self._windows]
        at_once = max(1, _PASS_TOKENS.get(self.device.type, 2048) // self._tokens.shape[1])
        words = f"activations at {self._hook}"
        bar: Any = track(description=words, total=len(chosen) * self._tokens.shape[1], unit="tok")
        with bar:
            for start in range(0, len(chosen), at_once):
                tokens = self._tokens[chosen[start : start + at_once]].long()
                found = self._subject.residual(tokens, self._hook)[:, self._first :].flatten(0, 1)
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
