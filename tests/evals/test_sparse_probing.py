"""Sparse probing against scikit-learn run plainly on the same features, and at its two ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from sanity.data.probing import WIDER
from sanity.data.probing_texts import LabelledTexts, ProbeTask
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Setting
from sanity.evals.score import Score
from sanity.evals.sparse_probing import Probing, SparseProbing, dense_probes, fit, over_groups, sparse_probes
from sanity.evals.sparse_probing.eval import DividedTexts
from sanity.evals.sparse_probing.protocol import corrupted_reference, floor_of, probing_scores, ranked
from sanity.evals.sparse_probing.texts import TextActivations, pooled_latents
from sanity.models import Autoencoder, TopK
from sanity.sources import World

D, TEXTS = 12, 160


def halves(rng: np.random.Generator, labels: np.ndarray) -> ProbeTask:
    """A task over all texts: half of either class for training, a fifth for validation, the rest for test."""
    parts: list[list[int]] = [[], [], []]
    for value in (True, False):
        rows = rng.permutation(np.flatnonzero(labels == value))
        ends = [len(rows) // 2, len(rows) * 7 // 10]
        for kept, some in zip(parts, np.split(rows, ends), strict=True):
            kept += some.tolist()
    made = [LabelledTexts(np.array(rows), labels[rows]) for rows in parts]
    return ProbeTask("task", "pool", "group", *made)


def case(seed: int = 0, signal: float = 1.5) -> tuple[np.ndarray, list[ProbeTask]]:
    """Features [texts, D] whose third column carries a label, and one task."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(TEXTS) % 2 == 0)
    x = rng.standard_normal((TEXTS, D)) * rng.uniform(0.5, 2.0, D)
    x[:, 3] += signal * labels
    return x, [halves(rng, labels)]


@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(-3, 2), st.floats(0.0, 4.0), st.booleans())
def test_the_fit_is_scikit_learns(
    seed: int, features: int, log_strength: float, signal: float, dead: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 40, features))
    y = np.stack([rng.permutation(np.arange(40) % 2 == 0) for _ in range(3)])
    x[:, :, 0] += signal * y
    if dead:
        x[:, :, -1] = 0
    strength = np.array([10**log_strength, 1.0, 10.0])
    w = fit.fit_logistic(x, y, strength)
    for mine, one, labels, c in zip(w, x, y, strength, strict=True):
        theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(one, labels)
        np.testing.assert_allclose(mine[:-1], theirs.coef_[0], atol=1e-4)
        np.testing.assert_allclose(mine[-1], theirs.intercept_[0], atol=1e-4)


def test_separable_texts_are_fitted_too() -> None:
    x = np.linspace(-1, 1, 40).reshape(1, 40, 1) * 1e3
    w = fit.fit_logistic(x, x[:, :, 0] > 0, np.array([1e6]))
    theirs = LogisticRegression(C=1e6, tol=1e-12, max_iter=100_000).fit(x[0], x[0, :, 0] > 0)
    mine = fit.decide(x, w)[0] > 0
    assert (mine == theirs.predict(x[0])).all()


