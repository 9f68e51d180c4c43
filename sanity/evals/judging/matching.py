"""A judge that compares texts: no language model, and nothing but text between describing and reading.

A description is a few words that stand out in a latent's strongest contexts (`describing`). A context fits it
as well as the words find their like in it: for every word piece of the description the most similar word
piece of the context, by the cosine of their vectors from a small sentence encoder, or 1 where the very same
piece stands there; averaged with rare pieces weighted up (late interaction: Khattab and Zaharia, arXiv
2004.12832). Half of the contexts of every question fit, which the judge knows: it says yes to the better
half.

This was chosen on 38 labelled concepts, none of them the gate's (news topics, languages, school subjects and
others) with descriptions that people wrote, and on made-up latents that fire on words: the cosine of whole
texts was right in 0.72 of the former, late interaction in 0.76; contrasting with other descriptions,
whitening and a head trained on other concepts' labels added nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sanity.evals.interpretability.encoder import SentenceEncoder, TextTokens
from sanity.evals.judging.asking import Classification, Exchange, Question
from sanity.evals.judging.cache import Answer
from sanity.evals.judging.describing import SEPARATOR, Corpus, described
from sanity.evals.judging.protocol import Conversation, Message, shown

VERSION = "matcher 1"

# Word pieces of texts that are compared at once: [pieces of descriptions, pieces of texts] stays small.
_AT_ONCE = 4096
_SHOWN = 2
"""Texts that fit best, and as many that fit least, in the transcript."""

Floats = NDArray[np.float32]


@runtime_checkable
class TokenEncoder(Protocol):
    """The part of a `SentenceEncoder` that a matcher reads."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The word pieces of each text."""

    def tokens(self, texts: Sequence[str]) -> list[TextTokens]:
        """The word pieces of each text with a vector for each."""


class TextMatcher:
    """A judge that describes by words that stand out and reads by their likeness to a text's words.

    Parameters
    ----------
    name
        How the judge is called in tables.
    corpus
        Texts from which it knows how common words are; no latent is marked in them.
    encoder
        Gives the vectors. Every distinct text is read once.
    """

    def __init__(self, name: str, corpus: Sequence[str], encoder: TokenEncoder) -> None:
        self.name = name
        self._corpus = Corpus(corpus)
        self._encoder = encoder
        pieces = Counter(i for ids in encoder.token_ids(corpus) for i in set(ids))
        self._texts, self._holding = len(corpus), pieces
        self._known: dict[str, TextTokens] = {}

    def describe(self, excerpts: Sequence[Sequence[str]]) -> list[tuple[str | None, Exchange]]:
        """The words that stand out in each set of marked excerpts."""
        texts = [described(some, self._corpus) for some in excerpts]
        return [
            (text or None, self._asked("\n".join(map(shown, some)), text))
            for text, some in zip(texts, excerpts, strict=True)
        ]

    def classify(self, questions: Sequence[Question]) -> list[Classification]:
        """Yes to the better half of the texts of every question."""
        parts = [description.split(SEPARATOR) if description else [] for description, _ in questions]
        phrases = list(dict.fromkeys(phrase for some in parts for phrase in some))
        texts = list(dict.fromkeys(text for _, some in questions for text in some))
        row, column = _places(phrases), _places(texts)
        fits = self.likeness(phrases, texts) if phrases and texts else np.zeros((0, 0), np.float32)
        return [
            self._classified(
                description,
                asked,
                # Rounded, so that what else is read in one pass cannot turn a tie.
                fits[np.ix_([row[p] for p in some], [column[t] for t in asked])].mean(0).round(4).tolist()
                if some
                else None,
            )
            for (description, asked), some in zip(questions, parts, strict=True)
        ]

    def _rarity(self, piece: int) -> float:
        """Logarithm of how many texts there are for each that holds the piece."""
        return math.log((self._texts + 1) / (self._holding[piece] + 0.5))

    def likeness(self, phrases: Sequence[str], texts: Sequence[str]) -> Floats:
        """How well every phrase finds its like in every text: [phrases, texts], at most 1."""
        self._read({*phrases, *texts})
        ids, vectors, starts = self._together(phrases)
        weights = np.array([self._rarity(i) for i in ids.tolist()], np.float32)[:, None]
        total: Floats = np.add.reduceat(weights, starts)
        parts = []
        for some in self._portions(texts):
            other, others, begins = self._together(some)
            alike = vectors @ others.T
            alike[(ids[:, None] == other) & (ids[:, None] >= 0)] = 1.0
            best = np.maximum.reduceat(alike, begins, axis=1)
            parts.append(np.add.reduceat(weights * best, starts) / total)
        return np.concatenate(parts, axis=1)

    def _read(self, texts: Iterable[str]) -> None:
        new = sorted(text for text in texts if text not in self._known)
        if new:
            self._known |= zip(new, self._encoder.tokens(new), strict=True)

    def _together(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
        """Pieces and vectors of some texts one after the other, and where each begins."""
        known = [self._known[text] for text in texts]
        width = next((one.vectors.shape[1] for one in known if len(one.ids)), 1)
        # A text without a piece is like nothing: one piece that no other equals, of length 0.
        ids = [one.ids.numpy() if len(one.ids) else np.array([-1]) for one in known]
        vectors = [one.vectors.numpy() if len(one.ids) else np.zeros((1, width), np.float32) for one in known]
        sizes = np.array([len(some) for some in ids])
        return np.concatenate(ids), np.concatenate(vectors), np.cumsum(sizes) - sizes

    def _portions(self, texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = [[]]
        pieces = 0
        for text in texts:
            size = max(1, len(self._known[text].ids))
            if found[-1] and pieces + size > _AT_ONCE:
                found.append([])
                pieces = 0
            found[-1].append(text)
            pieces += size
        return found

    def _classified(
        self, description: str | None, texts: Sequence[str], fits: list[float] | None
    ) -> Classification:
        if fits is None or description is None:
            return Classification((None,) * len(texts), (None,) * len(texts), ())
        order = sorted(range(len(texts)), key=lambda i: -fits[i])
        yes = set(order[: len(texts) // 2])
        lines = [f"{fits[i]:.2f} {shown(texts[i])}" for i in (*order[:_SHOWN], *order[-_SHOWN:])]
        asked = self._asked(f"Description: {description}", "\n".join(lines))
        return Classification(tuple(i in yes for i in range(len(texts))), tuple(fits), (asked,))

    def _asked(self, question: str, answer: str) -> Exchange:
        return Exchange(Conversation((Message("user", question),), 0), (Answer(answer, model=self.name),))


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def open_matcher(name: str, corpus: Sequence[str], *, device: str = "cpu") -> TextMatcher:
    """The text matcher on the pinned sentence encoder."""
    return TextMatcher(name, corpus, SentenceEncoder(device=device))
