"""How much of a latent is the identity of tokens: purity, the best n-gram rule, a lookup table of words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sanity.evals.interpretability.features import NGRAMS, PoolFeatures
from sanity.evals.interpretability.words import Ints

Floats = NDArray[np.float64]


class Firing(NamedTuple):
    """Where one latent fires: windows and positions in them."""

    window: Ints
    position: Ints


class NgramRule(NamedTuple):
    """An n-gram rule found on examples, and what it is worth on the test part."""

    words: tuple[str, ...]
    precision: float
    recall: float
    f1: float


def lexical_purity(words: Ints) -> float:
    """The largest share of one word among the words on which a latent's strongest activations fall.

    >>> lexical_purity(np.array([3, 3, 5, 3]))
    0.75
    """
    return float(np.bincount(words).max() / len(words))


def chance_purity(features: PoolFeatures, n: int, *, seed: int, draws: int = 2000) -> float:
    """`lexical_purity` of `n` tokens drawn at random from the pool, on average."""
    words = features.word[features.word >= 0]
    drawn = np.random.default_rng(seed).choice(words, size=(draws, n))
    drawn.sort(axis=1)
    longest = run = np.ones(draws, dtype=np.int64)
    for same in (drawn[:, 1:] == drawn[:, :-1]).T:
        run = np.where(same, run + 1, 1)
        longest = np.maximum(longest, run)
    return float(longest.mean() / n)


def ngram_rule(features: PoolFeatures, firing: Firing) -> NgramRule:
    """The n-gram (n = 1, 2, 3) that best says on the examples where the latent fires, and its test.

    Best is the largest F1 over tokens: precision is the share of the n-gram's last tokens on which the
    latent fires, recall the share of its activations that are such tokens.
    """
    in_test = features.pool.test.numpy()[firing.window]
    seen, held = (Firing(firing.window[m], firing.position[m]) for m in (~in_test, in_test))
    best_n, best, best_f1 = NGRAMS[0], 0, -1.0
    for n in NGRAMS:
        ids, _ = features.ngrams[n]
        hits = ids[seen.window, seen.position]
        which, counts = np.unique(hits[hits >= 0], return_counts=True)
        if not len(which):
            continue
        f1 = 2 * counts / (len(hits) + features.occurrences[n, False][which])
        top = int(f1.argmax())
        if f1[top] > best_f1:
            best_n, best, best_f1 = n, int(which[top]), float(f1[top])
    ids, _ = features.ngrams[best_n]
    rightly = int((ids[held.window, held.position] == best).sum())
    fired, occurs = len(held.window), int(features.occurrences[best_n, True][best])
    return NgramRule(
        _words_of(features, best_n, best),
        rightly / occurs if occurs else 0.0,
        rightly / fired if fired else 0.0,
        2 * rightly / (fired + occurs) if fired + occurs else 0.0,
    )


def _words_of(features: PoolFeatures, n: int, number: int) -> tuple[str, ...]:
    window, position = (int(place[0]) for place in np.nonzero(features.ngrams[n][0] == number))
    return tuple(features.words[word] for word in features.word[window, position - n + 1 : position + 1])


def lookup_scores(features: PoolFeatures, firing: Firing) -> Floats:
    """How likely each window of the test holds an activation, if all that matters is which words it holds.

    Each word's rate of activation is counted on the examples (with one token at the latent's mean rate
    added); the score of a window is the log-odds of at least one activation, up to a monotone map.
    """
    test = features.pool.test.numpy()
    size = len(features.words)
    seen = ~test[firing.window]
    fired = np.bincount(features.word[firing.window[seen], firing.position[seen]], minlength=size)
    occurs = features.occurrences[1, False]
    mean = fired.sum() / occurs.sum()
    rate = (fired + mean) / (occurs + 1)
    silence = np.append(np.log1p(-np.minimum(rate, 1 - 1e-9)), 0.0)
    scores: Floats = -silence[features.word[features.test]].sum(1)
    return scores
