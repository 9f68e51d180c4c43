from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from sanity.data.synthetic import SyntheticSpec, SyntheticWorld
from sanity.errors import BadInputError
from sanity.evals import expected_max_cosine, max_cosines, recovery, recovery_by_frequency
from sanity.evals.feature_recovery import (
    mean_matched_cosine,
    mean_max_cosine,
    nearest_latents,
    one_to_one,
    uniqueness,
)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(n=st.integers(1, 30), m=st.integers(1, 30), d=st.integers(2, 8), seed=st.integers(0, 10**6))
def test_cosines_agree_with_scikit_learn(n: int, m: int, d: int, seed: int) -> None:
    features, W_dec = gaussian(n, d, seed=seed), 7 * gaussian(m, d, seed=seed + 1)
    theirs = cosine_similarity(features.numpy(), W_dec.numpy())
    np.testing.assert_allclose(max_cosines(features, W_dec).numpy(), theirs.max(1), atol=1e-5)
    values, latents = nearest_latents(features, W_dec, absolute=True)
    np.testing.assert_allclose(values.numpy(), abs(theirs).max(1), atol=1e-5)
    np.testing.assert_allclose(abs(theirs)[range(n), latents.numpy()], values.numpy(), atol=1e-5)


def test_small_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, W_dec = gaussian(101, 5), gaussian(40, 5, seed=1)
    whole = nearest_latents(features, W_dec)
    monkeypatch.setattr("sanity.evals.feature_recovery.CHUNK_ELEMENTS", 200)
    parts = nearest_latents(features, W_dec)
    torch.testing.assert_close(parts, whole)


def test_rows_of_any_length_and_precision_have_their_direction() -> None:
    W_dec = gaussian(6, 4)
    for scale in (1e-30, 1.0, 1e30):
        torch.testing.assert_close(max_cosines(W_dec * scale, W_dec), torch.ones(6))
    assert max_cosines(W_dec.bfloat16(), W_dec).dtype == torch.float32
    assert max_cosines(W_dec, W_dec.double()).dtype == torch.float64


def test_the_true_dictionary_recovers_everything_and_its_negative_nothing() -> None:
    features = SyntheticWorld.from_spec(SyntheticSpec()).features
    shuffled = features[torch.randperm(3200, generator=torch.Generator().manual_seed(0))]
    score = recovery(features, shuffled)
    assert (score.value, score.ceiling, score.n) == (1.0, 1.0, 3200)
    assert float(recovery(features, -features)) == 0.0
    assert float(mean_max_cosine(features, shuffled)) == pytest.approx(1.0)
    assert float(uniqueness(features, shuffled)) == 1.0


def test_a_random_dictionary_lies_at_the_floors() -> None:
    features, W_dec = gaussian(2000, 10), gaussian(300, 10, seed=1)
    score = recovery(features, W_dec, threshold=0.8)
    assert 0.1 < score.floor < 0.9
    assert score.value == pytest.approx(score.floor, abs=0.05)
    cosine = mean_max_cosine(features, W_dec)
    assert cosine.floor == expected_max_cosine(10, 300)
    assert cosine.value == pytest.approx(cosine.floor, abs=0.01)
    unique = uniqueness(features, W_dec)
    assert unique.value == pytest.approx(unique.floor, abs=0.05)
    matched = mean_matched_cosine(features, W_dec)
    assert matched.value == pytest.approx(matched.floor, abs=0.01)
    assert recovery(gaussian(3, 100), gaussian(3200, 100), threshold=0.8).floor < 1e-15


def test_recovered_means_above_the_threshold() -> None:
    features = torch.eye(4)
    angles = torch.tensor([0.1, 0.5, 0.7, 1.2])
    W_dec = torch.diag(angles.cos()) + torch.diag(angles.sin()).roll(1, 1)
    torch.testing.assert_close(one_to_one(features, W_dec).cosines.float(), angles.cos())
    for threshold, share in ((0.99, 0.25), (0.8, 0.5), (0.75, 0.75), (0.94, 0.25)):
        assert float(recovery(features[:3], W_dec, threshold=threshold)) * 3 == pytest.approx(
            sum(max(math.cos(a), math.sin(b)) > threshold for a, b in ((0.1, 1.2), (0.5, 0.1), (0.7, 0.5)))
        ), share


def test_weighting_counts_activations() -> None:
    features, W_dec = torch.eye(3), torch.eye(3)[:2]
    assert float(recovery(features, W_dec)) == pytest.approx(2 / 3)
    p = torch.tensor([0.5, 0.1, 0.2])
    score = recovery(features, W_dec, probabilities=p)
    assert score.value == pytest.approx(0.6 / 0.8)
    assert score.metric == "frequency_weighted_recovery"
    assert recovery(features, W_dec, probabilities=torch.ones(3)).value == pytest.approx(2 / 3)


