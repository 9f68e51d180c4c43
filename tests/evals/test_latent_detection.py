"""Detection by latents and absorption, on hand-made autoencoders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.feature_recovery import mean_matched_cosine, uniqueness
from sanity.evals.latent_detection import Absorption, absorption, latent_f1
from sanity.models import Autoencoder, ReLU


def tied(rows: Tensor) -> Autoencoder:
    return Autoencoder(
        W_enc=rows.T.contiguous(),
        W_dec=rows,
        b_enc=torch.full((len(rows),), -0.5),
        b_dec=torch.zeros(rows.shape[1]),
        architecture=ReLU(target_l0=1),
    )


def test_a_latent_is_judged_by_the_feature_it_is_nearest_to() -> None:
    sae = tied(torch.eye(3))
    active = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]).bool()
    x = active.float().clone()
    x[0, 0] = 0.4  # one miss of feature 0
    x[3, 1] = 1.0  # one false alarm of feature 1
    score = latent_f1(sae, x, features=torch.eye(3), active=active)
    # Latent 0: 1 right, 1 missed. Latent 1: 2 right, 1 false. Latent 2: dead.
    assert score.value == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert score.floor == pytest.approx((2 * 2 / 6 + 2 * 2 / 6 + 0) / 3)
    assert (score.n, score.unit) == (3, "latent")


def test_the_sign_matters_unless_it_is_told_not_to() -> None:
    sae = tied(torch.tensor([[-1.0, 0.0], [0.0, 1.0]]))
    features, active = torch.eye(2), torch.tensor([[True, False]])
    x = torch.tensor([[-1.0, 0.0]])
    assert latent_f1(sae, x, features=features, active=active).value == 0
    assert latent_f1(sae, x, features=features, active=active, absolute=True).value == 0.5


def test_absorption_is_the_miss_that_goes_with_a_child() -> None:
    """Feature 0 is the parent of 1; the parent's latent is made to fall silent when the child is on."""
    rows = torch.eye(2)
    sae = tied(rows)
    sae.W_enc[1, 0] = -1.0
    active = torch.tensor([[1, 0], [1, 0], [1, 1], [1, 1], [0, 0]]).bool()
    x = active.float().clone()
    x[1, 0] = 0.1  # the parent is missed once for another reason
    found = absorption(sae, x, features=rows, active=active, parents=torch.tensor([-1, 0]))
    assert found == Absorption(missed_with_child=1.0, missed_alone=0.5, parents=1)
    assert found is not None
    assert found.score().value == 0.5
    intact = absorption(tied(rows), x, features=rows, active=active, parents=torch.tensor([-1, 0]))
    assert intact is not None
    assert intact.missed_with_child == 0


def test_absorption_needs_a_hierarchy_and_recovered_parents() -> None:
    active, x = torch.ones(2, 2).bool(), torch.ones(2, 2)
    with pytest.raises(BadInputError, match="without hierarchy"):
        absorption(
            tied(torch.eye(2)), x, features=torch.eye(2), active=active, parents=torch.tensor([-1, -1])
        )
    lost = tied(torch.tensor([[0.7, 0.714], [0.0, 1.0]]))
    assert absorption(lost, x, features=torch.eye(2), active=active, parents=torch.tensor([-1, 0])) is None


def test_bad_shapes_are_named() -> None:
    with pytest.raises(BadInputError, match="which of the 2 features"):
        latent_f1(tied(torch.eye(2)), torch.ones(3, 2), features=torch.eye(2), active=torch.ones(2, 2).bool())


@pytest.mark.slow
def test_sae_lens_scores_the_same_autoencoder_the_same() -> None:
    evals = pytest.importorskip("sae_lens.synthetic.evals")
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(30, 12, generator=generator), dim=1)
    mixed = features[torch.randint(30, (50,), generator=generator)]
    sign = 1 - 2 * (torch.rand(50, 1, generator=generator) < 0.2).float()
    rows = sign * mixed + 0.3 * torch.randn(50, 12, generator=generator)
    sae = tied(torch.nn.functional.normalize(rows, dim=1))
    coefficients = (torch.rand(4000, 30, generator=generator) < 0.1) * 1.5
    x = coefficients @ features
    theirs = evals.compute_classification_metrics(sae.encode(x), coefficients, sae.W_dec, features)
    ours = latent_f1(sae, x, features=features, active=coefficients > 0, absolute=True)
    assert ours.value == pytest.approx(theirs.f1_score, abs=1e-6)
    matched = mean_matched_cosine(features, sae.W_dec, absolute=True)
    assert matched.value == pytest.approx(evals.mean_correlation_coefficient(sae.W_dec, features), abs=1e-6)
    assert uniqueness(features, sae.W_dec, absolute=True).value == pytest.approx(
        evals.feature_uniqueness(sae.W_dec, features), abs=1e-9
    )
    assert ours.value != pytest.approx(
        latent_f1(sae, x, features=features, active=coefficients > 0).value, abs=1e-4
    )
