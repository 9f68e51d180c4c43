"""Text that no SAE has seen: held-out text, read on where its activations end, and cut into windows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import Tensor

from sanity.data.text import Windows, sequences
from sanity.engine.cells import Result, Task
from sanity.errors import SanityError
from sanity.evals.interpretability.collecting import parts_of
from sanity.evals.interpretability.windows import Pool, cut_windows, pieces_of
from sanity.sources import Hook
from sanity.subject import ActivationStore, Normalisation, harvest, load_tokenizer


def read_on(
    task: Task, source: Hook, held_out: ActivationStore, *, extra_tokens: int, device: str
) -> Windows:
    """The held-out text and `extra_tokens` more; activations of what is new go into the task's folder.

    Raises `SanityError` where the text does not begin with the tokens that were harvested.
    """
    text = sequences(
        source.text,
        load_tokenizer(source.at.subject),
        split="held_out",
        n_tokens=source.held_out_tokens + extra_tokens,
        context=source.context,
    )
    known = torch.cat([shard.tokens for shard in held_out.shards()])
    if not torch.equal(known, text.tokens[: len(known)].int()):
        raise SanityError("the held-out text is not the one that was harvested: run the harvest again")
    if len(text.tokens) > len(known):
        harvest(
            source.at.load(device),
            text.tokens[len(known) :],
            hook=source.at.hook,
            folder=task.scratch / "activations",
            shard_tokens=source.shard_tokens,
            dtype=getattr(torch, source.storage_dtype),
            drop_first=held_out.drop_first,
        )
        os.rename(task.scratch / "activations", task.folder / "activations")
    return text


def activations_of(
    prepared: Result, held_out: ActivationStore, scale: Normalisation, device: str
) -> Callable[[], Iterator[Tensor]]:
    """The activations of all of the text, in order, as the SAEs take them: held-out ones, then the new."""
    stores = [held_out]
    if any(name.startswith("activations/") for name in prepared.files):
        stores.append(ActivationStore(prepared.folder("activations")))

    def rows() -> Iterator[Tensor]:
        for store in stores:
            for part in store.rows(normalisation=scale):
                yield part.to(device)

    return rows


def cut_pool(text: Windows, source: Hook, *, window: int, seed: int) -> Pool:
    """The text as windows of at most `window` tokens, its documents divided into examples and test."""
    tokenizer = load_tokenizer(source.at.subject)
    tokens, first_row, documents = cut_windows(
        text.tokens,
        text.token_documents,
        length=window,
        drop_first=source.drop_first,
        breaks=tokenizer.all_special_ids,
    )
    source_of = {document.number: document.source for document in text.used}
    sources = tuple(source_of[document] for document in documents.tolist())
    parts = parts_of(documents.tolist(), sources, seed=seed)
    test = torch.tensor([parts[document] == "test" for document in documents.tolist()])
    pieces = pieces_of(tokenizer, [row[row >= 0].tolist() for row in tokens])
    return Pool(tokens, first_row, documents, test, sources, pieces)


def keep_pool(task: Task, pool: Pool, text_hash: str) -> None:
    """Keep a pool in the task's folder; the JSON object `text` says how much of which text it holds."""
    task.save_tensors("pool", pool.tensors())
    task.save_table("windows", pool.table())
    counted = pd.Series(pool.lengths.tolist()).groupby(list(pool.sources)).sum()
    task.save_json(
        "text",
        {
            "tokens": pool.n_tokens,
            "windows": len(pool),
            "documents": pool.n_documents,
            "tokens_by_source": {str(name): int(n) for name, n in counted.items()},
            "text_hash": text_hash,
        },
    )


def load_pool(prepared: Result) -> Pool:
    """The pool that `keep_pool` kept, as its documents were divided then."""
    return Pool.restore(prepared.tensors("pool"), prepared.table("windows"))
