"""Running text as windows of tokens: documents mixed, split, tokenised and packed.

The default mix comes from two registry packages: State of the Union addresses (12 MB) and running text of
the `sae-probes` tables (news, web pages, stories, reviews, code, medical abstracts; about 25 MB after
removing copies and the half that is kept for probing).

Documents, never windows, are divided into the splits. Within a split the sources take turns so that each
has its share of the tokens, every document is followed by an end-of-text token, and the stream is cut into
windows of `context` tokens, each beginning with the tokenizer's BOS token if it has one. Nothing beyond the
next few documents is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from sanity.data.documents import Document, DocumentSource, position
from sanity.data.hub import HubText
from sanity.data.local import TextFolder, files_below
from sanity.data.packing import Packer
from sanity.data.packing import Windows as Windows
from sanity.data.sources import SOURCES
from sanity.engine.arguments import CheckedDataclass, Seed
from sanity.engine.progress import track
from sanity.errors import BadInputError

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "held_out")

REGISTRY_MIX = ("speeches", "news", "web", "stories", "reviews", "code", "medicine")
"""Names of the sources of the default text."""

# Documents read and tokenised at a time for each source.
_BATCH = 16
_CHARACTERS_PER_TOKEN, _SPARE = 8, 128


@dataclass(frozen=True)
class TextSpec(CheckedDataclass):
    """Which text, in which order; part of the key of everything computed from it.

    Raises `BadInputError` for values that define no text.
    """

    sources: tuple[DocumentSource, ...] = field(default_factory=lambda: named_sources(REGISTRY_MIX))
    seed: Seed = 0
    """Of the order of the documents; the splits do not depend on it."""
    held_out: float = 0.1
    """Share of the documents in the split "held_out"; the others are "train"."""
    document_tokens: int | None = 1024
    """Only the first so many tokens of a document are used, `None` for all: a speech has 10,000, and two of
    them would be most of a small held-out set."""
    separator: str | None = None
    """The token after each document. `None` means "<|endoftext|>" where the vocabulary has it, and the
    tokenizer's end-of-sequence token elsewhere. (Chat models end their turns with another token than the
    one between documents in pre-training: after SmolLM2's "<|im_end|>" the next tokens cost 1 nat more.)"""

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise BadInputError(f"a text needs one or more different sources, not {names}")
        if not all(source.weight > 0 for source in self.sources):
            raise BadInputError(f"weights must be positive: {[source.weight for source in self.sources]}")
        if not 0 < self.held_out < 1:
            raise BadInputError(f"held_out is a share between 0 and 1, not {self.held_out}")
        if self.document_tokens is not None and self.document_tokens < 1:
            raise BadInputError(f"document_tokens must be 1 or more, not {self.document_tokens}")

    def split_of(self, text: str, *, whole: bool = False) -> Split:
        """Which split a document is in, by a hash of its opening words, or of the whole."""
        place = position(text, "held-out documents", whole=whole)
        return "held_out" if place < self.held_out else "train"


def named_sources(names: Sequence[str]) -> tuple[DocumentSource, ...]:
    """Sources by name: "registry" (the default mix), names in `SOURCES`, or local text.

    Local text is a text file, a folder of .txt files, or one of the hub's formats (parquet, jsonl).

    >>> [source.name for source in named_sources(["news", "code"])]
    ['news', 'code']
    """
    found: list[DocumentSource] = []
    for name in names:
        if name == "registry":
            found += (SOURCES[each] for each in REGISTRY_MIX)
        elif name in SOURCES:
            found.append(SOURCES[name])
        elif (path := Path(name).expanduser()).exists():
            plain = (
                path.is_file() or files_below(path, "*.txt") or not files_below(path, "*.jsonl", "*.parquet")
            )
            found.append(TextFolder(name) if plain else HubText(name))
        else:
            known = ", ".join(["registry", *SOURCES])
            raise BadInputError(
                f"there is no text source {name!r}: choose from {known}, or name a text file or a folder"
            )
    return tuple(found)


def sequences(spec: TextSpec, tokenizer: Any, *, split: str, n_tokens: int, context: int) -> Windows:
    """The first `n_tokens // context` windows of one split of a text.

    Parameters
    ----------
    tokenizer
        Any Hugging Face tokenizer.
    split
        "train" or "held_out".
    n_tokens
        How many tokens are wanted, BOS and separators included.
    context
        Tokens per window.

    Raises
    ------
    BadInputError
        The split has fewer tokens than that (the message says how many), or an argument is out of range.
    AssetError
        A source has not been fetched or cannot be reached.

    Examples
    --------
    >>> sequences(TextSpec(), tokenizer, split="train", n_tokens=100_000, context=128)  # doctest: +SKIP
    """
    blocks = list(window_blocks(spec, tokenizer, split=split, n_tokens=n_tokens, context=context))
    used = {document.number: document for block in blocks for document in block.used}
    return Windows(
        torch.cat([block.tokens for block in blocks]),
        torch.cat([block.token_documents for block in blocks]),
        tuple(used.values()),
    )


