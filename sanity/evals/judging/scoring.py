"""Judged interpretability of latents: described from some contexts, recognised in others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sanity.errors import BadInputError
from sanity.evals.drawing import derangement
from sanity.evals.interpretability.contexts import DrawnContexts, LatentContexts
from sanity.evals.interpretability.words import PoolWords
from sanity.evals.judging.asking import (
    MOST_UNANSWERED,
    Classification,
    Judge,
    Question,
    Transcript,
    credit,
)
from sanity.evals.judging.protocol import MOST_EXAMPLES, VERSION
from sanity.evals.score import Score

if TYPE_CHECKING:
    import pandas as pd

METRIC = "autointerp_judge"
SHUFFLED = "autointerp_judge_shuffled"
"""The same with another latent's description: a control, and no floor."""
SAME_WORD = "autointerp_judge_same_word"
"""The same with silent contexts that hold the words on which the latent fires elsewhere."""
CHANCE = 0.5
FEWEST_PAIRS = 5
"""Contexts with a control of the same word that a latent needs, to have a score of that kind."""


@dataclass(frozen=True)
class LatentTexts:
    """What a judge is shown of one latent; `firing` and `silent` are of one length."""

    latent: int
    examples: tuple[str, ...]
    """To describe it: its strongest contexts with the tokens marked, strongest first."""
    firing: tuple[str, ...]
    """To recognise: contexts in which it fires, at all strengths."""
    silent: tuple[str, ...]
    """To tell apart: contexts in which it never fires."""
    same_word: tuple[tuple[str, str], ...] = ()
    """Pairs of a context in which it fires and one in which it does not, though the word is there, too."""

    def shuffled(self, seed: int) -> tuple[list[str], list[bool]]:
        """The contexts to classify in random order, and whether the latent fires in each."""
        return self._mixed(self.firing, self.silent, seed)

    def shuffled_same_word(self, seed: int) -> tuple[list[str], list[bool]]:
        """The contexts of `same_word` in random order, and whether the latent fires in each."""
        firing, silent = zip(*self.same_word, strict=True) if self.same_word else ((), ())
        return self._mixed(firing, silent, seed)

    def _mixed(self, firing: Sequence[str], silent: Sequence[str], seed: int) -> tuple[list[str], list[bool]]:
        texts = [*firing, *silent]
        truth = [True] * len(firing) + [False] * len(silent)
        generator = torch.Generator().manual_seed(1_000_003 * seed + self.latent)
        order = torch.randperm(len(texts), generator=generator).tolist()
        return [texts[i] for i in order], [truth[i] for i in order]


def latent_texts(
    latent: LatentContexts,
    *,
    examples: int,
    contexts: int,
    seed: int,
    same_word: tuple[tuple[str, str], ...] = (),
) -> LatentTexts:
    """The texts of the paper's protocol for one latent; those to describe and to test share no document.

    Parameters
    ----------
    examples
        Contexts to describe it from, at most 15.
    contexts
        Contexts in which it fires, and as many in which it does not; fewer where it has fewer of a kind.
    """
    shown = latent.top(min(examples, MOST_EXAMPLES))
    firing, silent = latent.spread(contexts), latent.silent(contexts, seed=seed)
    n = min(len(firing), len(silent))
    if not shown or n == 0:
        raise BadInputError(
            f"latent {latent.latent} has {len(shown)} contexts to describe and {n} pairs to classify: "
            "collect contexts of latents that fire in both parts of the text"
        )
    return LatentTexts(
        latent.latent,
        tuple(context.marked("<<", ">>") for context in shown),
        # Evenly over the strengths also where there are fewer pairs than activating contexts.
        tuple(context.text for context in latent.spread(n)),
        tuple(context.text for context in silent[:n]),
        same_word,
    )


def texts_of(
    contexts: DrawnContexts,
    n: int,
    *,
    examples: int,
    classified: int,
    seed: int,
    same_word: int = 0,
) -> list[LatentTexts]:
    """The texts of the first `n` latents of a collection, with up to `same_word` pairs that share a word."""
    words = PoolWords(contexts.pool) if same_word else None
    return [
        latent_texts(
            contexts[i],
            examples=examples,
            contexts=classified,
            seed=seed,
            same_word=same_word_pairs(contexts, i, words, n=same_word, seed=seed) if words else (),
        )
        for i in range(min(n, len(contexts)))
    ]


