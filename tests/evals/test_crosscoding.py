"""Worlds and sources of several layers, and what is read of a crosscoder: against plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sanity.baselines import FrozenDecoder, SoftFrozenBlocks
from sanity.data import LayeredSpec, SyntheticStream, world_of
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import Crosscoding, Grades, max_cosines
from sanity.evals.corrupted_truth import corrupted_truth
from sanity.evals.crosscoding import (
    crosscoding_scores,
    from_layer,
    layer_agreement,
    layer_cosines,
    relative_norms,
)
from sanity.experiments.planner import plan_runs
from sanity.experiments.reading import Reader
from sanity.models import Arm, Autoencoder, TopK, train
from sanity.sources import Budget, OneLayer, RunSpec, ShuffledLayers, Source, World
from sanity.stats import gates
from sanity.testing import check_eval, check_source
from sanity.testing.contract import SMALL_WORLD

SPEC = LayeredSpec(d_in=32, n_features=64, expected_l0=2.0)
WORLD = World(SPEC, held_out=2048)
BLOCKS = SPEC.blocks


def opened(source: Source, seed: int = 0) -> torch.Tensor:
    return source.open({}, batch_size=256, seed=seed, device="cpu").sample


def truth(level: float = 0.0, seed: int = 0) -> Autoencoder:
    return corrupted_truth(world_of(SPEC), "replaced", level, seed=seed, k=2, x=opened(WORLD))


@pytest.mark.parametrize("alike", [False, True])
def test_shared_features_are_in_every_layer_and_exclusive_ones_in_one(alike: bool) -> None:
    spec = replace(SPEC, layers=4, exclusive=0.25, alike=alike)
    features, layer_of = world_of(spec).features, spec.layer_of
    assert torch.allclose(features.norm(dim=1), torch.ones(64))
    shares = relative_norms(features, spec.blocks)
    assert torch.allclose(shares[layer_of < 0], torch.full((48, 4), 0.25, dtype=torch.float64), atol=1e-6)
    own = shares[torch.arange(48, 64), layer_of[48:]]
    assert torch.equal(own, torch.ones(16, dtype=torch.float64))
    assert layer_of[48:].bincount().tolist() == [4] * 4
    cosines = layer_cosines(features[layer_of < 0], spec.blocks)
    assert bool((cosines > 0.999).all()) == alike


def test_moments_are_exact_and_layers_have_equal_shares() -> None:
    stream = SyntheticStream(world_of(SPEC), batch_size=60_000, seed=0)
    x = stream.batch(0)
    assert torch.allclose(x.T @ x / len(x), stream.covariance(), atol=0.06)
    by_layer = stream.covariance().diagonal().view(2, -1).sum(1)
    assert torch.allclose(by_layer, torch.tensor([16.0, 16.0]), rtol=1e-4)


@pytest.mark.parametrize(
    "source", [WORLD, ShuffledLayers(WORLD), OneLayer(WORLD, 1), OneLayer(ShuffledLayers(WORLD), 0)]
)
def test_sources_of_layers_keep_the_contract(source: Source) -> None:
    check_source(source)


def test_shuffled_layers_keep_each_layer_and_break_every_tie() -> None:
    before, after = opened(WORLD), opened(ShuffledLayers(WORLD))
    assert torch.equal(before[:, :16], after[:, :16])
    assert torch.equal(before[:, 16:].sort(0).values, after[:, 16:].sort(0).values)
    ties = [(x[:, :16].T @ x[:, 16:] / len(x)).norm() for x in (before, after)]
    assert ties[1] < 0.3 * ties[0]
    stream = ShuffledLayers(WORLD).open({}, batch_size=256, seed=0, device="cpu").stream
    assert float(stream.covariance()[:16, 16:].abs().max()) < 0.05


def test_one_encoder_on_all_layers_is_the_sum_of_an_encoder_per_layer() -> None:
    sae, x = truth(), opened(WORLD)[:50]
    u = sum(
        (part - b) @ W
        for part, b, W in zip(x.split(16, 1), sae.b_dec.split(16), sae.W_enc.split(16, 0), strict=True)
    )
    kept = torch.zeros_like(u).scatter(1, u.topk(2, 1).indices, u.topk(2, 1).values.clamp_min(0))
    assert torch.allclose(sae.encode(x), kept, atol=1e-5)
    halves = [sae.encode(x) @ W + b for W, b in zip(sae.W_dec.split(16, 1), sae.b_dec.split(16), strict=True)]
    assert torch.allclose(sae.decode(sae.encode(x)), torch.cat(halves, 1), atol=1e-5)


def test_agreement_is_the_correlation_of_what_each_layer_says_alone() -> None:
    sae, x = truth(0.3), opened(WORLD)
    z = [from_layer(sae, x, BLOCKS, layer).numpy() for layer in (0, 1)]
    found = layer_agreement(sae, x.split(300), BLOCKS)
    for latent in (0, 10, 40, 63):
        with np.errstate(all="ignore"):
            wanted = np.nan_to_num(np.corrcoef(z[0][:, latent], z[1][:, latent])[0, 1])
        assert float(found[latent]) == pytest.approx(wanted, abs=1e-9)


def test_the_truth_agrees_where_features_are_shared_and_nowhere_without_a_shared_cause() -> None:
    shared = SPEC.layer_of < 0
    agreement = layer_agreement(truth(), [opened(WORLD)], BLOCKS)
    assert float(agreement[shared].mean()) > 0.4
    assert float(agreement[~shared].mean()) < 0.1
    shuffled = layer_agreement(truth(), [opened(ShuffledLayers(WORLD))], BLOCKS)
    assert abs(float(shuffled.mean())) < 0.02


def test_norms_call_a_random_dictionary_shared_and_their_gate_says_so(tmp_path: Path) -> None:
    """The finding that the eval rests on: balance rises as the truth is corrupted, agreement falls."""
    one = Crosscoding(grades=Grades(size=512))
    check_eval(one, WORLD, d_sae=64)
    run = RunSpec(Arm(TopK(2), 64), WORLD, Budget(steps=1, batch_size=128))
    reader = Reader(plan_runs([run], {"crosscoding": one}), LocalStore(tmp_path))
    found = gates(reader.graded(), higher_is_better=dict.fromkeys(one.metrics, True))
    passed = {name: gate.passed for name, gate in found.items()}
    assert passed.pop("balanced_latents") is False
    assert passed == dict.fromkeys(("exclusive_latents", "layer_agreement", "least_layer_ev"), True)
    # Agreement is graded where all features are shared: half of this world's latents cannot have any.
    rows = reader.graded()
    intact = rows[(rows["metric"] == "layer_agreement") & (rows["level"] == 0)]["value"].mean()
    here = float(layer_agreement(truth(), [opened(WORLD)], BLOCKS).mean())
    assert 1.6 * here < intact < 2.4 * here


def test_a_layer_whose_decoders_belong_to_other_latents_explains_nothing() -> None:
    x = opened(WORLD)
    _, tables = crosscoding_scores(truth(), lambda: [x], BLOCKS)
    assert (tables["layers"]["explained_variance"] > 0.5).all()
    assert (tables["layers"]["permuted"] < 0.1).all()


def test_cones_hold_in_every_layer_by_itself() -> None:
    stream = WORLD.open({}, batch_size=256, seed=0, device="cpu").stream
    arms = [
        Arm(TopK(2), 64, constraint, learning_rate=0.05)
        for constraint in (SoftFrozenBlocks(), FrozenDecoder())
    ]
    soft, frozen = (run.sae.W_dec for run in train(arms, stream, steps=200))
    for a, b in zip(soft.split(16, 1), frozen.split(16, 1), strict=True):
        cosines = torch.cosine_similarity(a, b, dim=1)
        assert 0.8 - 1e-5 < float(cosines.min()) < 0.81
    assert float((relative_norms(soft, BLOCKS) - relative_norms(frozen, BLOCKS)).abs().max()) > 0.05


def test_a_trained_crosscoder_tells_shared_from_exclusive_features() -> None:
    stream = WORLD.open({}, batch_size=256, seed=0, device="cpu").stream
    (run,) = train([Arm(TopK(2), 64, learning_rate=0.01)], stream, steps=800)
    found = max_cosines(world_of(SPEC).features, run.sae.W_dec) > 0.8
    assert float(found.double().mean()) > 0.5
    shares = relative_norms(run.sae.W_dec, BLOCKS).amax(1)
    nearest = (world_of(SPEC).features @ run.sae.W_dec.T).argmax(1)
    own = SPEC.layer_of >= 0
    assert float(shares[nearest[found & own]].mean()) > float(shares[nearest[found & ~own]].mean()) + 0.2


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(BadInputError, match="divide evenly"):
        LayeredSpec(d_in=31)
    with pytest.raises(BadInputError, match="share lies"):
        replace(SPEC, exclusive=1.5)
    for made in (ShuffledLayers, OneLayer):
        with pytest.raises(BadInputError, match="has one layer"):
            made(SMALL_WORLD)
    with pytest.raises(BadInputError, match="no layer 2"):
        OneLayer(WORLD, 2)
    with pytest.raises(BadInputError, match="sum to it"):
        relative_norms(torch.ones(3, 8), (4, 3))
    with pytest.raises(BadInputError, match="by cosine"):
        layer_cosines(torch.ones(3, 8), (5, 3))
    with pytest.raises(BadInputError, match="equal width"):
        SoftFrozenBlocks(blocks=3).project(torch.eye(4), torch.eye(4))
    assert "one layer" in Crosscoding().why_not(SMALL_WORLD)
