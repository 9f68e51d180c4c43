"""Latents whose meaning is known, corrupted in steps: what the scores of interpretability are worth.

Three kinds of made-up latents fire exactly where something known is the case in the pool's text:

- `topic`: in every context from one source (speeches, code, reviews ...), on a token drawn at random;
- `word`: on every occurrence of one word, wherever it stands;
- `word in topic`: on every occurrence of one word in the contexts of one source only, so that the word alone
  does not tell where.

Corrupted to the level p, each activation is moved with probability p to a token drawn at random from the
whole pool: at 0 the concept is intact, at 1 nothing is left of it but its frequency. No SAE is involved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sanity.errors import BadInputError
from sanity.evals.base import GRADED_COLUMNS, graded_row
from sanity.evals.interpretability.contexts import Counts, DrawnContexts
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.scoring import ScoringSettings, score_latents, summarise
from sanity.evals.interpretability.words import Ints, PoolWords

KINDS = ("topic", "word", "word in topic")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)

WORDS = 12
# Share of the tokens that such a word may be: what latents have, and enough to be scored.
_RARE, _COMMON = 0.001, 0.03


@dataclass(frozen=True, eq=False)
class ConceptOccurrences:
    """Where one known concept holds in a pool."""

    kind: str
    name: str
    windows: Ints
    positions: Ints
    """-1 for a position to be drawn."""


def known_concepts(features: PoolWords, *, fewest: int, seed: int) -> list[ConceptOccurrences]:
    """All concepts of the three kinds that have `fewest` contexts, and as many without, in each part."""
    rng = np.random.default_rng(seed)
    sources = np.array(features.pool.sources)
    names = sorted(set(features.pool.sources))
    found = []
    for name in names:
        windows = np.flatnonzero(sources == name)
        found.append(ConceptOccurrences("topic", name, windows, np.full(len(windows), -1)))
    present = features.word >= 0
    counts = np.bincount(features.word[present], minlength=len(features.words))
    share = counts / present.sum()
    readable = np.array([word.isalpha() for word in features.words])
    middling = np.flatnonzero(readable & (share >= _RARE) & (share <= _COMMON))
    for word in rng.permutation(middling)[:WORDS].tolist():
        found.append(_word(features, word, np.ones(len(sources), dtype=np.bool_), "word"))
    common = np.flatnonzero(readable & (share >= _RARE))
    for name in names:
        for word in rng.permutation(common)[:WORDS].tolist():
            concept = _word(features, word, sources == name, "word in topic")
            if _usable(concept, features, fewest):
                found.append(concept)
                break
    usable = [concept for concept in found if _usable(concept, features, fewest)]
    if not usable:
        raise BadInputError(
            f"no known concept has {fewest} contexts in each part of {len(features.pool)} contexts: "
            "give more text"
        )
    return usable


def _word(features: PoolWords, word: int, where: NDArray[np.bool_], kind: str) -> ConceptOccurrences:
    windows, positions = np.nonzero((features.word == word) & where[:, None])
    topic = f" in {features.pool.sources[windows[0]]}" if kind != "word" and len(windows) else ""
    return ConceptOccurrences(kind, features.words[word] + topic, windows, positions)


def _usable(concept: ConceptOccurrences, features: PoolWords, fewest: int) -> bool:
    test = features.pool.test.numpy()
    held = np.unique(concept.windows)
    firing = [int((test[held] == part).sum()) for part in (False, True)]
    return all(
        fires >= fewest and int((test == part).sum()) - fires >= fewest
        for fires, part in zip(firing, (False, True), strict=True)
    )


def corrupted(
    concepts: Sequence[ConceptOccurrences], features: PoolWords, *, level: float, fewest: int, seed: int
) -> DrawnContexts:
    """The concepts as latents, their strengths drawn, each activation moved with probability `level`."""
    if not 0 <= level <= 1:
        raise BadInputError(f"level is a probability, not {level}")
    rng = np.random.default_rng(seed)
    everywhere = np.argwhere(features.word >= 0)
    lengths = features.pool.lengths.numpy()
    parts = []
    for number, concept in enumerate(concepts):
        windows, positions = concept.windows.copy(), concept.positions.copy()
        free = positions < 0
        positions[free] = (rng.random(int(free.sum())) * lengths[windows[free]]).astype(np.int64)
        moved = rng.random(len(windows)) < level
        there = everywhere[rng.integers(len(everywhere), size=int(moved.sum()))]
        windows[moved], positions[moved] = there[:, 0], there[:, 1]
        # Two activations may be moved to one token.
        once = np.unique(windows * features.pool.length + positions)
        windows, positions = once // features.pool.length, once % features.pool.length
        parts.append((np.full(len(once), number), windows, positions, rng.uniform(0.5, 1.5, len(once))))
    owner, window, position, value = (
        torch.from_numpy(np.concatenate(columns)) for columns in zip(*parts, strict=True)
    )
    counts = Counts(
        d_sae=len(concepts),
        alive=len(concepts),
        rare=0,
        dense=0,
        eligible=len(concepts),
        sampled=len(concepts),
        fewest=fewest,
        tokens=features.pool.n_tokens,
        windows=len(features.pool),
        documents=features.pool.n_documents,
        l0=sum(len(windows) for _, windows, _, _ in parts) / features.pool.n_tokens,
    )
    entries = (owner, window, position, value.float())
    return DrawnContexts.build(features.pool, torch.arange(len(concepts)), entries, counts)


def graded_scores(
    features: PoolFeatures,
    scoring: ScoringSettings,
    *,
    metrics: Collection[str],
    fewest: int,
    seeds: Sequence[int],
    levels: Sequence[float] = LEVELS,
) -> pd.DataFrame:
    """The scores in `metrics` of every kind of concept at every level, for several draws of the corruption.

    Columns: `GRADED_COLUMNS`; `n` is the number of concepts. Raises `BadInputError` where the text holds too
    few of any.
    """
    concepts = known_concepts(features, fewest=fewest, seed=scoring.seed)
    rows = []
    for level in levels:
        for seed in seeds:
            contexts = corrupted(concepts, features, level=level, fewest=fewest, seed=seed)
            table = score_latents(contexts, features, scoring)
            for kind in KINDS:
                mine = table[[concept.kind == kind for concept in concepts]]
                scores = summarise(mine, features, scoring)
                rows += [graded_row(one, kind, level, seed) for one in scores if one.metric in metrics]
    return pd.DataFrame(rows, columns=list(GRADED_COLUMNS))
