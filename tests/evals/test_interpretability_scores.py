"""Scores of interpretability: against scikit-learn, and on latents whose meaning is known."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sanity.errors import BadInputError
from sanity.evals.interpretability import Context, Interpretability
from sanity.evals.interpretability.collecting import collect_contexts
from sanity.evals.interpretability.concepts import corrupted, graded_scores, known_concepts
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.intruders import intruder_accuracy
from sanity.evals.interpretability.lexical import (
    Firing,
    chance_purity,
    lexical_purity,
    lookup_scores,
    ngram_rule,
)
from sanity.evals.interpretability.ranking import auroc, matched_auroc
from sanity.evals.interpretability.scoring import COLUMNS, ScoringSettings, score_latents, summarise
from sanity.evals.interpretability.windows import Pool
from sanity.evals.score import Score

WORDS = ["cat", "dog", "sun", "sea", "red", "old", "new", "big", "the", "of", "and", "to"]


@pytest.fixture(scope="module")
def features() -> PoolFeatures:
    """600 contexts of two sources, ten words each; embeddings know the source and, weakly, the words."""
    rng = np.random.default_rng(0)
    n, length = 600, 10
    source = np.arange(n) % 2
    rates = np.full((2, len(WORDS)), 1.0)
    rates[0, :3], rates[1, 3:6] = 1.5, 1.5
    rates[:, :2] *= 0.25
    rates /= rates.sum(1, keepdims=True)
    words = np.stack([rng.choice(len(WORDS), size=length, p=rates[s]) for s in source])
    documents = torch.from_numpy(np.arange(n) // 4 * 2 + source)
    test = torch.from_numpy((np.arange(n) // 4) % 2 == 1)
    counts = np.stack([np.bincount(row, minlength=len(WORDS)) for row in words]).astype(float)
    vectors = np.concatenate([3 * np.eye(2)[source], 0.3 * counts, rng.normal(size=(n, 4))], axis=1)
    embeddings = torch.nn.functional.normalize(torch.from_numpy(vectors).float(), dim=1)
    pool = Pool(
        torch.from_numpy(words),
        torch.arange(n) * length,
        documents,
        test,
        tuple("ab"[s] for s in source),
        tuple(tuple(f" {WORDS[w]}" for w in row) for row in words),
    )
    return PoolFeatures(pool, embeddings)


numbers = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=2, max_size=30
).filter(lambda rows: len({p for _, p in rows}) == 2)


@given(numbers)
def test_auroc_is_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


@given(numbers)
def test_matched_against_everything_is_the_auroc(rows: list[tuple[float, bool]]) -> None:
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    everything = np.ones((int(positive.sum()), len(scores)), dtype=bool)
    value, covered = matched_auroc(scores, positive, everything)
    assert value == pytest.approx(roc_auc_score(positive, scores))
    assert covered == positive.sum()


def test_each_positive_is_held_against_its_own_controls() -> None:
    scores = np.array([3.0, 1.0, 2.0, 0.0, 4.0])
    positive = np.array([True, True, False, False, False])
    controls = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]], dtype=bool)
    assert matched_auroc(scores, positive, controls) == (pytest.approx((1 + 0.5) / 2), 2)
    value, covered = matched_auroc(scores, positive, np.zeros((2, 5), dtype=bool))
    assert np.isnan(value)
    assert covered == 0


def test_one_kind_of_context_alone_has_no_auroc() -> None:
    with pytest.raises(BadInputError, match="3 in which the latent fires and 0 others"):
        auroc(np.arange(3.0), np.ones(3, dtype=bool))


def scored(features: PoolFeatures, level: float, seed: int = 0) -> pd.DataFrame:
    concepts = known_concepts(features, fewest=5, seed=0)
    contexts = corrupted(concepts, features, level=level, fewest=5, seed=seed)
    return score_latents(contexts, features, ScoringSettings()).assign(kind=[c.kind for c in concepts])


def test_intact_concepts_are_seen_for_what_they_are(features: PoolFeatures) -> None:
    table = scored(features, 0.0).groupby("kind").mean(numeric_only=True)
    assert table.loc["topic", "auroc"] > 0.95
    assert table.loc["word", ["lookup", "purity", "ngram_f1", "ngram_recall"]].tolist() == [1, 1, 1, 1]
    assert np.isnan(table.loc["word", "token_matched"]), "no silent context holds the word"
    assert table.loc["word in topic", "token_matched"] > 0.95
    assert table.loc["word in topic", "source_matched"] < 0.8
    assert table.loc["topic", "intruder"] > 0.9


def test_nothing_is_left_of_wholly_corrupted_concepts(features: PoolFeatures) -> None:
    tables = pd.concat([scored(features, 1.0, seed) for seed in range(6)])
    for column in ("auroc", "token_matched", "source_matched", "lookup", "shuffled"):
        assert tables[column].mean() == pytest.approx(0.5, abs=0.03), column
    chance = chance_purity(features, 15, seed=0)
    assert tables["purity"].mean() == pytest.approx(chance, abs=0.05)
    assert tables["intruder"].mean() == pytest.approx(0.2, abs=0.05)


def test_scores_fall_as_the_concepts_they_are_gated_by_are_corrupted(features: PoolFeatures) -> None:
    gates = {name: metric.gate for name, metric in Interpretability.metrics.items() if metric.gate}
    graded = graded_scores(features, ScoringSettings(), metrics=gates, fewest=5, seeds=[0, 1, 2])
    assert set(graded["metric"]) == set(gates)
    mine = graded[graded["metric"].map(gates) == graded["kind"]]
    assert mine.groupby(["metric", "level", "seed"]).size().max() == 1
    falls = mine[mine["metric"] != COLUMNS["source_matched"]].groupby(["metric", "level"])["value"].mean()
    for metric, levels in falls.groupby("metric"):
        intact, middle, nothing = (levels.loc[(metric, level)] for level in (0.0, 0.5, 1.0))
        assert intact > middle > nothing - 0.02, metric
        assert intact > nothing + 0.2, metric


def test_fewer_contexts_held_against_matched_ones_tell_nearly_the_same(
    features: PoolFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = scored(features, 0.5)
    monkeypatch.setattr("sanity.evals.interpretability.scoring.MATCHED_AT_MOST", 40)
    some = scored(features, 0.5)
    assert not some["token_matched"].equals(everything["token_matched"])
    assert (some["token_matched"] - everything["token_matched"]).abs().mean() < 0.05
    pd.testing.assert_series_equal(some["auroc"], everything["auroc"])


def test_a_latent_on_a_pair_of_words_has_that_pair_as_its_rule(features: PoolFeatures) -> None:
    the, sea = (features.words.index(word) for word in ("the", "sea"))
    pair = (features.word[:, :-1] == the) & (features.word[:, 1:] == sea)
    windows, positions = np.nonzero(pair)
    rule = ngram_rule(features, Firing(windows, positions + 1))
    assert rule == (("the", "sea"), 1.0, 1.0, 1.0)


def test_rules_and_word_lists_are_made_of_the_examples_and_tried_on_the_test(features: PoolFeatures) -> None:
    cat, dog = (features.words.index(word) for word in ("cat", "dog"))
    test = features.pool.test.numpy()[:, None]
    fires = ((features.word == cat) & ~test) | ((features.word == dog) & test)
    windows, positions = np.nonzero(fires)
    rule = ngram_rule(features, Firing(windows, positions))
    assert rule == (("cat",), 0, 0, 0)
    scores = lookup_scores(features, Firing(windows, positions))
    held = (features.word[features.test] == cat).any(1)
    assert scores[held].min() > scores[~held].max()


def test_the_best_rule_is_the_one_with_the_largest_f1_on_the_examples(features: PoolFeatures) -> None:
    """Against trying every word, for latents that fire on two words, on each now and then."""
    rng = np.random.default_rng(1)
    words = features.word[~features.pool.test.numpy()]
    for _ in range(10):
        pair = rng.choice(len(features.words), 2, replace=False)
        fires = np.isin(features.word, pair) & (rng.random(features.word.shape) < 0.4)
        rule = ngram_rule(features, Firing(*np.nonzero(fires)))
        seen = fires[~features.pool.test.numpy()]
        f1 = [2 * (seen & (words == w)).sum() / (seen.sum() + (words == w).sum()) for w in range(12)]
        assert rule.words == (features.words[int(np.argmax(f1))],)


def test_what_all_contexts_share_is_taken_out_by_the_examples(features: PoolFeatures) -> None:
    shifted = PoolFeatures(features.pool, features.embeddings + 3.0)
    assert torch.allclose(shifted.centred, features.centred, atol=1e-4)
    mean = features.embeddings[~features.pool.test].mean(0)
    cosines = torch.nn.functional.cosine_similarity(features.centred, features.embeddings - mean)
    assert cosines.min() > 0.999


def test_purity_counts_the_commonest_word() -> None:
    assert lexical_purity(np.array([4, 4, 1, 4])) == 0.75


def test_chance_purity_is_what_random_words_have(features: PoolFeatures) -> None:
    rng = np.random.default_rng(5)
    words = features.word[features.word >= 0]
    plain = np.mean([lexical_purity(rng.choice(words, 15)) for _ in range(2000)])
    assert chance_purity(features, 15, seed=0) == pytest.approx(plain, abs=0.01)


def test_intruders_of_another_kind_are_found_and_others_by_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    apart = torch.nn.functional.normalize(torch.randn(40, 16, generator=generator), dim=1)
    apart[:20] = torch.nn.functional.normalize(apart[:20] + 5 * torch.eye(16)[0], dim=1)
    members, strangers = torch.arange(20), torch.arange(20, 40)
    found = intruder_accuracy(apart, members, strangers, sets=200, generator=generator)
    assert found == 1
    mixed = torch.nn.functional.normalize(torch.randn(400, 16, generator=generator), dim=1)
    by_chance = intruder_accuracy(
        mixed, torch.arange(200), torch.arange(200, 400), sets=4000, generator=generator
    )
    assert by_chance == pytest.approx(0.2, abs=0.03)
    assert np.isnan(intruder_accuracy(apart, members[:3], strangers, sets=5, generator=generator))


class Words:
    """An SAE of twelve latents, one per word, whose activations are one-hot words."""

    W_dec = torch.eye(len(WORDS))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z


def test_an_sae_is_scored_from_draw_to_mean(features: PoolFeatures) -> None:
    x = torch.nn.functional.one_hot(features.pool.tokens.flatten(), len(WORDS)).float()

    def scored() -> dict[str, Score]:
        contexts = collect_contexts(Words(), features.pool, lambda: [x], n=8, fewest=5, seed=0)
        table = score_latents(contexts, features, ScoringSettings())
        return {score.metric: score for score in summarise(table, features, ScoringSettings())}

    scores = scored()
    assert scores["autointerp_lookup_auroc"].value == 1
    assert scores["autointerp_auroc"].floor == 0.5
    assert scores["autointerp_auroc"].n == 8
    assert scores["autointerp_purity"].value == 1
    assert scores["autointerp_purity"].floor == pytest.approx(chance_purity(features, 15, seed=0))
    assert scored() == scores
    assert set(scores) == set(COLUMNS.values()) - {"autointerp_auroc_token_matched"}


def test_means_leave_out_latents_without_the_score(features: PoolFeatures) -> None:
    table = pd.DataFrame({column: [0.6, 0.8] for column in COLUMNS})
    table["token_matched"] = [0.7, np.nan]
    scores = {s.metric: s for s in summarise(table, features, ScoringSettings())}
    matched = scores["autointerp_auroc_token_matched"]
    assert (matched.value, matched.n) == (0.7, 1)


def test_embeddings_of_another_pool_are_refused(features: PoolFeatures) -> None:
    with pytest.raises(BadInputError, match="5 embeddings of 600 contexts"):
        PoolFeatures(features.pool, torch.ones(5, 3))


def test_what_is_shown_is_escaped_and_keeps_the_text() -> None:
    from sanity.figures import context_html, examples_html

    pieces = ("<script>", "\n", " & ", "end")
    context = Context(0, 0, "web", pieces, (0.5, 0.0, 2.0, 0.0))
    shown = context_html(context, strongest=2.0)
    assert "<script>" not in shown
    assert html.unescape(re.sub(r"<[^>]+>", "", shown)) == "<script>↵ & end"
    depths = [float(d) for d in re.findall(r"230,159,0,([\d.]+)", shown)]
    assert depths == sorted(depths)
    assert max(depths) <= 0.5
    assert shown.count("border-bottom") == 1
    table = examples_html([("a<b", "latent 3", [context])], caption="c & d")
    assert "a&lt;b" in table
    assert "c &amp; d" in table


@pytest.mark.assets
def test_the_encoder_is_as_its_authors_use_it(assets: dict[str, Path]) -> None:
    import os

    from transformers import AutoModel, AutoTokenizer

    from sanity.evals.interpretability.encoder import SentenceEncoder

    folder = assets["minilm"] / "model"
    texts = ["A cat sat on the mat.", "Stocks fell sharply.", "Shares dropped " + "a lot " * 300, "x"]
    vectors = SentenceEncoder().embed(texts)
    assert vectors.norm(dim=1) == pytest.approx(torch.ones(4), abs=1e-5)
    assert float(vectors[1] @ vectors[2]) > float(vectors[1] @ vectors[0])
    plain, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, vectors, strict=True):
        ids = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            mean = plain(**ids).last_hidden_state.mean(1)[0]
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-5)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(BadInputError, match="no text to embed"):
        SentenceEncoder().embed([])
