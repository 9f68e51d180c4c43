"""Latents whose meaning is known, put through a whole judge: described, recognised, corrupted in steps.

The gate asks a judge to read descriptions that people wrote. Here it also writes them: of made-up latents
that fire on a topic, on a word, or on a word within a topic (`sanity.evals.interpretability.concepts`), each
activation moved elsewhere with a rising probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from sanity.errors import BadInputError
from sanity.evals.base import GRADED_COLUMNS, graded_row
from sanity.evals.interpretability.concepts import corrupted, known_concepts
from sanity.evals.interpretability.windows import Pool
from sanity.evals.interpretability.words import PoolWords
from sanity.evals.judging.asking import Judge
from sanity.evals.judging.gate import LEVELS
from sanity.evals.judging.scoring import Judgement, LatentTexts, judge_latents

PLANTED_DRAWS = 3
"""Draws of concepts and of their corruption."""

# Contexts in each part, so that hardly ever all are moved to one of them.
_FEWEST = 10


def planted_accuracy(
    judge: Judge,
    pool: Pool,
    texts: Callable[..., list[LatentTexts]],
    *,
    fewest: int,
    seeds: Sequence[int],
    levels: Sequence[float] = LEVELS,
) -> pd.DataFrame:
    """Accuracy by kind of concept as more and more of what a latent fires on is moved elsewhere.

    Parameters
    ----------
    texts
        What a judge is shown of a collection of latents, given a `seed`.
    fewest
        Contexts that a concept has at least in each part of the pool, and as many others.

    Columns: `GRADED_COLUMNS`; `n` is the number of concepts. No rows where the pool holds too little text.
    """
    words, fewest, rows = PoolWords(pool), max(fewest, _FEWEST), []
    for seed in seeds:
        try:
            concepts = known_concepts(words, fewest=fewest, seed=seed)
        except BadInputError:  # so little text that no concept has enough contexts
            continue
        for level in levels if len(concepts) > 1 else ():
            there = corrupted(concepts, words, level=level, fewest=fewest, seed=seed)
            judged = judge_latents(judge, texts(there, seed=seed), seed=seed)
            kinds = [concepts[i].kind for i in judged.latents["latent"]]
            for kind, own in judged.latents.groupby(kinds):
                scores = Judgement(own, judged.transcript).scores()
                rows += [graded_row(score, str(kind), level, seed) for score in scores]
    return pd.DataFrame(rows, columns=list(GRADED_COLUMNS))
