"""A hook whose training activations never lie on a disk: they go from the model to the arms.

One pass of the model serves all arms, seeds and L0s of a source, since all of them see the same order: seeds
differ in where training starts, not in what it is shown. On disk are the text's tokens and a sample of
activations, evenly spread over the text, by which all are centred and scaled; held-out activations are kept
as those of any hook.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from sanity.data.text import window_blocks
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.engine.machine import memory_bytes
from sanity.errors import BadInputError
from sanity.sources.base import Opened, Pace
from sanity.sources.hook import Hook
from sanity.sources.hook_reading import HookReading
from sanity.subject import ForwardStream, harvest, load_tokenizer

MODEL_BYTES = 3 * 10**9
"""What the language model takes in memory, next to the buffer, as costs are told."""


@dataclass(frozen=True)
class StreamReading:
    """The tokens of a text, and a sample of the activations on it."""

    of: HookReading
    sample_tokens: int


@dataclass(frozen=True)
class StreamedHook(Hook):
    """Activations of a language model on text, computed while arms are trained on them."""

    buffer_tokens: int = 65_536
    """Tokens that are in memory at once, and shuffled with each other."""
    name: ClassVar[str] = "streamed_hook"
    one_order: ClassVar[bool] = True

    @property
    @override
    def buffer_bytes(self) -> int:
        """Of the buffer and the language model."""
        return min(self.buffer_tokens, self.train_tokens) * self.bytes_per_token + MODEL_BYTES

    @override
    def reading_seconds(self, samples: int, pace: Pace) -> float:
        """One forward pass for every sample that arms are shown."""
        return samples * self.at.depth / pace.tokens_per_second

    @override
    def cells(self, device: str, pace: Pace) -> dict[str, Cell]:
        sample = min(self.buffer_tokens, self.train_tokens)
        reading = self.reading("train", self.train_tokens, device)
        tokens = read_tokens.cell(
            StreamReading(reading, sample),
            label=f"tokens, and a sample of activations at {self.where} of {self.at.subject}",
            stage="harvest",
            cost=Cost(
                7.0 + sample * self.at.depth / pace.tokens_per_second + self.train_tokens / 2e5,
                disk_bytes=sample * self.bytes_per_token + 4 * self.train_tokens,
                memory_bytes=MODEL_BYTES + 8 * self.train_tokens,
            ),
        )
        return {**super().cells(device, pace), "train": tokens}

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> Opened:
        self._require_room(device)
        plain = super().open(inputs, batch_size=batch_size, seed=seed, device=device)
        kept, held_out = plain.kept, plain.held_out
        assert kept is not None
        assert held_out is not None
        stream = ForwardStream(
            lambda: self.at.load(device),
            inputs["train"].tensors("tokens")["tokens"],
            hook=self.at.hook,
            normalisation=kept.normalisation,
            covariance=kept.covariance,
            batch_size=batch_size,
            buffer_tokens=self.buffer_tokens,
            dtype=getattr(torch, self.storage_dtype),
            drop_first=self.drop_first,
            device=device,
            key=f"{kept.key}-{inputs['train'].key}",
        )
        return dataclasses.replace(plain, stream=stream)

    def _require_room(self, device: str) -> None:
        """Refuse a buffer that would leave less than half of the memory to the arms."""
        on_card = device.startswith("cuda") and torch.cuda.is_available()
        free = torch.cuda.mem_get_info()[1] if on_card else memory_bytes()
        if self.buffer_bytes > free / 2:
            most = max(0, int(free / 2 - MODEL_BYTES) // self.bytes_per_token)
            raise BadInputError(
                f"a buffer of {self.buffer_tokens} tokens at {self.where} takes "
                f"{self.buffer_bytes / 1e9:.1f} GB with the model, and half of the {free / 1e9:.1f} GB here "
                f"is for the arms: ask for buffer_tokens of at most {most}"
            )


@computes("read tokens", version=1)
def read_tokens(task: Task) -> None:
    """Tokenise a text, and harvest a sample of its windows."""
    config: StreamReading = task.config
    of = config.of
    blocks = window_blocks(
        of.text, load_tokenizer(of.at.subject), split=of.split, n_tokens=of.n_tokens, context=of.context
    )
    tokens = torch.cat([block.tokens.to(torch.int32) for block in blocks])
    harvest(
        of.at.load(of.device),
        tokens[:: -(-len(tokens) * of.context // config.sample_tokens)].long(),
        hook=of.at.hook,
        folder=task.scratch / "activations",
        shard_tokens=of.shard_tokens,
        dtype=getattr(torch, of.storage_dtype),
        drop_first=of.drop_first,
    )
    os.rename(task.scratch / "activations", task.folder / "activations")
    task.save_tensors("tokens", {"tokens": tokens})
