"""How batches of a synthetic circuit are drawn: on a card without a read, on a processor as ever."""

from __future__ import annotations

import pytest
import torch

from sanity.data.circuit import Circuit, CircuitSpec, CircuitStream
from sanity.data.synthetic import SyntheticSpec, SyntheticStream
from sanity.data.worlds import world_of
from sanity.testing.host_reads import HostReads, no_host_reads

SPEC = CircuitSpec(SyntheticSpec(d_in=6, n_features=12, expected_l0=4.0), d_out=5)


def stream_of(*, in_places: bool) -> CircuitStream:
    world = world_of(SPEC.world)
    world.in_places = in_places
    return CircuitStream(Circuit(SPEC, world), batch_size=50, seed=0)


def test_a_card_draws_a_circuit_without_a_read() -> None:
    """Forced on a processor: inputs and targets are those of the coefficients that were drawn."""
    ordinary, stream = stream_of(in_places=False), stream_of(in_places=True)
    with HostReads() as seen:
        ordinary.batch(3)
    assert seen.names
    with no_host_reads():
        x, targets = stream.batch(3), stream.targets(3)
    raw = SyntheticStream(stream.circuit.world, batch_size=50, seed=0).sample(3)
    c = raw.coefficients
    coefficients = torch.zeros(50, 12).index_put_((c.rows, c.features), c.values)
    assert (coefficients > 0).sum() > 100
    torch.testing.assert_close(raw.x, coefficients @ stream.circuit.world.features)
    assert torch.equal(raw.dense_coefficients(), coefficients)
    computed = stream.circuit.computed(coefficients) @ stream.circuit.out_features
    assert torch.equal(targets, (computed - stream.target_centre) * stream.target_factor)
    assert torch.equal(x, ordinary._inputs.factor * (raw.x - ordinary._inputs.centre))


def test_a_processor_draws_what_it_always_drew() -> None:
    """Results are kept under keys that say nothing of how they were drawn."""
    stream = stream_of(in_places=False)
    x, targets = stream.batch(7), stream.targets(7)
    assert x[0, :3].tolist() == pytest.approx([0.7281349, -1.7531751, -0.1254252], abs=1e-5)
    assert targets.double().sum(0)[-2:].tolist() == pytest.approx([6.056512, 4.945806], abs=1e-3)