@given(n=st.integers(1, 5), m=st.integers(1, 5), seed=st.integers(0, 10**6), absolute=st.booleans())
def test_matching_is_the_best_of_all(n: int, m: int, seed: int, absolute: bool) -> None:
    features, W_dec = gaussian(n, 3, seed=seed), gaussian(m, 3, seed=seed + 1)
    cosines = cosine_similarity(features.numpy(), W_dec.numpy())
    cosines = abs(cosines) if absolute else cosines
    if n <= m:
        sums = [sum(cosines[range(n), list(p)]) for p in itertools.permutations(range(m), n)]
    else:
        sums = [sum(cosines[list(p), range(m)]) for p in itertools.permutations(range(n), m)]
    matching = one_to_one(features, W_dec, absolute=absolute)
    assert float(matching.cosines.sum()) == pytest.approx(max(sums), abs=1e-5)
    assert len(set(matching.latents.tolist())) == len(set(matching.features.tolist())) == min(n, m)
    score = mean_matched_cosine(features, W_dec, absolute=absolute)
    assert score.value == pytest.approx(max(sums) / min(n, m), abs=1e-5)


def test_agrees_with_sae_lens_where_it_has_the_same_metric() -> None:
    theirs = pytest.importorskip("sae_lens.synthetic.evals")
    features, W_dec = gaussian(60, 8), torch.cat([gaussian(60, 8)[:20], gaussian(30, 8, seed=1)])
    ours = mean_matched_cosine(features, W_dec, absolute=True)
    assert ours.value == pytest.approx(theirs.mean_correlation_coefficient(features, W_dec), abs=1e-5)
    unique = uniqueness(features, W_dec, absolute=True)
    assert unique.value == pytest.approx(theirs.feature_uniqueness(W_dec, features))


def test_uniqueness_counts_different_features() -> None:
    W_dec = torch.eye(3)[[0, 0, 0, 1]]
    score = uniqueness(torch.eye(3), W_dec)
    assert score.value == 0.5
    assert score.ceiling == 0.75
    assert score.floor == pytest.approx(3 * (1 - (2 / 3) ** 4) / 4)


def test_the_table_by_frequency_holds_every_feature_once() -> None:
    world = SyntheticWorld.from_spec(SyntheticSpec(probabilities="variable"))
    p = world.probabilities
    known = p > 1e-3
    W_dec = torch.where(known[:, None], world.features, -world.features)
    cosines = max_cosines(world.features, W_dec)
    table = recovery_by_frequency(cosines, p, bins=8, n_samples=1000)
    assert table["features"].sum() == 3200
    assert (table["p_low"].to_numpy()[1:] == table["p_high"].to_numpy()[:-1]).all()
    share = (table["recovered"] * table["features"]).sum()
    assert share == pytest.approx(int(known.sum()))
    assert table["recovered"].iloc[-1] == 1.0
    assert table["recovered"].iloc[0] == 0.0
    total = (table["times_seen"] * table["features"]).sum()
    assert total == pytest.approx(1000 * float(p.sum()))
    assert recovery_by_frequency(cosines, torch.full((3200,), 0.1))["features"].tolist() == [3200]


def with_value(value: float) -> torch.Tensor:
    W_dec = gaussian(5, 4)
    W_dec[2] = value
    return W_dec


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recovery(gaussian(3, 4), gaussian(3, 5)), "W_dec is 5 wide and the features 4"),
        (lambda: max_cosines(gaussian(3, 4), with_value(math.nan)), r"W_dec of shape \[5, 4\] .* \[2, 0\]"),
        (lambda: max_cosines(gaussian(3, 4), with_value(0.0)), "1 rows of length 0, the first is row 2"),
        (lambda: max_cosines(with_value(math.inf), gaussian(3, 4)), "features of shape"),
        (lambda: max_cosines(gaussian(0, 4), gaussian(3, 4)), "0 features and 3 latents"),
        (lambda: recovery(gaussian(3, 4), gaussian(3, 4), threshold=1.5), "cosine 1.5"),
        (
            lambda: recovery(gaussian(3, 4), gaussian(3, 4), probabilities=torch.ones(2)),
            "2 probabilities .* 3 features",
        ),
        (lambda: recovery(gaussian(3, 4), gaussian(3, 4), probabilities=torch.zeros(3)), "not all 0"),
        (lambda: recovery_by_frequency(torch.ones(3), torch.ones(3), bins=0), "0 bins"),
    ],
)
def test_impossible_comparisons_are_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(BadInputError, match=words):
        call()
