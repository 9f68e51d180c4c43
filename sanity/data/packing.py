"""Documents of any length, cut into windows of one length that remember their documents."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from sanity.data.documents import Document


@dataclass(frozen=True)
class UsedDocument:
    """A document of which at least one token is in a window."""

    number: int
    """Rank in the order in which the documents of the split were read, from 0."""
    source: str
    name: str


@dataclass(frozen=True, eq=False)
class Windows:
    """Packed text."""

    tokens: Int[Tensor, "n context"]
    """int64 token ids."""
    token_documents: Int[Tensor, "n context"]
    """int32: number of the document that each token belongs to. The separator belongs to the document
    that it ends, BOS to the one that the token after it belongs to."""
    used: tuple[UsedDocument, ...]
    """The documents that `token_documents` names, in order."""

    @cached_property
    def text_hash(self) -> str:
        """SHA-256 of the tokens (int32, little-endian) and of their shape."""
        state = hashlib.sha256(f"{tuple(self.tokens.shape)}".encode())
        state.update(self.tokens.to(torch.int32).numpy().astype("<i4").tobytes())
        return state.hexdigest()

    @property
    def tokens_by_source(self) -> dict[str, int]:
        """How many of the tokens come from each source."""
        counts = torch.bincount(self.token_documents.flatten())
        found: Counter[str] = Counter()
        for document in self.used:
            found[document.source] += int(counts[document.number])
        return dict(found)


class Packer:
    """Cuts a stream of documents into windows."""

    def __init__(self, bos: list[int], context: int) -> None:
        self.bos = bos
        self.body = context - len(bos)
        self.tokens: list[int] = []
        self.owners: list[int] = []
        self.documents: dict[int, UsedDocument] = {}
        self.seen = 0

    @property
    def ready(self) -> int:
        """How many whole windows are waiting."""
        return len(self.tokens) // self.body

    def add(self, document: Document, ids: list[int]) -> None:
        """Take in the tokens of the next document."""
        self.documents[self.seen] = UsedDocument(self.seen, document.source, document.name)
        self.tokens += ids
        self.owners += [self.seen] * len(ids)
        self.seen += 1

    def take(self, n: int) -> Windows:
        """The next `n` windows."""
        end = n * self.body
        tokens = torch.tensor(self.tokens[:end], dtype=torch.int64).view(n, self.body)
        owners = torch.tensor(self.owners[:end], dtype=torch.int32).view(n, self.body)
        del self.tokens[:end], self.owners[:end]
        if self.bos:
            tokens = torch.cat([tokens.new_full((n, 1), self.bos[0]), tokens], dim=1)
            owners = torch.cat([owners[:, :1], owners], dim=1)
        first, last = int(owners[0, 0]), int(owners[-1, -1])
        used = tuple(self.documents[number] for number in range(first, last + 1))
        # The document that is cut here goes on in the next window; those before it are done.
        self.documents = {number: document for number, document in self.documents.items() if number >= last}
        return Windows(tokens, owners, used)
