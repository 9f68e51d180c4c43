from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.errors import BadInputError
from sanity.evals import HeldOutEVProbe, RecoveryProbe, recovery
from sanity.evals.alignment import row_cosines
from sanity.evals.feature_recovery import mean_max_cosine
from sanity.evals.probes import CosineToInitProbe
from sanity.evals.reconstruction import reconstruction_scores
from sanity.models import Arm, Probe, Stream, TopK, train
from sanity.models.arm import AnchoredProbe, gaussian_matrix


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Tied(torch.nn.Module):
    """A ReLU SAE with its encoder tied, its weights parameters as in training."""

    def __init__(self) -> None:
        super().__init__()
        self.W_dec = torch.nn.Parameter(gaussian(12, 5, seed=1))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.W_dec.T / 5).relu()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.W_dec


def test_recovery_probe_gives_what_the_evals_give() -> None:
    features, sae = torch.cat([gaussian(12, 5, seed=1)[:4], gaussian(9, 5, seed=2)]), Tied()
    p = torch.linspace(0.01, 0.5, 13)
    values = RecoveryProbe(features, p, threshold=0.9)(sae, 7)
    assert values == {
        "recovery": recovery(features, sae.W_dec, threshold=0.9).value,
        "mean_max_cosine": mean_max_cosine(features, sae.W_dec).value,
        "frequency_weighted_recovery": recovery(features, sae.W_dec, threshold=0.9, probabilities=p).value,
    }
    assert list(RecoveryProbe(features)(sae, 0)) == ["recovery", "mean_max_cosine"]


def test_cosine_probe_gives_mean_and_quantiles() -> None:
    sae, W0 = Tied(), gaussian(12, 5, seed=3)
    values = CosineToInitProbe(W0)(sae, 0)
    assert values["mean"] == pytest.approx(float(row_cosines(sae.W_dec, W0).mean()))
    assert values["q05"] < values["q50"] < values["q95"]
    assert CosineToInitProbe(sae.W_dec.detach())(sae, 0)["q05"] == pytest.approx(1.0)


def test_held_out_probe_gives_what_the_evals_give() -> None:
    sae, x = Tied(), gaussian(40, 5)
    values = HeldOutEVProbe(x)(sae, 0)
    assert values == {name: score.value for name, score in reconstruction_scores(sae, [x]).items()}


def test_probes_leave_gradients_and_weights_alone() -> None:
    sae = Tied()
    before = sae.W_dec.detach().clone()
    for probe in (
        RecoveryProbe(gaussian(3, 5)),
        CosineToInitProbe(gaussian(12, 5)),
        HeldOutEVProbe(gaussian(9, 5)),
    ):
        assert all(math.isfinite(value) for value in probe(sae, 0).values())
    assert sae.W_dec.grad is None
    assert sae.W_dec.requires_grad
    assert torch.equal(sae.W_dec.detach(), before)
    assert [p.name for p in (RecoveryProbe(gaussian(3, 5)), HeldOutEVProbe(gaussian(9, 5)))] == [
        "recovery",
        "held_out",
    ]


def test_probes_fill_the_curve_of_a_run_on_a_synthetic_stream() -> None:
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=16, n_features=32, expected_l0=3.0))
    stream = SyntheticStream(world, batch_size=128, seed=0)
    held_out = SyntheticStream(world, batch_size=256, seed=1).batch(0)
    probes = [
        RecoveryProbe(world.features, world.probabilities),
        CosineToInitProbe(functional.normalize(gaussian_matrix(0, 32, 16), dim=1)),
        HeldOutEVProbe(held_out),
    ]
    assert isinstance(stream, Stream)
    assert all(isinstance(probe, Probe) for probe in probes)
    (run,) = train([Arm(TopK(k=3), 32, learning_rate=3e-3)], stream, steps=200, probes=probes)
    begun, ended = run.curve.iloc[0], run.curve.iloc[-1]
    assert begun["cosine_to_init.mean"] > 0.99 > ended["cosine_to_init.mean"]
    assert ended["held_out.explained_variance"] > begun["held_out.explained_variance"] + 0.1
    assert ended["held_out.l0"] == pytest.approx(3.0, abs=0.1)
    assert ended["recovery.mean_max_cosine"] > begun["recovery.mean_max_cosine"] + 0.05
    assert ended["recovery.recovery"] == recovery(world.features, run.sae.W_dec).value


def test_probes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match="W0"):
        CosineToInitProbe(gaussian(11, 5))(Tied(), 0)
    with pytest.raises(BadInputError, match="5 wide and the features 6"):
        RecoveryProbe(gaussian(11, 6))(Tied(), 0)
    with pytest.raises(BadInputError, match="held-out batch of shape"):
        HeldOutEVProbe(gaussian(3, 5) * math.inf)
    with pytest.raises(BadInputError, match="1 samples"):
        HeldOutEVProbe(gaussian(1, 5))


def test_a_cosine_probe_without_a_start_is_told_by_each_run() -> None:
    probe = CosineToInitProbe()
    assert isinstance(probe, AnchoredProbe)
    assert not isinstance(RecoveryProbe(gaussian(3, 5)), AnchoredProbe)
    with pytest.raises(BadInputError, match="knows no start"):
        probe(Tied(), 0)
    given = CosineToInitProbe(gaussian(12, 5))
    assert given.anchored(gaussian(12, 5, seed=4)) is given
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=16, n_features=32, expected_l0=3.0))
    stream = SyntheticStream(world, batch_size=64, seed=0)
    arms = [Arm(TopK(k=3), 32, seed=seed, learning_rate=3e-3) for seed in (0, 1)]
    for run in train(arms, stream, steps=20, probes=[probe]):
        start = functional.normalize(gaussian_matrix(run.arm.seed, 32, 16), dim=1)
        course = run.curve["cosine_to_init.mean"].dropna()
        assert course.iloc[0] == pytest.approx(1.0)
        assert course.iloc[-1] == pytest.approx(float(row_cosines(run.sae.W_dec, start).mean()))
