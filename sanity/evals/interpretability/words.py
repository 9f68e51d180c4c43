"""The words of a pool of contexts: which token is which word, and which contexts hold it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sanity.evals.interpretability.windows import Pool

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PoolWords:
    """A pool whose tokens are known as words."""

    pool: Pool

    @cached_property
    def test(self) -> Ints:
        """Numbers of the windows for testing."""
        return np.flatnonzero(self.pool.test.numpy())

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The different tokens as readers see them: stripped of spaces and case (spaces alone stay)."""
        return self._words[0]

    @cached_property
    def word(self) -> Ints:
        """Each token's place in `words`: [windows, length], -1 after a window's end."""
        return self._words[1]

    @cached_property
    def _words(self) -> tuple[tuple[str, ...], Ints]:
        shown = [piece.strip().casefold() or piece for pieces in self.pool.pieces for piece in pieces]
        names, numbers = np.unique(np.array(shown, dtype=np.str_), return_inverse=True)
        found = np.full(tuple(self.pool.tokens.shape), -1, dtype=np.int64)
        found[self.pool.tokens.numpy() >= 0] = numbers
        return tuple(names.tolist()), found

    def holding(self, words: Ints) -> Bools:
        """Which windows of the test hold each of `words`: [len(words), test windows]."""
        starts, windows = self._holders
        out = np.zeros((len(words), len(self.test)), dtype=np.bool_)
        for i, word in enumerate(words.tolist()):
            out[i, windows[starts[word] : starts[word + 1]]] = True
        return out

    @cached_property
    def _holders(self) -> tuple[Ints, Ints]:
        rows = self.word[self.test]
        window, _ = np.nonzero(rows >= 0)
        word = rows[rows >= 0]
        pairs = np.unique(word * len(self.test) + window)
        starts = np.searchsorted(pairs // len(self.test), np.arange(len(self.words) + 1))
        return starts.astype(np.int64), (pairs % len(self.test)).astype(np.int64)
