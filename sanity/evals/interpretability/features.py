"""What is known of a pool of contexts before any latent is looked at: embeddings, words, n-grams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.interpretability.words import Ints, PoolWords

NGRAMS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class PoolFeatures(PoolWords):
    """A pool with its contexts' embeddings, and everything that scores of all latents share."""

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
    def document(self) -> Ints:
        """Document of each window."""
        return self.pool.documents.numpy().astype(np.int64)

    @cached_property
    def source(self) -> Ints:
        """Source of each window, as a number."""
        return np.unique(np.array(self.pool.sources), return_inverse=True)[1].astype(np.int64)

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
