from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.errors import BadInputError
from sanity.evals import max_cosines
from sanity.evals.detection import detection_f1, detection_f1s
from sanity.evals.feature_recovery import nearest_latents
from sanity.models import Autoencoder, TopK


class AlwaysOn:
    """Every latent is active in every sample."""

    def __init__(self, W_dec: torch.Tensor) -> None:
        self.W_dec = W_dec

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(x), len(self.W_dec))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.W_dec


class Knows(AlwaysOn):
    """Latents that fire exactly when told: row by row of `z`, in the order of the rows of x[:, 0]."""

    def __init__(self, W_dec: torch.Tensor, z: torch.Tensor) -> None:
        super().__init__(W_dec)
        self.z = z

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.z[x[:, 0].long()]


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def case(n: int = 300, n_features: int = 7, d: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples that carry their own number, features, and which are active."""
    x = torch.zeros(n, d)
    x[:, 0] = torch.arange(n)
    return x, gaussian(n_features, d), gaussian(n, n_features, seed=1) > 0.9


def test_it_is_scikit_learns_f1_of_the_nearest_latent() -> None:
    x, features, active = case()
    W_dec, z = gaussian(20, 12, seed=2), gaussian(300, 20, seed=3).clamp(min=0)
    found = detection_f1(Knows(W_dec, z), x, features=features, active=active)
    _, latents = nearest_latents(features, W_dec)
    theirs = [f1_score(active[:, i], z[:, j] > 0) for i, j in enumerate(latents.tolist())]
    assert found.value == pytest.approx(np.mean(theirs))
    assert found.n == 7


def test_the_ends_of_its_scale() -> None:
    x, features, active = case()
    truth = Knows(features, active.float())
    assert detection_f1(truth, x, features=features, active=active).normalised() == 1.0
    blind = detection_f1(AlwaysOn(features), x, features=features, active=active)
    assert blind.value == pytest.approx(blind.floor)
    silent = detection_f1(Knows(features, torch.zeros(300, 7)), x, features=features, active=active)
    assert silent.value == 0.0


def test_no_detector_that_ignores_the_sample_beats_the_floor() -> None:
    x, features, active = case(n=4000)
    generator = torch.Generator().manual_seed(4)
    for rate in (0.05, 0.2, 0.5, 0.9):
        z = (torch.rand(4000, 7, generator=generator) < rate).float()
        score = detection_f1(Knows(features, z), x, features=features, active=active)
        assert score.value < score.floor + 0.02


def test_small_parts_change_nothing_and_absent_features_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    x, features, active = case()
    active[:, 3] = False
    sae = Knows(gaussian(20, 12, seed=2), gaussian(300, 20, seed=3).clamp(min=0))
    whole = detection_f1(sae, x, features=features, active=active)
    assert whole.n == 6
    monkeypatch.setattr("sanity.evals.detection.CHUNK_ELEMENTS", 100)
    assert detection_f1(sae, x, features=features, active=active) == whole


def test_a_true_dictionary_detects_far_better_than_a_random_one() -> None:
    spec = SyntheticSpec(d_in=32, n_features=64, expected_l0=3.0)
    stream = SyntheticStream(SyntheticWorld.from_spec(spec), batch_size=2000, seed=0)
    features, sample = stream.world.features, stream.sample(0)
    x, active = stream.batch(0), sample.dense_coefficients() > 0

    def score(W_dec: torch.Tensor) -> float:
        sae = Autoencoder(W_dec.T, W_dec, torch.zeros(64), torch.zeros(32), TopK(k=3))
        return detection_f1(sae, x, features=features, active=active).normalised()

    random = torch.nn.functional.normalize(gaussian(64, 32, seed=9), dim=1)
    assert max_cosines(features, random).max() < 0.8
    assert score(features) > 0.6
    assert score(random) < 0.25


def test_bad_input_is_refused_in_words() -> None:
    x, features, active = case()
    sae = AlwaysOn(gaussian(20, 12, seed=2))
    with pytest.raises(BadInputError, match=r"`active` has shape \[300, 6\]"):
        detection_f1(sae, x, features=features, active=active[:, :6])
    with pytest.raises(BadInputError, match="no feature is active in any of the 300 samples"):
        detection_f1(sae, x, features=features, active=torch.zeros_like(active))
    with pytest.raises(BadInputError, match="x is 11 wide"):
        detection_f1(sae, x[:, :11], features=features, active=active)


def test_each_features_f1_is_given_and_absent_ones_are_not_numbers() -> None:
    x, features, active = case()
    active[:, 3] = False
    sae = Knows(gaussian(20, 12, seed=2), gaussian(300, 20, seed=3).clamp(min=0))
    each = detection_f1s(sae, x, features=features, active=active)
    assert each.isnan().nonzero().flatten().tolist() == [3]
    whole = detection_f1(sae, x, features=features, active=active)
    assert whole.value == pytest.approx(float(each.nanmean()))
