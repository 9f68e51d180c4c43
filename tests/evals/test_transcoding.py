"""Evals of transcoders on a circuit whose truth is known, each against an independent way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sanity.data import CircuitSpec, CircuitStream, SyntheticSpec, circuit_of
from sanity.errors import BadInputError
from sanity.evals import BeyondAffine, Grades, TrueMap, map_scores, true_transcoder
from sanity.evals.beyond_affine import affine_map
from sanity.evals.true_map import corrupted_map
from sanity.models import PairedStream
from sanity.sources import SyntheticCircuit, World
from sanity.testing import check_eval

SPEC = CircuitSpec(SyntheticSpec(d_in=24, n_features=32, expected_l0=2.0), d_out=20)
SMALL = SyntheticCircuit(SPEC, held_out=512)
GRADES = Grades(levels=(0.0, 0.5, 1.0), seeds=(0, 1, 2), size=512)


@pytest.fixture(scope="module")
def stream() -> CircuitStream:
    return CircuitStream(circuit_of(SPEC), batch_size=512, seed=4)


def test_targets_are_the_map_of_the_inputs(stream: CircuitStream) -> None:
    """Feature by feature, in plain loops."""
    assert isinstance(stream, PairedStream)
    circuit = stream.circuit
    drawn = stream._inputs.sample(3)
    c = drawn.dense_coefficients()
    raw = torch.zeros(512, SPEC.d_out)
    for j, read in enumerate(circuit.parents.tolist()):
        active = (sum(c[:, i] for i in read) - SPEC.threshold).clamp_min(0)
        raw += active[:, None] * circuit.out_features[j]
    expected = (raw - stream.target_centre) * stream.target_factor
    torch.testing.assert_close(stream.targets(3), expected, rtol=1e-4, atol=1e-5)
    assert sorted(circuit.parents.flatten().tolist()) == list(range(32)), "each input feature is read once"
    many = torch.cat([stream.targets(step) for step in range(60)])
    assert float(many.square().sum(1).mean()) == pytest.approx(SPEC.d_out, rel=0.03)
    torch.testing.assert_close(torch.cov(many.T), stream.target_covariance(), atol=0.15, rtol=0.1)


def test_a_circuit_that_never_fires_or_fits_is_refused() -> None:
    with pytest.raises(BadInputError, match="zero variance"):
        CircuitStream(circuit_of(CircuitSpec(SPEC.world, 20, threshold=1e6)), batch_size=8, seed=0)
    with pytest.raises(BadInputError, match="multiple"):
        CircuitSpec(SPEC.world, 20, reads=5)
    with pytest.raises(BadInputError, match="no targets"):
        check_eval(BeyondAffine(), World())


def test_the_affine_map_is_that_of_least_squares(stream: CircuitStream) -> None:
    found = affine_map(stream, 4 * 512)
    x, t = (torch.cat([read(step) for step in range(4)]).numpy() for read in (stream.batch, stream.targets))
    wanted = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), t, rcond=None)[0]
    np.testing.assert_allclose(found["weights"], wanted[:-1], atol=1e-3)
    np.testing.assert_allclose(found["bias"], wanted[-1], atol=1e-3)


def test_the_true_map_is_recovered_and_its_corruptions_are_not(stream: CircuitStream) -> None:
    x, computed = stream.sample(7)
    true = true_transcoder(stream.circuit, 2)

    def scores(sae: object) -> dict[str, float]:
        return {s.metric: s.value for s in map_scores(sae, stream.circuit, x, computed > 0)}  # type: ignore[arg-type]

    whole = scores(true)
    assert whole["features_written"] == whole["maps_recovered"] == 1
    z = true.encode(x)
    f1 = []
    for j in range(SPEC.n_out):
        fires, active = z[:, j] > 0, computed[:, j] > 0
        if active.any():
            both = float((fires & active).sum())
            precision, recall = both / max(1, int(fires.sum())), both / int(active.sum())
            f1.append(0.0 if both == 0 else 2 / (1 / precision + 1 / recall))
    assert whole["firing_f1"] == pytest.approx(np.mean(f1), abs=1e-6)
    crossed = scores(corrupted_map(true, "re-paired", 1.0, seed=0))
    assert crossed["features_written"] == 1
    assert crossed["maps_recovered"] == 0
    assert crossed["firing_f1"] < 0.5 * whole["firing_f1"]
    noise = scores(corrupted_map(true, "mixed", 1.0, seed=0))
    assert noise["features_written"] < 0.1


@pytest.mark.parametrize("one", [BeyondAffine(samples=4096, grades=GRADES), TrueMap(GRADES)])
def test_they_keep_the_contract(one: BeyondAffine | TrueMap) -> None:
    found = check_eval(one, SMALL, d_sae=16, l0=2)
    assert set(found["metric"]) == set(one.metrics)
