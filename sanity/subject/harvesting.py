"""Activations of a language model on a text, written shard by shard so that a kill costs one shard.

Memory holds one shard of activations per hook and one batch of the model, however long the text is. Each
shard is computed by itself, in batches that start at its first sequence, and carries its own float64 sums: a
harvest that was interrupted anywhere ends with the same bytes as one that was not, and a hook that is read
together with others with the same bytes as by itself (on one machine, at the same number of threads and the
same `batch_tokens`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.arguments import Count, checked
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.subject.activations import ActivationStore
from sanity.subject.harvest_folder import HarvestFolder, Record
from sanity.subject.interface import Subject, depth_of
from sanity.subject.sequences import Chunks, SequenceBlock, blocks_of, raw_bytes

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Tokens per forward pass. On a CPU batches whose hidden states fit the caches are the fastest by 10 %.
_PER_THREAD = 1024
_PER_ACCELERATOR = 16_384


@checked
def harvest(
    subject: Subject,
    sequences: Chunks,
    *,
    hook: str,
    folder: str | Path,
    shard_tokens: Count = 32_768,
    dtype: torch.dtype = torch.float32,
    drop_first: bool = True,
    document_ids: Chunks | None = None,
    text_hash: str | None = None,
    batch_tokens: Count | None = None,
    also: Mapping[str, str | Path] | None = None,
) -> ActivationStore:
    """The residual stream at `hook` for every position of `sequences`, as an `ActivationStore`.

    Costs little more than transformers' own forward pass stopped at the same block (measured by
    `benchmarks/harvest.py`): about a second per thousand tokens at block 10 of the default model on one core.

    Parameters
    ----------
    sequences
        Token ids [n, context], or an iterable of such tensors, all with the same context.
    folder
        Where to write. If an interrupted harvest of the same is there, it goes on; if a finished one, its
        shards are checked, and only damaged or additional ones are computed. One harvest at a time.
    shard_tokens
        Input tokens per shard, rounded down to whole sequences (at least one).
    dtype
        Storage type: float32, bfloat16 or float16.
    drop_first
        Leave out the first position of each sequence, which in many models is a huge outlier.
    document_ids
        Kept with the tokens: per sequence [n] or per token [n, context], or an iterable of such tensors
        that runs along with `sequences`.
    text_hash
        The text's own hash, recorded in the manifest next to the hash of the tokens.
    batch_tokens
        Tokens per forward pass: by default 1,024 per thread on a CPU, 16,384 on an accelerator.
    also
        Other hooks, each with a folder of its own: they are read in the same passes, up to the last hook.

    Raises
    ------
    BadInputError
        Unknown hook; sequences too long for the model, or none; NaN or infinite activations; activations
        that do not vary; or the folder holds a harvest of something else.
    StorageError
        The disk is full or cannot be written. Finished shards are kept.
    """
    at = {hook: Path(folder), **{name: Path(one) for name, one in (also or {}).items()}}
    if len({os.path.realpath(one) for one in at.values()}) < 1 + len(also or {}):
        raise BadInputError(
            "two hooks of one harvest were given one folder, or one hook twice: give each its own"
        )
    for name in at:
        if name not in subject.hooks:
            depth_of(name, subject.n_layers, subject.name)  # says which there are
    if dtype not in DTYPES:
        raise BadInputError(f"activations cannot be stored as {dtype}: choose float32, bfloat16 or float16")
    blocks = blocks_of(sequences, document_ids, shard_tokens)
    start = next(blocks, None)
    if start is None:
        raise BadInputError("no sequences were given to harvest: give at least one")
    context = start.tokens.shape[1]
    if context <= drop_first:
        raise BadInputError("sequences of one token hold nothing once the first position is dropped")
    of = {
        "format": 1,
        "weights_sha256": subject.weights_sha256,
        "hook": hook,  # each folder says its own
        "d_in": subject.d_model,
        "context": context,
        "shard_sequences": max(1, shard_tokens // context),
        "dtype": str(dtype).removeprefix("torch."),
        "drop_first": drop_first,
        "text_hash": text_hash,
    }
    folders = [HarvestFolder(one, name, subject.name, _widths(subject)) for name, one in at.items()]
    for one in folders:
        one.open(of)
    on_cpu = subject.device.type == "cpu"
    wanted = batch_tokens or (_PER_THREAD * torch.get_num_threads() if on_cpu else _PER_ACCELERATOR)
    passes = _Passes(subject, folders, dtype, int(drop_first), max(1, wanted // context))
    passes.run(chain([start], blocks), sequences.numel() if isinstance(sequences, Tensor) else None)
    return ActivationStore(folder)


def _widths(subject: Subject) -> tuple[int, ...]:
    """Widths of what is read of a token: of its input, and of its targets where the subject has some."""
    return tuple(getattr(subject, "widths", (subject.d_model,)))


class _Rows:
    """The activations of one shard at one hook, as they come, and their float64 sums."""

    def __init__(self, n: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.activations = torch.empty(n, width, dtype=dtype)
        self.sums = torch.zeros(width, dtype=torch.float64, device=device)
        self.squares = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._filled = 0

    def add(self, stored: Tensor) -> None:
        """The next rows."""
        self.activations[self._filled : self._filled + len(stored)] = stored
        self._filled += len(stored)
        exact = stored.double()
        self.sums += exact.sum(0)
        self.squares.addmm_(exact.T, exact)

    def tensors(self, block: SequenceBlock) -> dict[str, Tensor]:
        """What a shard's file holds."""
        found = {
            "activations": self.activations,
            "tokens": block.tokens.to("cpu", torch.int32).contiguous(),
            "sum": self.sums.cpu(),
            "sum_of_squares": self.squares.cpu(),
        }
        if block.documents is not None:
            found["documents"] = block.documents.to("cpu", torch.int32).contiguous()
        return found


