"""Reading a language model's hooks: what decides what is read, and the cell function that harvests it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import Any

import torch

from sanity.data.text import TextSpec, Windows, window_blocks
from sanity.engine.arguments import CheckedDataclass
from sanity.engine.cells import Cell, Task, computes
from sanity.subject import Subject, assets_of, harvest, load_subject, load_tokenizer

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_PACED = 11
"""Blocks that a forward pass at `Pace.tokens_per_second` runs."""


@dataclass(frozen=True)
class LanguageModelHook(CheckedDataclass):
    """A language model and the hook at which it is read."""

    subject: str
    weights: str
    """What the weights are, so that other weights under the same name are another key."""
    hook: str
    backend: str = "transformer_lens"
    dtype: str = "float32"
    random_weights: bool = False

    @property
    def depth(self) -> float:
        """How deep a pass to the hook runs, next to one at the pace by which costs are told."""
        found = _BLOCK.match(self.hook)
        return 1.0 if found is None else (1 + int(found[1])) / _PACED

    @property
    def assets(self) -> tuple[str, ...]:
        """What loading it needs."""
        return assets_of(self.subject)

    def load(self, device: str) -> Subject:
        """The language model."""
        return load_subject(
            self.subject,
            backend=self.backend,
            device=device,
            dtype=getattr(torch, self.dtype),
            random_weights=self.random_weights,
        )


@dataclass(frozen=True)
class HookReading:
    """What is harvested: which text, how much of it, and how it is kept."""

    at: LanguageModelHook
    text: TextSpec
    split: str
    n_tokens: int
    context: int
    storage_dtype: str
    shard_tokens: int
    drop_first: bool
    device: str


def _one_model(cell: Cell) -> object:
    """Readings of one model: it is loaded once, and hooks that read the same text share its passes."""
    at: LanguageModelHook = cell.config.at
    return [cell.config.device, replace(at, hook="") if type(at) is LanguageModelHook else at]


@computes("read hook", version=1, together=_one_model)
def read_hook(tasks: Sequence[Task]) -> None:
    """Tokenise texts and harvest the activations of a model, block by block; shards survive a kill."""
    first: HookReading = tasks[0].config
    subject, facts = first.at.load(first.device), {}
    by_text: dict[HookReading, list[Task]] = {}
    for task in tasks:
        config: HookReading = task.config
        by_text.setdefault(replace(config, at=replace(config.at, hook="")), []).append(task)
    for some in by_text.values():
        facts.update(dict.fromkeys((task.cell.key for task in some), _read_text(subject, some)))
    for task in tasks:
        os.rename(task.scratch / "activations", task.folder / "activations")
        task.save_json("text", facts[task.cell.key])


def _read_text(subject: Subject, tasks: Sequence[Task]) -> dict[str, Any]:
    """Harvest the hooks of readings that differ in nothing else, in the same passes; facts about the text."""
    config: HookReading = tasks[0].config
    facts = _TextFacts()
    blocks = window_blocks(
        config.text,
        load_tokenizer(config.at.subject),
        split=config.split,
        n_tokens=config.n_tokens,
        context=config.context,
    )
    for_tokens, for_documents = tee(facts.watch(blocks))
    folders = {task.config.at.hook: task.scratch / "activations" for task in tasks}
    harvest(
        subject,
        (block.tokens for block in for_tokens),
        document_ids=(block.token_documents for block in for_documents),
        hook=config.at.hook,
        folder=folders.pop(config.at.hook),
        also=folders,
        shard_tokens=config.shard_tokens,
        dtype=getattr(torch, config.storage_dtype),
        drop_first=config.drop_first,
    )
    return facts.row()


class _TextFacts:
    """Counts what a stream of windows holds, while it passes."""

    def __init__(self) -> None:
        self._sources: dict[str, int] = {}
        self._documents: set[int] = set()
        self._state = hashlib.sha256()

    def watch(self, blocks: Iterator[Windows]) -> Iterator[Windows]:
        """The same blocks, counted."""
        for block in blocks:
            for name, n in block.tokens_by_source.items():
                self._sources[name] = self._sources.get(name, 0) + n
            self._documents.update(document.number for document in block.used)
            self._state.update(block.text_hash.encode())
            yield block

    def row(self) -> dict[str, Any]:
        """Documents, tokens by source, and a hash of all windows."""
        return {
            "documents": len(self._documents),
            "tokens_by_source": self._sources,
            "text_hash": self._state.hexdigest(),
        }
