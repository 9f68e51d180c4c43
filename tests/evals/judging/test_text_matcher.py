"""The judge that compares texts: words that stand out, their likeness, and nothing but text between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from word_encoder import WordEncoder

from sanity.errors import BadInputError
from sanity.evals.interpretability.contexts import Counts, DrawnContexts
from sanity.evals.interpretability.encoder import SentenceEncoder
from sanity.evals.interpretability.windows import Pool
from sanity.evals.judging import matching
from sanity.evals.judging.asking import Judge
from sanity.evals.judging.describing import Corpus, described
from sanity.evals.judging.matching import TextMatcher, open_matcher
from sanity.evals.judging.planted import planted_accuracy
from sanity.evals.judging.scoring import LatentTexts, judge_latents, texts_of

FILLER = [
    *("the", "a", "of", "and", "to", "in", "was", "it", "for", "on"),
    *("with", "as", "at", "by", "from", "that", "this", "had", "not", "are"),
]
RARE = [f"{a}{b}" for a in ("river", "castle", "engine", "violin") for b in ("", "s", "like", "side")]


def sentences(n: int, *, seed: int, word: str = "") -> list[str]:
    """Sentences of ten common words; with `word` in place of one of them."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        words = draw.choice(FILLER, size=10).tolist()
        if word:
            words[int(draw.integers(10))] = word
        found.append(" ".join(words))
    return found


CORPUS = [text for i, word in enumerate(RARE) for text in sentences(5, seed=1000 + i, word=word)]


def planted(word: str, number: int) -> LatentTexts:
    """A latent that fires on one word."""
    marked = tuple(text.replace(word, f"<<{word}>>") for text in sentences(8, seed=3 * number, word=word))
    firing = tuple(sentences(12, seed=3 * number + 1, word=word))
    return LatentTexts(number, marked, firing, tuple(sentences(12, seed=3 * number + 2)))


LATENTS = [planted(word, number) for number, word in enumerate(RARE)]


def matcher(corpus: Sequence[str] = CORPUS) -> TextMatcher:
    return TextMatcher("matcher", corpus, WordEncoder())


def test_the_marked_word_is_the_description() -> None:
    corpus = Corpus(CORPUS)
    found = [described(one.examples, corpus).split(matching.SEPARATOR) for one in LATENTS]
    assert [words[0] for words in found] == RARE
    assert np.mean([len(words) for words in found]) < 1.5


def test_a_marked_piece_stands_for_its_word_and_company_is_named_where_marks_say_nothing() -> None:
    corpus = Corpus(CORPUS)
    pieces = [text.replace("engine", "eng<<ine>>") for text in sentences(8, seed=1, word="engine")]
    assert described(pieces, corpus) == "engine"
    draw = np.random.default_rng(0)
    anywhere = []
    for text in sentences(15, seed=2, word="violin"):
        words = text.split()
        at = int(draw.integers(10))
        words[at] = f"<<{words[at]}>>"
        anywhere.append(" ".join(words))
    assert described(anywhere, corpus).split(matching.SEPARATOR)[0] == "violin"


def test_a_word_that_is_common_everywhere_does_not_stand_out() -> None:
    words = described(LATENTS[0].examples, Corpus(CORPUS)).split(matching.SEPARATOR)
    assert not set(words) & set(FILLER)
    assert described(["<<the>> of and to", "a <<the>> in was"], Corpus(CORPUS)) == "the"  # one always stays


def test_planted_words_are_recognised_and_anothers_description_is_worth_chance() -> None:
    judged = judge_latents(matcher(), LATENTS, seed=0)
    score, shuffled = judged.scores()
    assert score.value > 0.9
    assert shuffled.value == pytest.approx(0.5, abs=0.15)
    assert judged.latents["said_yes"].eq(0.5).all()
    assert judged.unanswered == 0.0