@dataclass(frozen=True)
class _Passes:
    """A language model's passes over a text, and the folder that each hook's activations go to."""

    subject: Subject
    folders: Sequence[HarvestFolder]
    dtype: torch.dtype
    first: int
    """First position that is kept."""
    batch_sequences: int

    def run(self, blocks: Iterator[SequenceBlock], total: int | None) -> None:
        """Compute the shards that are missing, then the statistics and the manifests."""
        kept = [folder.intact_shards() for folder in self.folders]
        records: list[list[Record]] = [[] for _ in self.folders]
        text, before = hashlib.sha256(), 0
        done = min(sum(int(record["tokens"]) for record in there.values()) for there in kept)
        words = f"harvest {', '.join(folder.hook for folder in self.folders)}"
        bar: Any = track(description=words, total=total, unit="tok", initial=done)
        with bar:
            for index, block in enumerate(blocks):
                text.update(raw_bytes(block.tokens))
                there = [of.pop(index, None) for of in kept]
                for folder, record in zip(self.folders, there, strict=True):
                    if record is not None and record["text_sha256"] != block.sha256():
                        raise folder.other_text(record)
                lacking = [f for f, record in zip(self.folders, there, strict=True) if record is None]
                made = self._compute(index, block, before, lacking, bar) if lacking else {}
                for folder, record, found in zip(self.folders, there, records, strict=True):
                    found.append(record or made[folder.hook])
                before += len(block)
        for folder, left, found in zip(self.folders, kept, records, strict=True):
            for record in left.values():
                raise folder.other_text(record)
            folder.finish(found, text.hexdigest())

    def _compute(
        self, index: int, block: SequenceBlock, before: int, folders: Sequence[HarvestFolder], bar: Any
    ) -> dict[str, Record]:
        """Run the model on the sequences of one shard, and write it to each folder: the records by hook."""
        n = len(block) * (block.tokens.shape[1] - self.first)
        device, width = self.subject.device, sum(_widths(self.subject))
        rows = {folder.hook: _Rows(n, width, self.dtype, device) for folder in folders}
        for start in range(0, len(block), self.batch_sequences):
            tokens = block.tokens[start : start + self.batch_sequences]
            for hook, stored in self._stored(tokens, before + start, tuple(rows)).items():
                rows[hook].add(stored)
            bar.update(tokens.numel())
        about = {
            "rows": n,
            "sequences": len(block),
            "tokens": block.tokens.numel(),
            "text_sha256": block.sha256(),
        }
        return {
            folder.hook: folder.write_shard(index, rows[folder.hook].tensors(block), about)
            for folder in folders
        }

    def _stored(self, tokens: Tensor, number: int, hooks: Sequence[str]) -> dict[str, Tensor]:
        """By hook, rows to store [rows, d] of sequences, the first of which is the text's `number`."""
        where = f"sequences {number} to {number + len(tokens) - 1} of the text"
        try:
            found = read_at(self.subject, tokens, hooks)
        except BadInputError as error:
            raise BadInputError(f"in {where}: {error}") from error
        stored = {}
        for hook, read in found.items():
            stored[hook] = read[:, self.first :].flatten(0, 1).to(self.dtype)
            if not bool(torch.isfinite(stored[hook]).all()):
                raise BadInputError(
                    f"in {where}: activations of {self.subject.name} at {hook} reach "
                    f"{float(read.abs().max()):.3g}, which does not fit {self.dtype}: store them as bfloat16 "
                    "or float32"
                )
        return stored


def read_at(
    subject: Subject, tokens: Int[Tensor, "batch pos"], hooks: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos d"]]:
    """What there is at each hook [batch, pos, d], from one pass where the subject can read several in one."""
    if (joint := getattr(subject, "joint", None)) is not None:
        return {hook: joint(tokens) for hook in hooks}
    several = getattr(subject, "residuals", None)
    if len(hooks) == 1 or several is None:
        return {hook: subject.residual(tokens, hook) for hook in hooks}
    return dict(zip(hooks, several(tokens, hooks), strict=True))
