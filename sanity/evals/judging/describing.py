"""Putting marked excerpts into words by counting: the words that stand out against a corpus."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from scipy.special import rel_entr

from sanity.errors import BadInputError

MOST_WORDS = 8
SEPARATOR = " · "
"""Between the words of a description: a mark that texts hardly hold."""

_WORD = re.compile(r"\w+|[^\w\s]")
_MARKED = re.compile(r"<<(.*?)>>", re.S)


class Corpus:
    """How common words are in some texts: what a reader of the language knows before any latent."""

    def __init__(self, texts: Iterable[str]) -> None:
        words = [words_of(text) for text in texts]
        if not any(words):
            raise BadInputError("there is no word in the texts that words are to stand out against")
        self.texts = len(words)
        self.words = Counter(word for some in words for word in some)
        self.holding = Counter(word for some in words for word in set(some))
        self._total = self.words.total()

    def share_of_words(self, word: str) -> float:
        """What share of all words is `word`; a word that does not occur counts half."""
        return (self.words[word] + 0.5) / (self._total + 1)

    def share_of_texts(self, word: str) -> float:
        """What share of the texts holds `word`; a word that does not occur counts half."""
        return (self.holding[word] + 0.5) / (self.texts + 1)


def words_of(text: str) -> list[str]:
    """Words and punctuation marks, without case."""
    return [match.group().casefold() for match in _WORD.finditer(text)]


def described(excerpts: Sequence[str], corpus: Corpus) -> str:
    """Up to `MOST_WORDS` words that stand out in excerpts whose tokens are marked, the clearest first.

    A word can stand out among the marked ones (its share of them, against its share of the corpus' words)
    or as company (the share of excerpts that hold it, against that of the corpus' texts). Both are measured
    by the log-likelihood ratio. What stands out no more than the best of as many random words as the corpus
    has would (the logarithm of their number) is left out; one word always stays.
    """
    marked = Counter(word for text in excerpts for word in _marked_words(text))
    holding = Counter(word for text in excerpts for word in set(words_of(_plain(text))))
    evidence = {word: _excess(k, len(excerpts), corpus.share_of_texts(word)) for word, k in holding.items()}
    for word, k in marked.items():
        among = _excess(k, marked.total(), corpus.share_of_words(word))
        evidence[word] = max(evidence.get(word, 0.0), among)
    ranked = sorted(evidence, key=lambda word: (-evidence[word], word))
    bar = math.log(len(corpus.words))
    kept = [word for i, word in enumerate(ranked[:MOST_WORDS]) if i == 0 or evidence[word] > bar]
    return SEPARATOR.join(kept)


def _plain(text: str) -> str:
    return text.replace("<<", "").replace(">>", "")


def _marked_words(text: str) -> Iterator[str]:
    """The words of which a part is marked: tokens may be pieces of words."""
    plain, spans = "", []
    for i, part in enumerate(_MARKED.split(text)):
        part = part if i % 2 else _plain(part)
        spans += [(len(plain), len(plain) + len(part))] if i % 2 else []
        plain += part
    for match in _WORD.finditer(plain):
        if any(match.start() < end and match.end() > start for start, end in spans):
            yield match.group().casefold()


def _excess(k: int, n: int, share: float) -> float:
    """The log-likelihood ratio of `k` of `n` against the chance `share`; 0 where it is no more than that."""
    seen = k / n
    return n * float(rel_entr(seen, share) + rel_entr(1 - seen, 1 - share)) if seen > share else 0.0