def test_nothing_but_text_passes_between_describing_and_reading() -> None:
    """Another instance that has described nothing reads a description in the same way."""
    one, other = matcher(), matcher()
    described_by_one = [text for text, _ in one.describe([latent.examples for latent in LATENTS])]
    assert all(isinstance(text, str) for text in described_by_one)
    questions = [
        (text, latent.shuffled(0)[0]) for text, latent in zip(described_by_one, LATENTS, strict=True)
    ]
    assert [c.verdicts for c in one.classify(questions)] == [c.verdicts for c in other.classify(questions)]
    # and with the descriptions swapped, the same instance answers by the words that it is given
    swapped = [
        (described_by_one[1], LATENTS[0].shuffled(0)[0]),
        (described_by_one[1], LATENTS[1].shuffled(0)[0]),
    ]
    first, second = (c.verdicts for c in one.classify(swapped))
    assert list(second) == LATENTS[1].shuffled(0)[1]
    assert list(first) != LATENTS[0].shuffled(0)[1]


def test_the_same_texts_get_the_same_answers_alone_and_in_company() -> None:
    questions = [(word, latent.shuffled(1)[0]) for word, latent in zip(RARE, LATENTS, strict=True)]
    together = [c.log_odds for c in matcher().classify(questions)]
    assert together == [matcher().classify([question])[0].log_odds for question in questions]
    judged, again = (judge_latents(matcher(), LATENTS, seed=3) for _ in range(2))
    assert judged.latents.equals(again.latents)
    assert judged.transcript.equals(again.transcript)


@given(st.integers(0, 50), st.integers(1, 40))
def test_likeness_is_what_its_words_say(seed: int, at_once: int) -> None:
    """Against the definition in plain loops, whatever is compared at once."""
    draw = np.random.default_rng(seed)
    phrases = [" ".join(draw.choice(FILLER + RARE, size=int(draw.integers(1, 4)))) for _ in range(3)]
    texts = [" ".join(draw.choice(FILLER + RARE, size=int(draw.integers(1, 9)))) for _ in range(5)]
    judge = matcher()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_AT_ONCE", at_once)
        found = judge.likeness(phrases, texts)
    holding = {word: sum(word in text.split() for text in CORPUS) for word in FILLER + RARE}
    encoder = WordEncoder()
    for i, phrase in enumerate(phrases):
        for j, text in enumerate(texts):
            (p,), (t,) = encoder.tokens([phrase]), encoder.tokens([text])
            best = [
                max(1.0 if a == b else float(x @ y) for b, y in zip(text.split(), t.vectors, strict=True))
                for a, x in zip(phrase.split(), p.vectors, strict=True)
            ]
            weights = [np.log((len(CORPUS) + 1) / (holding[word] + 0.5)) for word in phrase.split()]
            assert found[i, j] == pytest.approx(np.average(best, weights=weights), abs=1e-5)


@given(st.integers(1, 30))
def test_the_better_half_gets_a_yes(n: int) -> None:
    (said,) = matcher().classify(
        [("river", [*sentences(n, seed=n), *sentences(n, seed=n + 1, word="river")])]
    )
    assert sum(v is True for v in said.verdicts) == n
    fits = np.array(said.log_odds)
    yes = np.array(said.verdicts)
    assert fits[yes].min() >= fits[~yes].max()


def test_texts_and_descriptions_that_say_nothing() -> None:
    blank, silent = matcher().classify([("river", ["", "a river"]), (None, ["a river", "a hill"])])
    assert blank.verdicts == (False, True)
    assert silent.verdicts == (None, None)
    ((text, _),) = matcher().describe([["", "  "]])
    assert text is None
    assert isinstance(matcher(), Judge)


@pytest.mark.parametrize("corpus", [[], ["", " \n"]])
def test_a_corpus_without_words_is_refused(corpus: list[str]) -> None:
    with pytest.raises(BadInputError, match="no word in the texts"):
        matcher(corpus)


def word_pool(n: int = 240) -> Pool:
    """Windows of ten words from two topics, each with its own filler."""
    draw = np.random.default_rng(0)
    pieces, sources = [], []
    for i in range(n):
        topic = ("hills", "ships")[i % 2]
        words = [f"{word}{topic}" if word in FILLER[:10] else word for word in draw.choice(FILLER, size=10)]
        words[int(draw.integers(10))] = RARE[int(draw.integers(4))]
        pieces.append(tuple(f"{word} " for word in words))
        sources.append(topic)
    return Pool(
        torch.arange(10 * n).view(n, 10),
        torch.arange(0, 10 * n, 10),
        torch.arange(n),
        torch.arange(n) % 4 < 2,
        tuple(sources),
        tuple(pieces),
    )


