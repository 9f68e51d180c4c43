"""A hook in a language model: text is tokenised, and its activations are harvested to disk once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from sanity.data.text import TextSpec
from sanity.engine.cells import Cell, Cost, Result
from sanity.errors import BadInputError
from sanity.sources.base import OpenedSource, Pace, Source
from sanity.sources.hook_reading import HookReading, LanguageModelHook, read_hook
from sanity.subject import (
    ActivationStore,
    ActivationStream,
    Normalisation,
)

SAMPLE_ROWS = 4096
"""Held-out activations that are measured along training, and as many others on which L0 is matched."""
_LOADING = 6.0
"""Seconds until a process has loaded the default language model."""


@dataclass(frozen=True)
class Hook(Source):
    """Activations of a language model on text."""

    at: LanguageModelHook
    text: TextSpec
    d_model: int
    """Width, known before the model is loaded so that costs can be told."""
    train_tokens: int
    held_out_tokens: int
    context: int = 128
    shard_tokens: int = 8192
    storage_dtype: str = "float32"
    drop_first: bool = True
    matched_on_every: int = 5
    """Every so-many-th window of the held-out text is there to match L0 on, and is not scored."""
    name: ClassVar[str] = "hook"
    threads: ClassVar[int | None] = 1

    @property
    @override
    def d_in(self) -> int:
        return self.d_model

    @property
    @override
    def scored_samples(self) -> int:
        return self.held_out_tokens

    @property
    @override
    def subject(self) -> str | None:
        return self.at.subject

    @property
    @override
    def where(self) -> str:
        return f"{self.at.hook}, random weights" if self.at.random_weights else self.at.hook

    @property
    @override
    def is_control(self) -> bool:
        return self.at.random_weights

    @override
    def columns(self) -> dict[str, object]:
        named = f"{self.subject} with random weights" if self.at.random_weights else self.subject
        return {**super().columns(), "subject": named}

    @property
    def bytes_per_token(self) -> int:
        """Of an activation on disk."""
        return self.d_model * (4 if self.storage_dtype == "float32" else 2)

    def reading(self, split: str, n_tokens: int, device: str) -> HookReading:
        """What is harvested of a part of the text, "train" or "held_out"."""
        return HookReading(
            self.at,
            self.text,
            split,
            n_tokens,
            self.context,
            self.storage_dtype,
            self.shard_tokens,
            self.drop_first,
            device,
        )

    @override
    def cells(self, device: str, pace: Pace) -> dict[str, Cell]:
        return {
            split: read_hook.cell(
                self.reading(split, n, device),
                label=f"{split.replace('_', '-')} activations at {self.where} of {self.at.subject}",
                stage="harvest",
                cost=Cost(
                    _LOADING + 1.0 + n * self.at.depth / pace.tokens_per_second,
                    disk_bytes=n * self.bytes_per_token,
                    memory_bytes=3 * 10**9,
                    once=_LOADING,
                ),
            )
            for split, n in {"train": self.train_tokens, "held_out": self.held_out_tokens}.items()
        }

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        kept, held_out = harvests_of(inputs)
        if kept.d_in != self.d_model:
            raise BadInputError(f"{self.at.subject} is {kept.d_in} wide: d_model cannot be {self.d_model}")
        stream = ActivationStream(kept, batch_size=batch_size, seed=seed, device=device)
        scale = Normalisation(stream.centre, stream.factor)

        scored = self.scored(held_out)
        return OpenedSource(
            stream,
            spread_rows(held_out, scored, scale),
            spread_rows(held_out, ~scored, scale),
            lambda: rows_of(held_out, scored, scale),
            kept=kept,
            held_out=held_out,
        )

    def scored(self, held_out: ActivationStore) -> Bool[Tensor, " n_sequences"]:
        """Which windows of the held-out text are scored; L0 is matched on the others."""
        every = min(self.matched_on_every, held_out.n_sequences)
        if every < 2:
            raise BadInputError(
                f"the held-out text at {self.where} cannot be divided into windows to score and windows "
                f"to match L0 on (it has {held_out.n_sequences}): ask for more held_out_tokens"
            )
        return torch.arange(held_out.n_sequences) % every != every - 1


def harvests_of(inputs: Mapping[str, Result]) -> tuple[ActivationStore, ActivationStore]:
    """The training and the held-out activations among a cell's inputs."""
    train, held_out = (ActivationStore(inputs[name].folder("activations")) for name in ("train", "held_out"))
    return train, held_out


def rows_of(
    store: ActivationStore,
    windows: Bool[Tensor, " n_sequences"],
    scale: Normalisation,
    *,
    joint: bool = False,
) -> Iterator[Float[Tensor, "rows d_in"]]:
    """The activations of some of a store's windows, part by part; `joint`: with their targets."""
    wanted, start = windows.repeat_interleave(store.context - store.drop_first), 0
    for rows in store.rows(normalisation=scale, joint=joint):
        yield rows[wanted[start : start + len(rows)]]
        start += len(rows)


def spread_rows(
    store: ActivationStore,
    windows: Bool[Tensor, " n_sequences"],
    scale: Normalisation,
    *,
    joint: bool = False,
) -> Float[Tensor, "rows d_in"]:
    """About `SAMPLE_ROWS` of them, spread evenly, so that they come from all documents."""
    total = int(windows.sum()) * (store.context - store.drop_first)
    stride, start, kept = max(1, total // SAMPLE_ROWS), 0, []
    for rows in rows_of(store, windows, scale, joint=joint):
        kept.append(rows[-start % stride :: stride].clone())
        start += len(rows)
    return torch.cat(kept)
