"""Several layers as one source: what a crosscoder reads.

A crosscoder (Lindsey et al. 2024) sums an encoder per layer and has a decoder per layer. That is one SAE
on the layers' activations one behind the other: the same training, with the layers as blocks of the
columns of its decoder. Each layer is centred and scaled to an equal share of E||x||^2 = d_in. Decoder rows
have length 1 as a whole: a latent's relative norms say how it is divided between the layers, and TopK
selects by what it writes to all of them together (Lindsey et al. weight latents by the sum of the norms
instead, which favours shared ones by up to sqrt(layers)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.engine.cells import Cell, Result
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.models import Stream
from sanity.sources.base import OpenedSource, Pace, Source
from sanity.sources.hook import Hook, harvests_of
from sanity.sources.hook_reading import LanguageModelHook
from sanity.sources.mlp import MLP
from sanity.sources.streamed import StreamedHook, loading, model_bytes, require_room
from sanity.subject import ForwardStream, JointNormalisation

Change = Callable[[Sequence[Tensor]], Tensor]
"""Makes one batch of a batch of each layer."""


class ChangedStream:
    """A stream whose batches are made of those of others, step by step."""

    def __init__(self, streams: Sequence[Stream], change: Change, name: str) -> None:
        first = streams[0]
        self._streams, self._change = streams, change
        self.batch_size = first.batch_size
        x = self.batch(0)
        self.d_in = x.shape[1]
        self.key = f"{name}-{digest([stream.key for stream in streams])}"
        self.tokens_per_epoch: int | None = getattr(first, "tokens_per_epoch", None)
        self.device: torch.device = x.device

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of any step >= 0."""
        return self._change([stream.batch(step) for stream in self._streams])

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Second moments of what `batch` gives, which is centred: over an epoch, or some 65,000 samples."""
        return self._covariance

    @cached_property
    def _covariance(self) -> Tensor:
        steps = -(-(self.tokens_per_epoch or 2**16) // self.batch_size)
        total = torch.zeros(self.d_in, self.d_in, dtype=torch.float64, device=self.device)
        for step in range(steps):
            x = self.batch(step)
            total += (x.T @ x).double()
        return (total / (steps * self.batch_size)).float()


def changed(parts: Sequence[OpenedSource], change: Change, name: str) -> OpenedSource:
    """Opened sources as one, whatever `change` makes of the same rows of each."""

    def batches() -> Iterator[Tensor]:
        return (change(some) for some in zip(*(part.batches() for part in parts), strict=True))

    return OpenedSource(
        ChangedStream([part.stream for part in parts], change, name),
        change([part.sample for part in parts]),
        change([part.calibration for part in parts]),
        batches,
    )


@dataclass(frozen=True)
class Layers(Source):
    """The same tokens at several hooks, of one model or of several that tokenise alike."""

    hooks: tuple[Hook, ...] = ()
    name: ClassVar[str] = "layers"

    def __post_init__(self) -> None:
        if len(self.hooks) < 2:
            raise BadInputError(f"a crosscoder reads two hooks or more, and {len(self.hooks)} were given")
        reads = (
            "text",
            "train_tokens",
            "held_out_tokens",
            "context",
            "shard_tokens",
            "drop_first",
            "buffer_tokens",
        )
        first = self.hooks[0]
        for hook in self.hooks[1:]:
            if differ := [name for name in reads if getattr(hook, name, None) != getattr(first, name, None)]:
                raise BadInputError(
                    f"a crosscoder needs the same tokens at every hook, and {hook.where} of {hook.subject} "
                    f"differs from {first.where} of {first.subject} in {', '.join(differ)}: give both one"
                )
        if self.one_order and any(isinstance(hook, MLP) for hook in self.hooks):
            raise BadInputError(
                f"{self.where}: an MLP that is streamed is read alone: leave streamed out, or name hooks"
            )

    @property
    def _streamed(self) -> list[StreamedHook]:
        """The hooks that are read while arms are trained: all of them, or none."""
        return [hook for hook in self.hooks if isinstance(hook, StreamedHook)]

    @property
    def threads(self) -> int | None:  # type: ignore[override]
        """As its hooks."""
        return self.hooks[0].threads

    @property
    def one_order(self) -> bool:  # type: ignore[override]
        """Whether the hooks are streamed, so that all seeds see the same batches."""
        return bool(self._streamed)

    @property
    @override
    def buffer_bytes(self) -> int:
        """Of one buffer for all hooks, and of every language model."""
        if not self._streamed:
            return 0
        return sum(hook.rows_bytes for hook in self._streamed) + sum(map(model_bytes, set(self.models)))

    @override
    def reading_seconds(self, samples: int, pace: Pace) -> float:
        """A pass of each model, to the last of its hooks."""
        deepest: dict[LanguageModelHook, float] = {}
        for hook, model in zip(self.hooks, self.models, strict=True):
            seconds = hook.reading_seconds(samples, pace)
            deepest[model] = max(seconds, deepest.get(model, 0.0))
        return sum(deepest.values())

    @property
    @override
    def d_in(self) -> int:
        return sum(self.blocks)

    @property
    @override
    def blocks(self) -> tuple[int, ...]:
        return tuple(hook.d_in for hook in self.hooks)

    @property
    @override
    def scored_samples(self) -> int:
        return self.hooks[0].scored_samples

    @property
    @override
    def subject(self) -> str | None:
        return " and ".join(dict.fromkeys(str(hook.subject) for hook in self.hooks))

    @property
    @override
    def is_control(self) -> bool:
        return any(hook.is_control for hook in self.hooks)

    @property
    @override
    def where(self) -> str:
        return " with ".join(hook.where for hook in self.hooks)

    @override
    def cells(self, device: str, pace: Pace) -> dict[str, Cell]:
        cells: dict[str, Cell] = {}
        passes: set[tuple[str, str]] = set()
        for i, hook in sorted(enumerate(self.hooks), key=lambda one: -one[1].at.depth):
            for name, cell in hook.cells(device, pace).items():
                if (cell.company, name) in passes:  # read in the passes that a deeper hook has paid for
                    cell = replace(cell, cost=replace(cell.cost, seconds=1.0))
                passes.add((cell.company, name))
                cells[f"{i}.{name}"] = cell
        return cells

    @property
    def models(self) -> list[LanguageModelHook]:
        """The language model of each hook, whichever hook that is."""
        return [replace(hook.at, hook="") for hook in self.hooks]

    @property
    def shares(self) -> list[float]:
        """What scaled activations are multiplied by, hook by hook: all have the same share of E||x||^2."""
        # Each is scaled to its own width.
        return [math.sqrt(self.d_in / len(self.hooks) / hook.d_in) for hook in self.hooks]

    def inputs_by_hook(self, inputs: Mapping[str, Result]) -> list[dict[str, Result]]:
        """The results that each hook needs, among those of `cells`."""
        return [
            {
                name.removeprefix(f"{i}."): result
                for name, result in inputs.items()
                if name.startswith(f"{i}.")
            }
            for i in range(len(self.hooks))
        ]

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        own, shares = self.inputs_by_hook(inputs), self.shares
        for part in (0, 1):
            texts = [harvests_of(some)[part].manifest["tokens_sha256"] for some in own]
            if len(set(texts)) > 1:
                raise BadInputError(
                    f"the models at {self.where} read the same text as different tokens, so that positions "
                    "do not belong together: take models that share a tokenizer"
                )
        opened = [
            (hook.open_sample if isinstance(hook, StreamedHook) else hook.open)(
                some, batch_size=batch_size, seed=seed, device=device
            )
            for hook, some in zip(self.hooks, own, strict=True)
        ]

        def side_by_side(parts: Sequence[Tensor]) -> Tensor:
            return torch.cat([x if s == 1 else x * s for x, s in zip(parts, shares, strict=True)], dim=1)

        plain = changed(opened, side_by_side, "layers")
        if not self._streamed:
            return plain
        require_room(self, self._streamed, device)
        kept = [one.kept for one in opened if one.kept is not None]
        factors = [torch.full((one.d_in,), one.factor * s) for one, s in zip(kept, shares, strict=True)]
        stream = ForwardStream(
            loading([hook.at for hook in self.hooks], device),
            where=self.where,
            normalisation=JointNormalisation(
                torch.cat([one.mean for one in kept]), kept[0].factor, torch.cat(factors)
            ),
            covariance=plain.stream.covariance,
            key=f"layers-{digest([[one.key for one in kept], [some['train'].key for some in own]])}",
            **self._streamed[0].passes(own[0], batch_size, device),
        )
        return replace(plain, stream=stream)