def same_word_pairs(
    contexts: DrawnContexts, i: int, words: PoolWords, *, n: int, seed: int
) -> tuple[tuple[str, str], ...]:
    """Up to `n` pairs of test contexts of latent `i`: it fires in the first; the second only holds the word.

    The word is that of the token on which it fires most strongly. Activating contexts come in random order,
    each with a random control that no other has.
    """
    peaks, test = contexts.peaks[i].numpy(), words.test
    generator = np.random.default_rng((seed, int(contexts.latents[i])))
    firing = generator.permutation(test[peaks[test] > 0])
    word = words.word[firing, contexts.peak_positions[i].numpy()[firing]]
    free = {
        int(one): generator.permutation(test[holds & (peaks[test] == 0)]).tolist()
        for one, holds in zip(np.unique(word), words.holding(np.unique(word)), strict=True)
    }
    texts, taken, pairs = contexts.pool.pieces, set[int](), []
    for window, one in zip(firing.tolist(), word.tolist(), strict=True):
        control = next((other for other in free[one] if other not in taken), None)
        if control is not None:
            taken.add(control)
            pairs.append(("".join(texts[window]), "".join(texts[control])))
        if len(pairs) == n:
            break
    return tuple(pairs)


@dataclass(frozen=True)
class Judgement:
    """What a judge made of some latents."""

    latents: pd.DataFrame
    """A row per latent: description, accuracy with its own description and with another latent's."""
    transcript: pd.DataFrame
    """A row per question."""

    @property
    def unanswered(self) -> float:
        """The share of contexts without a usable answer."""
        return float(self.latents["unanswered"].mean())

    @property
    def refused(self) -> bool:
        """Whether too many contexts are without an answer for a score to mean anything."""
        return self.unanswered > MOST_UNANSWERED

    def scores(self) -> list[Score]:
        """Mean accuracy over latents, with their own descriptions and with others', between chance and 1.

        The floor is 0.5 for every arm, since half of the contexts are of each kind. What an arm's latents
        score with others' descriptions is a row of its own: as a floor it would differ from arm to arm.

        Raises `BadInputError` where too many answers were unusable.
        """
        if self.refused:
            raise BadInputError(
                f"{self.unanswered:.0%} of the contexts have no usable answer, more than the "
                f"{MOST_UNANSWERED:.0%} that are allowed: this judge gives no score"
            )
        columns = {METRIC: "accuracy", SHUFFLED: "shuffled", SAME_WORD: "same_word"}
        values = {metric: self.latents[column].dropna() for metric, column in columns.items()}
        return [
            Score(metric, float(of.mean()), CHANCE, 1.0, True, len(of), "latent", VERSION)
            for metric, of in values.items()
            if len(of)
        ]


def judge_latents(judge: Judge, latents: Sequence[LatentTexts], *, seed: int) -> Judgement:
    """Describe every latent, then tell its contexts from others, with its own and with another's description.

    Where latents have pairs of contexts with the same word, those are told apart with the own description.

    Parameters
    ----------
    latents
        Two or more: each is also given the description of another.
    seed
        Of the order of the contexts, and of who gets whose description.
    """
    import pandas as pd

    if len(latents) < 2:
        raise BadInputError(
            f"a judge needs two or more latents, not {len(latents)}: each is also given another's description"
        )
    transcript = Transcript()
    described = judge.describe([latent.examples for latent in latents])
    for latent, (_, asked) in zip(latents, described, strict=True):
        transcript.add(asked, latent=latent.latent, question="describe")
    descriptions = [description for description, _ in described]
    mixed = [latent.shuffled(seed) for latent in latents]
    pairs = [latent.shuffled_same_word(seed) for latent in latents]
    others = [descriptions[i] for i in derangement(len(latents), torch.Generator().manual_seed(seed))]
    said = {}
    for kind, given, shown in (
        ("own", descriptions, mixed),
        ("shuffled", others, mixed),
        ("same word", descriptions, pairs),
    ):
        questions: list[Question] = [
            (description if texts else None, texts)
            for description, (texts, _) in zip(given, shown, strict=True)
        ]
        said[kind] = judge.classify(questions)
        for latent, found in zip(latents, said[kind], strict=True):
            for asked in found.asked:
                transcript.add(asked, latent=latent.latent, question=kind)
    rows = [
        _row(latent, descriptions[i], mixed[i][1], said["own"][i], said["shuffled"][i])
        | _same_word_row(latent, pairs[i][1], said["same word"][i])
        for i, latent in enumerate(latents)
    ]
    return Judgement(pd.DataFrame(rows), pd.DataFrame(transcript.rows))


def _row(
    latent: LatentTexts,
    description: str | None,
    truth: list[bool],
    own: Classification,
    other: Classification,
) -> dict[str, object]:
    missing = [verdict is None for verdict in (*own.verdicts, *other.verdicts)]
    return {
        "latent": latent.latent,
        "description": description or "",
        "accuracy": credit(own.verdicts, truth),
        "shuffled": credit(other.verdicts, truth),
        "said_yes": sum(verdict is True for verdict in own.verdicts) / len(truth),
        "unanswered": sum(missing) / len(missing),
        "contexts": len(truth),
        "examples": len(latent.examples),
    }


def _same_word_row(latent: LatentTexts, truth: list[bool], said: Classification) -> dict[str, object]:
    """NaN where too few contexts have a control."""
    enough = len(latent.same_word) >= FEWEST_PAIRS
    return {
        "same_word": credit(said.verdicts, truth) if enough else float("nan"),
        "same_word_contexts": len(truth),
    }