@given(st.integers(0, 10_000), st.integers(2, 30), st.booleans())
def test_auroc_and_accuracy_are_scikit_learns(seed: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((2, n + 5))
    if ties:
        logits = np.round(logits) + 0.25
    y = rng.random((2, n + 5)) > 0.5
    y[:, 0], y[:, 1] = True, False
    present = np.ones_like(y)
    present[1, n:] = False
    for row, size in ((0, n + 5), (1, n)):
        area = roc_auc_score(y[row, :size], logits[row, :size])
        assert fit.auroc(logits, y, present)[row] == pytest.approx(area)
        share = accuracy_score(y[row, :size], logits[row, :size] > 0)
        assert fit.accuracy(logits, y, present)[row] == pytest.approx(share)
        loss = log_loss(y[row, :size], 1 / (1 + np.exp(-logits[row, :size])))
        assert fit.log_loss(logits, y, present)[row] == pytest.approx(loss)


def plainly(x: np.ndarray, task: ProbeTask, k: int, probing: Probing) -> tuple[float, float]:
    """The protocol written down with scikit-learn: accuracy and AUROC."""
    train, validation, test = task.parts
    gap = x[train.rows][train.labels].mean(0) - x[train.rows][~train.labels].mean(0)
    columns = np.argsort(-np.abs(gap), kind="stable")[:k]
    scaler = StandardScaler().fit(x[train.rows][:, columns])

    def features(part: LabelledTexts) -> np.ndarray:
        scaled: np.ndarray = scaler.transform(x[part.rows][:, columns])
        return scaled

    best = min(
        (
            LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(features(train), train.labels)
            for c in probing.strengths
        ),
        key=lambda probe: round(log_loss(validation.labels, probe.predict_proba(features(validation))), 8),
    )
    logits = best.decision_function(features(test))
    return accuracy_score(test.labels, logits > 0), roc_auc_score(test.labels, logits)


@pytest.mark.parametrize("seed", range(4))
def test_the_protocol_is_what_scikit_learn_gives_plainly(seed: int) -> None:
    x, tasks = case(seed, signal=1.0)
    probing = Probing(ks=(1, 3, D))
    for form in (x, csr_matrix(x)):
        found = sparse_probes(form, tasks, probing).set_index("k")
        for k in probing.ks:
            expected = plainly(x, tasks[0], k, probing)
            assert found.loc[k, ["accuracy", "auroc"]].tolist() == pytest.approx(expected)
    dense, _ = dense_probes(x, tasks, probing)
    assert dense["auroc"].item() == pytest.approx(plainly(x, tasks[0], D, probing)[1])


def test_the_dense_probe_in_more_dimensions_than_texts_is_scikit_learns() -> None:
    x, tasks = case(1)
    wide = np.concatenate([x, np.random.default_rng(0).standard_normal((TEXTS, 300))], axis=1)
    probing = Probing(strengths=(0.01,))
    dense, directions = dense_probes(wide, tasks, probing)
    train, _, test = tasks[0].parts
    scaler = StandardScaler().fit(wide[train.rows])
    theirs = LogisticRegression(C=0.01, tol=1e-10, max_iter=10_000)
    theirs.fit(scaler.transform(wide[train.rows]), train.labels)
    np.testing.assert_allclose(directions[0], theirs.coef_[0] / scaler.scale_, atol=1e-6)
    logits = theirs.decision_function(scaler.transform(wide[test.rows]))
    assert dense["accuracy"].item() == accuracy_score(test.labels, logits > 0)


def test_latents_are_ranked_on_training_texts_only() -> None:
    x, tasks = case(0, signal=5.0)
    assert ranked(x, tasks[0].train, 1).tolist() == [3]
    for part in (tasks[0].validation, tasks[0].test):
        x[part.rows, 7] += 100 * part.labels  # what only these parts show
    assert sparse_probes(x, tasks, Probing(ks=(1,)))["latent"].tolist() == [3]


def test_ranking_in_standard_deviations_does_not_see_scale() -> None:
    x, tasks = case(0, signal=5.0)
    x[:, 5] *= 1e4
    assert ranked(x, tasks[0].train, 1).tolist() == [5]
    assert ranked(x, tasks[0].train, 1, standardised=True).tolist() == [3]
    assert ranked(csr_matrix(x), tasks[0].train, 1, standardised=True).tolist() == [3]


def test_permuted_labels_are_at_chance_even_with_many_latents_to_choose_from() -> None:
    x, tasks = case(0, signal=5.0)
    wide = np.concatenate([x, np.random.default_rng(1).standard_normal((TEXTS, 500))], axis=1)
    found = floor_of(wide, tasks, Probing(ks=(1, 5)), permutations=100, seed=0)
    for _, part in found.groupby("k"):
        error = part["accuracy"].std() / np.sqrt(len(part))
        assert abs(part["accuracy"].mean() - 0.5) < 4 * error
        assert error < 0.015
    assert sparse_probes(wide, tasks, Probing(ks=(1,)))["accuracy"].item() > 0.9


def test_the_corrupted_reference_falls_from_the_ceiling_to_the_floor() -> None:
    x, tasks = case(0, signal=3.0)
    levels = (0.0, 0.5, 0.9, 1.0)
    found = np.mean(
        [corrupted_reference(x, tasks, Probing(ks=(1,)), levels=levels, seed=s)["value"] for s in range(12)],
        axis=0,
    )
    dense, _ = dense_probes(x, tasks, Probing())
    assert found[0] == pytest.approx(over_groups(dense), abs=0.03)
    assert np.all(np.diff(found) < 0)
    assert found[-1] == pytest.approx(0.5, abs=0.06)


def test_the_wider_set_is_no_part_of_a_score_and_of_its_count() -> None:
    rows = [
        ("a", "one", 0.6),
        ("a", "two", 0.8),
        ("b", "three", 0.9),
        (WIDER, "four", 0.1),
        (WIDER, "five", 0.1),
    ]
    found = pd.DataFrame(rows, columns=["group", "task", "accuracy"]).assign(k=1)
    (score,) = probing_scores(found, floor={1: 0.5}, ceiling=0.9)
    assert (score.value, score.n) == (pytest.approx(0.8), 3)
    (alone,) = probing_scores(found[found["group"] == WIDER], floor={1: 0.5}, ceiling=0.9)
    assert (alone.value, alone.n) == (pytest.approx(0.1), 2)


def sae_of(directions: np.ndarray, k: int = 4) -> Autoencoder:
    W = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True)).float()
    n, d = W.shape
    return Autoencoder(W.T.contiguous(), W, torch.zeros(n), torch.zeros(d), TopK(k=k))


def in_memory(
    tokens: torch.Tensor, texts: torch.Tensor, *, centre: torch.Tensor, factor: float
) -> TextActivations:
    """Texts numbered from 0 whose tokens are all there."""
    part = {"activations": tokens, "texts": texts}
    return TextActivations(int(texts.max()) + 1, [lambda: part], centre, factor)


