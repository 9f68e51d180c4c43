"""Hooks and MLPs whose training activations never lie on a disk: they go from the model to the arms.

One pass of the model serves all arms, seeds and L0s of a source, since all of them see the same order: seeds
differ in where training starts, not in what it is shown. On disk are the text's tokens and a sample of
activations, evenly spread over the text, by which all are centred and scaled; held-out activations are kept
as those of any hook.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from sanity.data.text import window_blocks
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.engine.machine import memory_bytes
from sanity.errors import BadInputError
from sanity.models.footprint import free_on_card
from sanity.sources.base import OpenedSource, Pace, Source
from sanity.sources.hook import Hook
from sanity.sources.hook_reading import HookReading, LanguageModelHook
from sanity.sources.mlp import MLP
from sanity.subject import (
    ForwardPairs,
    ForwardStream,
    JointNormalisation,
    MLPSubject,
    Read,
    harvest,
    joint_normalisation,
    load_tokenizer,
    read_at,
    weights_bytes,
)
from sanity.subject.mlp import OUTPUTS, part_of

PASS_BYTES = 10**9
"""What a forward pass takes at most, next to a language model's weights."""
UNKNOWN_BYTES = 2 * 10**9
"""Of the weights of a model of which nothing is known yet."""


def model_bytes(at: LanguageModelHook) -> int:
    """What a language model takes in memory, next to the buffer."""
    known = weights_bytes(at.subject, at.dtype)
    return PASS_BYTES + (UNKNOWN_BYTES if known is None else known)


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
    threads: ClassVar[int | None] = None  # one call trains all of its arms, with nothing beside it
    one_order: ClassVar[bool] = True

    @property
    def held_bytes_per_token(self) -> int:
        """Of what waits in the buffer."""
        return self.bytes_per_token

    @property
    @override
    def buffer_bytes(self) -> int:
        """Of the buffer and the language model."""
        return self.rows_bytes + model_bytes(self.at)

    @property
    def rows_bytes(self) -> int:
        """Of the buffer alone."""
        return min(self.buffer_tokens, self.train_tokens) * self.held_bytes_per_token

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
                memory_bytes=model_bytes(self.at) + 8 * self.train_tokens,
            ),
        )
        return {**super().cells(device, pace), "train": tokens}

    def open_sample(
        self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str
    ) -> OpenedSource:
        """The sample of it that is on disk, ready to be read like any hook."""
        return super().open(inputs, batch_size=batch_size, seed=seed, device=device)

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        require_room(self, [self], device)
        plain = self.open_sample(inputs, batch_size=batch_size, seed=seed, device=device)
        kept = plain.kept
        assert kept is not None
        stream = ForwardStream(
            loading([self.at], device),
            where=self.at.hook,
            normalisation=kept.normalisation,
            covariance=lambda: kept.covariance * kept.factor**2,
            key=f"{kept.key}-{inputs['train'].key}",
            **self.passes(inputs, batch_size, device),
        )
        return dataclasses.replace(plain, stream=stream)

    def passes(self, inputs: Mapping[str, Result], batch_size: int, device: str) -> dict[str, Any]:
        """Which tokens pass the model, and how: what a `ForwardStream` is told of it, whatever is read."""
        return {
            "tokens": inputs["train"].tensors("tokens")["tokens"],
            "batch_size": batch_size,
            "buffer_tokens": self.buffer_tokens,
            "dtype": getattr(torch, self.storage_dtype),
            "drop_first": self.drop_first,
            "device": device,
        }


@dataclass(frozen=True)
class StreamedMLP(StreamedHook, MLP):
    """What an MLP is given and what it makes of it, computed while arms are trained on them."""

    name: ClassVar[str] = "streamed_mlp"

    def __post_init__(self) -> None:
        if self.outputs == "shuffled":
            raise BadInputError(
                f"{self.where}, are paired on disk, and not in a stream: leave streamed out, or take the "
                "outputs mlp or random"
            )

    @property
    @override
    def held_bytes_per_token(self) -> int:
        return 2 * self.bytes_per_token // 3  # the input, and one of the two outputs

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        require_room(self, [self], device)
        plain = self.open_sample(inputs, batch_size=batch_size, seed=seed, device=device)
        kept = plain.kept
        assert kept is not None
        scale, target = joint_normalisation(kept), part_of(kept, OUTPUTS[self.outputs])
        both = torch.cat([torch.arange(kept.d_in), torch.arange(target.start, target.stop)])
        factors = scale.factors[both]

        def covariance() -> Tensor:
            return kept.joint_moments[1][both][:, both].float() * torch.outer(factors, factors)

        stream = ForwardPairs(
            self._loading(device),
            d_in=kept.d_in,
            where=self.where,
            normalisation=JointNormalisation(scale.centre[both], scale.factor, factors),
            covariance=covariance,
            key=f"{kept.key}-{inputs['train'].key}-{self.outputs}",
            **self.passes(inputs, batch_size, device),
        )
        return dataclasses.replace(plain, stream=stream)

    def _loading(self, device: str) -> Callable[[], Read]:
        """Loads what gives inputs and outputs side by side."""

        def load() -> Read:
            subject = self.at.load(device)
            assert isinstance(subject, MLPSubject)
            return lambda tokens: subject.pairs(tokens, drawn=self.outputs == "random")

        return load


def loading(places: Sequence[LanguageModelHook], device: str) -> Callable[[], Read]:
    """Loads what gives the activations at `places` side by side, in one pass of each model."""

    def load() -> Read:
        hooks: dict[LanguageModelHook, list[str]] = {}
        for at in dict.fromkeys(places):
            hooks.setdefault(dataclasses.replace(at, hook=""), []).append(at.hook)
        subjects = [(at, at.load(device)) for at in hooks]

        def read(tokens: Tensor) -> Tensor:
            found = {
                (at, hook): x
                for at, subject in subjects
                for hook, x in read_at(subject, tokens, hooks[at]).items()
            }
            return torch.cat([found[dataclasses.replace(at, hook=""), at.hook] for at in places], dim=-1)

        return read

    return load


def require_room(source: Source, hooks: Sequence[StreamedHook], device: str) -> None:
    """Refuse a buffer of `source` at `hooks` that would leave less than half of the memory to the arms."""
    on_card = device.startswith("cuda") and torch.cuda.is_available()
    free = free_on_card(torch.device(device)) if on_card else memory_bytes()
    if source.buffer_bytes > free / 2:
        first, a_token = hooks[0], sum(hook.held_bytes_per_token for hook in hooks)
        models = source.buffer_bytes - sum(hook.rows_bytes for hook in hooks)
        raise BadInputError(
            f"a buffer of {first.buffer_tokens} tokens at {source.where} takes "
            f"{source.buffer_bytes / 1e9:.1f} GB with the model, and half of the {free / 1e9:.1f} GB here "
            f"is for the arms: ask for buffer_tokens of at most {max(0, int(free / 2 - models) // a_token)}"
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