def test_a_control_of_the_same_word_holds_it_without_activation_and_serves_once() -> None:
    pool = word_pool()
    windows, positions = map(np.array, zip(*(
        (i, j)
        for i, words in enumerate(pool.pieces)
        for j, word in enumerate(words)
        if word.strip() == "river" and pool.sources[i] == "hills"
    ), strict=True))  # fmt: skip
    n = len(windows)
    contexts = DrawnContexts(
        pool, torch.tensor([0]), torch.tensor([0, n]), torch.from_numpy(windows), torch.from_numpy(positions),
        torch.ones(n), Counts(1, 1, 0, 0, 1, 1, 3, 2400, 240, 240, 1.0),
    )  # fmt: skip
    (one,) = texts_of(contexts, 1, examples=5, classified=5, same_word=8, seed=0)
    assert len(one.same_word) == 8
    assert len({control for _, control in one.same_word}) == 8
    assert all("river " in text and "hills" in text for text, _ in one.same_word)
    assert all("river " in text and "ships" in text for _, text in one.same_word)
    assert texts_of(contexts, 1, examples=5, classified=5, same_word=8, seed=0) == [one]
    assert texts_of(contexts, 1, examples=5, classified=5, seed=0)[0].same_word == ()


def test_a_latent_without_controls_has_no_score_of_the_same_word() -> None:
    judged = judge_latents(matcher(), LATENTS, seed=0)
    assert judged.latents["same_word"].isna().all()
    pairs = tuple(
        zip(LATENTS[0].firing[:6], (f"{text} {RARE[0]}" for text in LATENTS[0].silent), strict=False)
    )
    some = [LatentTexts(**{**vars(LATENTS[0]), "same_word": pairs}), *LATENTS[1:]]
    again = judge_latents(matcher(), some, seed=0)
    assert again.latents["same_word"].notna().sum() == 1
    # the description is the word alone, which both kinds hold
    assert again.latents["same_word"].iloc[0] == pytest.approx(0.5, abs=0.34)
    assert again.scores()[2].metric == "autointerp_judge_same_word"
    assert again.scores()[:2] == judged.scores()


def test_the_whole_judge_falls_from_known_concepts_to_chance() -> None:
    pool = word_pool(480)
    table = planted_accuracy(
        matcher(pool.texts),
        pool,
        lambda contexts, *, seed: texts_of(contexts, 50, examples=10, classified=20, same_word=10, seed=seed),
        fewest=5,
        seeds=[0, 1],
        levels=(0.0, 0.5, 1.0),
    )
    means = table.groupby(["metric", "kind", "level"])["value"].mean()
    for kind in ("word", "topic"):
        intact, half, gone = means["autointerp_judge", kind]
        assert intact > 0.6
        assert intact > half > gone - 0.03
        assert gone == pytest.approx(0.5, abs=0.12)
    assert means["autointerp_judge_same_word", "word in topic"].loc[0.0] > 0.55
    assert means["autointerp_judge_shuffled"].between(0.3, 0.7).all()


def test_with_the_real_encoder_likeness_goes_beyond_equal_words(assets: dict[str, Path]) -> None:
    judge = open_matcher("minilm", ["The patient was treated.", "A goal was scored.", "It rained."])
    texts = ["the doctor saw her disease", "they lost the football game", "rain fell on the hills"]
    sport, illness = judge.likeness(["sports", "medicine"], texts)
    assert (sport.argmax(), illness.argmax()) == (1, 0)
    (text,) = SentenceEncoder().tokens(["Ä ☃ fever"])
    assert len(text.ids) == len(text.vectors)
    torch.testing.assert_close(text.vectors.norm(dim=1), torch.ones(len(text.ids)))