def activations(seed: int = 0) -> tuple[TextActivations, list[ProbeTask]]:
    """Texts of three to six tokens, whose tokens lean along axis 3 if the text is labelled."""
    rng = np.random.default_rng(seed)
    _, tasks = case(seed)
    labels = np.zeros(TEXTS, dtype=bool)
    for part in tasks[0].parts:
        labels[part.rows] = part.labels
    lengths = rng.integers(3, 7, TEXTS)
    texts = np.repeat(np.arange(TEXTS), lengths)
    tokens = rng.standard_normal((len(texts), D))
    tokens[:, 3] += 2.5 * labels[texts]
    shuffled = rng.permutation(len(texts))
    given_ = torch.from_numpy(tokens[shuffled]).float(), torch.from_numpy(texts[shuffled])
    return in_memory(*given_, centre=torch.ones(D), factor=2.0), tasks


def test_latents_are_averaged_over_the_tokens_of_each_text() -> None:
    texts, _ = activations()
    sae = sae_of(np.random.default_rng(1).standard_normal((20, D)))
    ((x, of),) = texts.given()
    z = sae.encode(x).double().numpy()
    expected = np.stack([z[of == i].mean(0) for i in range(TEXTS)])
    pooled = pooled_latents(sae, texts)
    np.testing.assert_allclose(pooled.means.toarray(), expected, atol=1e-6)
    assert pooled.l0 == pytest.approx((z > 0).sum(1).mean())
    assert pooled.alive == (z > 0).any(0).sum()

    class Plain:
        """Any object with `encode` and `W_dec`."""

        W_dec = sae.W_dec
        encode = sae.encode
        decode = sae.decode

    np.testing.assert_allclose(pooled_latents(Plain(), texts).means.toarray(), expected, atol=1e-6)
    # What the references read does not depend on what an SAE is given.
    raw = x / 2.0 + 1.0
    np.testing.assert_allclose(
        texts.text_means(), np.stack([raw[of == i].mean(0) for i in range(TEXTS)]), atol=1e-5
    )


def score_sae(sae: Autoencoder, data: DividedTexts) -> list[Score]:
    """What the eval says of one SAE on texts that are given."""
    setting = Setting(World(), 0, 1, "cpu", {})
    (found,) = SparseProbing(ks=tuple(data.floor)).score([Candidate(sae)], data, setting)
    return list(found.scores)


def test_a_dictionary_with_the_label_in_it_beats_one_without() -> None:
    texts, tasks = activations()
    data = DividedTexts(texts, tasks, {1: 0.5, 5: 0.5}, 0.95)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((20, D))
    directions[:, 3] = 0
    blind = score_sae(sae_of(directions), data)
    directions[7] = np.eye(D)[3]
    seeing = score_sae(sae_of(directions), data)
    assert [score.metric for score in seeing] == ["sparse_probing_top1", "sparse_probing_top5"]
    assert seeing[0].value > 0.9 > 0.75 > blind[0].value
    assert (seeing[0].floor, seeing[0].ceiling, seeing[0].n, seeing[0].unit) == (0.5, 0.95, 1, "task")


def test_an_sae_with_every_latent_dead_is_at_chance_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts, tasks = activations()
    sae = sae_of(np.eye(D))
    sae.b_enc -= 1e6
    scores = score_sae(sae, DividedTexts(texts, tasks, {1: 0.5, 16: 0.5}, 0.9))
    assert [score.value for score in scores] == [0.5, 0.5]
    assert "every one of the 12 latents is dead" in caplog.text


def test_bad_input_is_refused_in_words() -> None:
    texts, tasks = activations()
    with pytest.raises(BadInputError, match="one class only"):
        fit.fit_logistic(np.zeros((1, 4, 2)), np.ones((1, 4), dtype=bool), np.ones(1))
    with pytest.raises(BadInputError, match="NaN or infinite features"):
        fit.fit_logistic(np.full((1, 2, 1), np.nan), np.array([[True, False]]), np.ones(1))
    with pytest.raises(BadInputError, match="both classes"):
        fit.auroc(np.zeros((1, 3)), np.ones((1, 3), dtype=bool), np.ones((1, 3), dtype=bool))
    with pytest.raises(BadInputError, match="positive strengths"):
        Probing(strengths=(0.0,))
    with pytest.raises(BadInputError, match="numbers of latents from 1"):
        Probing(ks=())
    with pytest.raises(BadInputError, match="12 wide and the decoder 13"):
        pooled_latents(sae_of(np.eye(13)), texts)
    gap = in_memory(torch.ones(2, 3), torch.tensor([0, 2]), centre=torch.zeros(3), factor=1.0)
    with pytest.raises(BadInputError, match="text 1 has no tokens"):
        gap.text_means()
    bad = ProbeTask("t", "p", "g", *[LabelledTexts(np.array([0]), np.array([True]))] * 3)
    with pytest.raises(BadInputError, match="a probe needs both"):
        DividedTexts(texts, [*tasks, bad], {1: 0.5}, 0.9)
