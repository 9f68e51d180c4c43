"""Labelled texts read once per language model: the residual stream of each of their tokens, on disk."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sanity.data.probing_texts import ProbingTexts
from sanity.engine.cells import Result, Task
from sanity.engine.files import is_intact, read_sealed, replacing, sha256_of, write_sealed
from sanity.engine.progress import track
from sanity.errors import BadInputError, CorruptFileError
from sanity.evals.sparse_probing.texts import TextActivations
from sanity.sources import Hook
from sanity.subject import ActivationStore, Subject

_BATCH_TOKENS = 2048


def read_texts(
    task: Task, subject: Subject, texts: ProbingTexts, source: Hook, *, storage_dtype: str
) -> None:
    """Keep the residual stream of every text, shard by shard, and their tables; resumes after a kill."""
    folder = task.scratch / "residuals"
    folder.mkdir(exist_ok=True)
    # Long texts first: texts of one length share a batch, and running out of memory shows at once.
    order = sorted(range(len(texts.windows)), key=lambda i: (-len(texts.windows[i]), i))
    tokens = max(16_384, source.shard_tokens)
    bar: Any = track(description="read labelled texts", total=len(order), unit="text")
    with bar:
        for number, shard in enumerate(_shards(order, texts.windows, tokens)):
            path = folder / f"shard-{number:05d}.safetensors"
            kept = _noted(task.scratch / f"{path.name}.json")
            if not is_intact(path, kept):
                with replacing(path) as temporary:
                    save_file(_residuals(subject, texts.windows, shard, source, storage_dtype), temporary)
                write_sealed(task.scratch / f"{path.name}.json", {"sha256": sha256_of(path)})
            bar.update(len(shard))
    os.rename(folder, task.folder / "residuals")
    task.save_table("texts", texts.table)
    task.save_table("counts", texts.counts)


def _noted(path: Path) -> object:
    """The SHA-256 of a shard that an earlier, killed run has written."""
    with contextlib.suppress(CorruptFileError):
        return read_sealed(path)["sha256"]
    return None


def text_activations(prepared: Result, train: Result, device: str) -> TextActivations:
    """The residuals of the texts, and the normalisation that the autoencoders were trained with."""
    kept = ActivationStore(train.folder("activations"))
    names = sorted(name for name in prepared.files if name.startswith("residuals/"))

    def load(name: str) -> Mapping[str, Tensor]:
        loaded: dict[str, Tensor] = load_file(prepared.local(name))
        return loaded

    return TextActivations(
        len(prepared.table("texts")),
        [functools.partial(load, name) for name in names],
        kept.mean.to(device),
        kept.factor,
        mean=kept.mean.to(device),
    )


def _shards(order: Sequence[int], windows: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """The texts in groups of about so many tokens."""
    ends = np.cumsum([len(windows[i]) for i in order])
    which = (ends - 1) // tokens
    return [[order[int(i)] for i in np.flatnonzero(which == shard)] for shard in np.unique(which)]


def _residuals(
    subject: Subject, windows: Sequence[Sequence[int]], texts: Sequence[int], source: Hook, dtype_name: str
) -> dict[str, Tensor]:
    """Activations [tokens, d_model] of some texts, and the number of each token's text."""
    bos = subject.tokenizer.bos_token_id
    start = [] if bos is None else [bos]
    # As in the autoencoders' own text: what is left out is the first position, or nothing.
    first = int(source.drop_first)
    dtype, kept, numbers = getattr(torch, dtype_name), [], []
    longest = max(len(windows[i]) for i in texts) + len(start)
    at_once = max(1, _BATCH_TOKENS // longest)
    for begin in range(0, len(texts), at_once):
        batch = texts[begin : begin + at_once]
        ids = [[*start, *windows[i]] for i in batch]
        width = max(map(len, ids))
        # Attention is causal: what follows a text changes nothing in it.
        tokens = torch.tensor([[*row, *row[:1] * (width - len(row))] for row in ids])
        found = subject.residual(tokens, source.at.hook)
        for row, (number, own) in enumerate(zip(batch, ids, strict=True)):
            if len(own) <= first:
                raise BadInputError("a text of one token is nothing once its first position is left out")
            stored = found[row, first : len(own)].to("cpu", dtype)
            if not bool(torch.isfinite(stored).all()):
                raise BadInputError(f"activations do not fit {dtype}: set storage_dtype to bfloat16")
            kept.append(stored)
            numbers.append(torch.full((len(stored),), number, dtype=torch.int32))
    return {"activations": torch.cat(kept), "texts": torch.cat(numbers)}
