"""An encoder for tests: a word's vector is drawn from its letters, whatever stands around it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch

from sanity.evals.interpretability.encoder import TextTokens


class WordEncoder:
    """As a `SentenceEncoder`, of words without case: equal ones are equal, others nearly orthogonal."""

    width = 64

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[zlib.crc32(word.encode()) for word in text.casefold().split()] for text in texts]

    def tokens(self, texts: Sequence[str]) -> list[TextTokens]:
        return [
            TextTokens(torch.tensor(ids, dtype=torch.long), self._rows(ids)) for ids in self.token_ids(texts)
        ]

    def _rows(self, ids: Sequence[int]) -> torch.Tensor:
        rows = [torch.randn(self.width, generator=torch.Generator().manual_seed(i)) for i in ids]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1) if rows else torch.zeros(0, self.width)
