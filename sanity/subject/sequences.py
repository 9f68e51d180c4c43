"""Token sequences, given whole or piece by piece, cut into the blocks that become shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from sanity.errors import BadInputError

Chunks = Tensor | Iterable[Tensor]


@dataclass(frozen=True, eq=False)
class SequenceBlock:
    """Some sequences [n, context], and the document ids of each ([n]) or of each token ([n, context])."""

    tokens: Tensor
    documents: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> SequenceBlock:
        return SequenceBlock(self.tokens[rows], None if self.documents is None else self.documents[rows])

    def sha256(self) -> str:
        """Of tokens and document ids."""
        state = hashlib.sha256(raw_bytes(self.tokens))
        if self.documents is not None:
            state.update(raw_bytes(self.documents))
        return state.hexdigest()

    def followed_by(self, other: SequenceBlock) -> SequenceBlock:
        """Both in one."""
        if other.tokens.shape[1] != self.tokens.shape[1]:
            raise BadInputError(
                f"sequences of {self.tokens.shape[1]} and of {other.tokens.shape[1]} tokens in one harvest: "
                "give all the same length"
            )
        documents = None
        if self.documents is not None and other.documents is not None:
            documents = torch.cat([self.documents, other.documents])
        return SequenceBlock(torch.cat([self.tokens, other.tokens]), documents)


def blocks_of(sequences: Chunks, document_ids: Chunks | None, block_tokens: int) -> Iterator[SequenceBlock]:
    """All sequences in order, `block_tokens` tokens at a time (whole sequences, at least one)."""
    held: SequenceBlock | None = None
    for piece in _pieces(sequences, document_ids):
        held = piece if held is None or not len(held) else held.followed_by(piece)
        size = max(1, block_tokens // held.tokens.shape[1])
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if held is not None and len(held):
        yield held


def _pieces(sequences: Chunks, document_ids: Chunks | None) -> Iterator[SequenceBlock]:
    tokens_given = [sequences] if isinstance(sequences, Tensor) else sequences
    if document_ids is None:
        pairs: Iterable[tuple[Tensor, Tensor | None]] = zip(tokens_given, repeat(None), strict=False)
    else:
        documents_given = [document_ids] if isinstance(document_ids, Tensor) else document_ids
        pairs = zip(tokens_given, documents_given, strict=True)
    for tokens, documents in pairs:
        if tokens.ndim != 2 or not tokens.shape[1] or tokens.is_floating_point():
            raise BadInputError(
                f"sequences must be ids of shape [n, context], not {tokens.dtype} of {list(tokens.shape)}"
            )
        if documents is not None and documents.shape not in (tokens.shape, tokens.shape[:1]):
            raise BadInputError(
                f"document_ids have shape {list(documents.shape)} for sequences of {list(tokens.shape)}: "
                "give one per sequence or one per token"
            )
        if len(tokens):
            yield SequenceBlock(tokens, documents)


def raw_bytes(ids: Tensor) -> bytes:
    """Ids as little-endian int32, for hashing."""
    return ids.to("cpu", torch.int32).contiguous().numpy().astype("<i4").tobytes()
