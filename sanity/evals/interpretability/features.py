"""What is known of a pool of contexts before any latent is looked at: embeddings, tokens, n-grams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.interpretability.windows import Pool

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NGRAMS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class PoolFeatures:
    """A pool with its contexts' embeddings, and everything that scores of all latents share."""

    pool: Pool
    embeddings: Float[Tensor, "windows d"]
    """One unit vector per window, from a sentence encoder."""

    def __post_init__(self) -> None:
        if len(self.embeddings) != len(self.pool):
            raise BadInputError(
                f"there are {len(self.embeddings)} embeddings of {len(self.pool)} contexts: embed this pool"
            )

    @cached_property
    def centred(self) -> Float[Tensor, "windows d"]:
        """The embeddings without what all contexts have in common: minus their mean, at length 1.

        The mean is over the part "examples", so that nothing is learnt from the contexts of the test.
        """
        mean = self.embeddings[self.pool.is_in("examples")].mean(0)
        return torch.nn.functional.normalize(self.embeddings - mean, dim=1)

    @cached_property
    def test(self) -> Ints:
        """Numbers of the windows for testing."""
        return np.flatnonzero(self.pool.test.numpy())

    @cached_property
    def document(self) -> Ints:
        """Document of each window."""
        return self.pool.documents.numpy().astype(np.int64)

    @cached_property
    def source(self) -> Ints:
        """Source of each window, as a number."""
        return np.unique(np.array(self.pool.sources), return_inverse=True)[1].astype(np.int64)

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

    @cached_property
    def ngrams(self) -> dict[int, tuple[Ints, int]]:
        """For n in `NGRAMS`: the n-gram of words that ends at each token, numbered, and how many there are.

        -1 where the window has not begun n words before, or is over.
        """
        found: dict[int, tuple[Ints, int]] = {}
        n_words = len(self.words)
        previous = self.word
        for n in NGRAMS:
            if n > 1:
                joined = np.full_like(self.word, -1)
                before, here = previous[:, :-1], self.word[:, 1:]
                joined[:, 1:] = np.where((before >= 0) & (here >= 0), before * n_words + here, -1)
                previous = joined
            present = previous >= 0
            _, number = np.unique(previous[present], return_inverse=True)
            out = np.full_like(previous, -1)
            out[present] = number
            previous = out
            found[n] = (out, int(number.max()) + 1 if len(number) else 0)
        return found

    @cached_property
    def occurrences(self) -> dict[tuple[int, bool], Ints]:
        """(n, in test) -> how often each n-gram occurs in that part."""
        test = self.pool.test.numpy()
        counted = {}
        for n, (ids, size) in self.ngrams.items():
            for part in (False, True):
                inside = ids[test == part]
                counted[n, part] = np.bincount(inside[inside >= 0], minlength=size).astype(np.int64)
        return counted

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