def window_blocks(
    spec: TextSpec, tokenizer: Any, *, split: str, n_tokens: int, context: int, block: int = 512
) -> Iterator[Windows]:
    """The windows of `sequences`, `block` of them at a time, for texts that do not fit into memory.

    `text_hash` and `tokens_by_source` are those of the block.
    """
    if split not in SPLITS:
        raise BadInputError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    if context < len(bos) + 1:
        raise BadInputError(f"a context of {context} has no room for text: give {len(bos) + 1} or more")
    if n_tokens < context or block < 1:
        raise BadInputError(f"{n_tokens} tokens are not one window of {context}: ask for {context} or more")
    wanted, made = n_tokens // context, 0
    packer = Packer(bos, context)
    bar: tqdm[None] = track(description=f"tokenise {split}", total=wanted * context, unit="tok")
    with bar:
        for document, ids in _interleaved(spec, tokenizer, split):
            packer.add(document, ids)
            while made < wanted and packer.ready >= (size := min(block, wanted - made)):
                made += size
                bar.update(size * context)
                yield packer.take(size)
            if made == wanted:
                return
    there = (made + packer.ready) * context
    raise BadInputError(
        f"the {split} split has {there} tokens in whole windows of {context}, but {n_tokens} were asked for: "
        f"ask for fewer, add a source to {[source.name for source in spec.sources]}, or change held_out"
    )


def _interleaved(spec: TextSpec, tokenizer: Any, split: Split) -> Iterator[tuple[Document, list[int]]]:
    """Documents with their tokens; the next one comes from the source that is furthest behind its share.

    A source that has run out drops out, and the others go on in proportion.
    """
    separator = separator_id(spec, tokenizer)
    queues = [_tokenised(spec, source, tokenizer, split) for source in spec.sources]
    # Tokens given so far, over the weight.
    progress = dict.fromkeys(range(len(queues)), 0.0)
    while progress:
        behind = min(progress, key=lambda i: (progress[i], i))
        following = next(queues[behind], None)
        if following is None:
            del progress[behind]
            continue
        document, ids = following
        ids = [*ids, separator]
        progress[behind] += len(ids) / spec.sources[behind].weight
        yield document, ids


def _tokenised(
    spec: TextSpec, source: DocumentSource, tokenizer: Any, split: Split
) -> Iterator[tuple[Document, list[int]]]:
    documents = (
        document
        for document in source.documents(seed=spec.seed)
        if spec.split_of(document.text, whole=document.whole) == split and document.text.strip()
    )
    while batch := list(islice(documents, _BATCH)):
        ids = first_ids(tokenizer, [document.text for document in batch], spec.document_tokens)
        yield from zip(batch, ids, strict=True)


def first_ids(tokenizer: Any, texts: Sequence[str], most: int | None) -> list[list[int]]:
    """The first `most` token ids of each text; no more of a text is tokenised than they need."""
    if most is None:
        return token_ids(tokenizer, texts)
    found: dict[int, list[int]] = {}
    length = _CHARACTERS_PER_TOKEN * (most + _SPARE)
    while missing := [i for i in range(len(texts)) if i not in found]:
        for i, ids in zip(missing, token_ids(tokenizer, [texts[i][:length] for i in missing]), strict=True):
            # The last tokens before the cut may be others than in the whole text.
            if len(texts[i]) <= length or len(ids) >= most + _SPARE:
                found[i] = ids[:most]
        length *= 4
    return [found[i] for i in range(len(texts))]


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Of each text as it is: nothing is added, and what looks like a special token inside it is text."""
    # Not verbose: a document may be longer than the model's context.
    encoded = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def separator_id(spec: TextSpec, tokenizer: Any) -> int:
    """The id of the token that follows each document; `BadInputError` if the tokenizer has none."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    for name in (spec.separator,) if spec.separator else ("<|endoftext|>", tokenizer.eos_token):
        if name in vocabulary:
            return vocabulary[name]
    raise BadInputError(
        f"the tokenizer has no token {spec.separator or 'for the end of a text'!r}: "
        "give the name of one of its tokens as TextSpec.separator"
    )
