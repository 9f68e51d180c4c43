"""Activations of a language model on a text, written shard by shard so that a kill costs one shard.

Memory holds one shard of activations and one batch of the model, however long the text is. Each shard is
computed by itself, in batches that start at its first sequence, and carries its own float64 sums: a harvest
that was interrupted anywhere ends with the same bytes as one that was not (on one machine, at the same
number of threads and the same `batch_tokens`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sanity.engine.arguments import Count, checked
from sanity.engine.files import disk_errors, read_sealed, remove, replacing, write_sealed
from sanity.engine.progress import track
from sanity.errors import BadInputError, CorruptFileError
from sanity.subject.activations import (
    HARVEST,
    MANIFEST,
    STATISTICS,
    ActivationStore,
    check_content,
    read_tensors,
    record_of,
    scale_factor,
)
from sanity.subject.interface import Subject, depth_of
from sanity.subject.sequences import Block, Chunks, blocks_of, raw_bytes

log = logging.getLogger("sanity")

Record = dict[str, Any]

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

    Raises
    ------
    BadInputError
        Unknown hook; sequences too long for the model, or none; NaN or infinite activations; activations
        that do not vary; or the folder holds a harvest of something else.
    StorageError
        The disk is full or cannot be written. Finished shards are kept.
    """
    if hook not in subject.hooks:
        depth_of(hook, subject.n_layers, subject.name)  # says which there are
    if dtype not in DTYPES:
        raise BadInputError(f"activations cannot be stored as {dtype}: choose float32, bfloat16 or float16")
    blocks = blocks_of(sequences, document_ids, shard_tokens)
    start = next(blocks, None)
    if start is None:
        raise BadInputError("no sequences were given to harvest: give at least one")
    context = start.tokens.shape[1]
    if context <= drop_first:
        raise BadInputError("sequences of one token hold nothing once the first position is dropped")
    on_cpu = subject.device.type == "cpu"
    wanted = batch_tokens or (_PER_THREAD * torch.get_num_threads() if on_cpu else _PER_ACCELERATOR)
    job = _Job(subject, hook, Path(folder), dtype, int(drop_first), max(1, wanted // context))
    job.open(
        {
            "format": 1,
            "weights_sha256": subject.weights_sha256,
            "hook": hook,
            "d_in": subject.d_model,
            "context": context,
            "shard_sequences": max(1, shard_tokens // context),
            "dtype": str(dtype).removeprefix("torch."),
            "drop_first": drop_first,
            "text_hash": text_hash,
            **({"widths": list(job.widths)} if len(job.widths) > 1 else {}),
        }
    )
    job.run(chain([start], blocks), sequences.numel() if isinstance(sequences, Tensor) else None)
    return ActivationStore(folder)


@dataclass(frozen=True)
class _Job:
    """One harvest into one folder."""

    subject: Subject
    hook: str
    folder: Path
    dtype: torch.dtype
    first: int
    """First position that is kept."""
    batch_sequences: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of what is read of a token: of its input, and of its targets where the subject has some."""
        return tuple(getattr(self.subject, "widths", (self.subject.d_model,)))

    def open(self, of: Record) -> None:
        """Claim the folder for this harvest, or check that it is the one that was begun there."""
        with disk_errors(self.folder):
            for left in self.folder.glob(".*.part"):
                remove(left)  # cut short when an earlier process was killed
            found = self._begun()
            if found is None:
                write_sealed(self.folder / HARVEST, of)
                return
        wrong = [name for name in of if found.get(name) != of[name]]
        if wrong:
            differences = ", ".join(f"{name} {found.get(name)!r} instead of {of[name]!r}" for name in wrong)
            raise BadInputError(
                f"{self.folder} holds a harvest of something else ({differences}): choose another folder, or "
                "delete it"
            )

    def _begun(self) -> Record | None:
        """What was begun in the folder; None for nothing, also when nobody can tell any more."""
        path = self.folder / HARVEST
        if not path.exists():
            remove(path)  # a dead link
            return None
        try:
            return read_sealed(path, unsealed=True)
        except CorruptFileError as error:
            log.warning("%s; its shards could be anything's, and are computed again", error)
            for left in (path, *self.folder.glob("shard-*")):
                remove(left)
            return None

    def run(self, blocks: Iterator[Block], total: int | None) -> None:
        """Compute the shards that are missing, then the statistics and the manifest."""
        kept = self._intact_shards()
        records: list[Record] = []
        text = hashlib.sha256()
        done = sum(int(record["tokens"]) for record in kept.values())
        bar: Any = track(description=f"harvest {self.hook}", total=total, unit="tok", initial=done)
        with bar:
            for index, block in enumerate(blocks):
                text.update(raw_bytes(block.tokens))
                record = kept.pop(index, None)
                if record is None:
                    before = sum(record["sequences"] for record in records)
                    record = self._compute(index, block, before, bar)
                elif record["text_sha256"] != block.sha256():
                    raise self._other_text(record)
                records.append(record)
        for record in kept.values():
            raise self._other_text(record)
        self._finish(records, text.hexdigest())

    def _intact_shards(self) -> dict[int, Record]:
        """The records of the shards that are whole; damaged ones are named, and will be computed again."""
        intact: dict[int, Record] = {}
        for path in sorted(self.folder.glob("shard-*.json")):
            try:
                record: Record = read_sealed(path, unsealed=True)
                check_content(self.folder, record)
                intact[int(path.stem.removeprefix("shard-"))] = record
            except (CorruptFileError, KeyError) as error:
                log.warning("a shard is computed again: %s", error)
                remove(path)
        return intact

    def _other_text(self, record: Record) -> BadInputError:
        return BadInputError(
            f"{self.folder / record['file']} holds activations of another text than the one given: choose "
            "another folder, or delete it"
        )

    def _compute(self, index: int, block: Block, before: int, bar: Any) -> Record:
        """Run the model on the sequences of one shard, and write the shard and then its record."""
        d, kept = sum(self.widths), block.tokens.shape[1] - self.first
        activations = torch.empty(len(block) * kept, d, dtype=self.dtype)
        sums = torch.zeros(d, dtype=torch.float64, device=self.subject.device)
        squares = torch.zeros(d, d, dtype=torch.float64, device=self.subject.device)
        for start in range(0, len(block), self.batch_sequences):
            tokens = block.tokens[start : start + self.batch_sequences]
            stored = self._stored(tokens, before + start)
            activations[start * kept : (start + len(tokens)) * kept] = stored
            exact = stored.double()
            sums += exact.sum(0)
            squares.addmm_(exact.T, exact)
            bar.update(tokens.numel())
        tensors = {
            "activations": activations,
            "tokens": block.tokens.to("cpu", torch.int32).contiguous(),
            "sum": sums.cpu(),
            "sum_of_squares": squares.cpu(),
        }
        if block.documents is not None:
            tensors["documents"] = block.documents.to("cpu", torch.int32).contiguous()
        path = self.folder / f"shard-{index:05d}.safetensors"
        record = _write_tensors(path, tensors) | {
            "rows": len(activations),
            "sequences": len(block),
            "tokens": block.tokens.numel(),
            "text_sha256": block.sha256(),
        }
        write_sealed(path.with_suffix(".json"), record)
        return record

    def _stored(self, tokens: Tensor, number: int) -> Tensor:
        """Rows to store [rows, d] of some sequences, the first of which is the text's sequence `number`."""
        where = f"sequences {number} to {number + len(tokens) - 1} of the text"
        try:
            joint = getattr(self.subject, "joint", None)
            found = self.subject.residual(tokens, self.hook) if joint is None else joint(tokens)
        except BadInputError as error:
            raise BadInputError(f"in {where}: {error}") from error
        stored = found[:, self.first :].flatten(0, 1).to(self.dtype)
        if not bool(torch.isfinite(stored).all()):
            raise BadInputError(
                f"in {where}: activations of {self.subject.name} at {self.hook} reach "
                f"{float(found.abs().max()):.3g}, which does not fit {self.dtype}: store them as bfloat16 or "
                "float32"
            )
        return stored

    def _finish(self, records: list[Record], tokens_sha256: str) -> None:
        """Add up the shards' sums in their order, and write the statistics and, last, the manifest."""
        n, d = sum(record["rows"] for record in records), sum(self.widths)
        mean, second = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
        for record in records:
            tensors = read_tensors(self.folder, record)
            mean += tensors["sum"]
            second += tensors["sum_of_squares"]
        mean, second = mean / n, second / n
        what, d_in = f"the activations of {self.subject.name} at {self.hook}", self.subject.d_model
        factor = scale_factor(mean[:d_in], second[:d_in, :d_in], what)
        statistics = _write_tensors(self.folder / STATISTICS, {"mean": mean, "second_moment": second})
        manifest = {
            "model": self.subject.name,
            "of": read_sealed(self.folder / HARVEST, unsealed=True),
            "n_sequences": sum(record["sequences"] for record in records),
            "n_tokens": n,
            "tokens_sha256": tokens_sha256,
            "factor": factor,
            "statistics": statistics,
            "shards": records,
        }
        write_sealed(self.folder / MANIFEST, manifest)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> Record:
    """Write a safetensors file whole or not at all; its name, size and SHA-256."""
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return record_of(path)
