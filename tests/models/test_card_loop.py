"""What a card needs of a step, on a processor: no read by the host, few operations, nothing that moves."""

from __future__ import annotations

import builtins
import dataclasses
import logging
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from card_arms import ALL_AT_ONCE, FAST, apart, arms_of, stack_of
from card_graph import changed, recorded, tensors_of
from test_transcoders import SmallPairs

from sanity.baselines import SoftFrozenBlocks, SoftFrozenDecoder, Untrained
from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.data.circuit import Circuit, CircuitSpec, CircuitStream
from sanity.errors import BadInputError
from sanity.models import Architecture, Arm, Plain, TopK, Training, train
from sanity.models.card import plain
from sanity.models.card.capture import WARM_UP, RepeatedWork, cuda_graph
from sanity.models.card.stack import Stack, operations
from sanity.models.card.step import step as step_of
from sanity.models.loop import Loop
from sanity.models.objectives import AffineSkip, EvenEncoder, Incoherence
from sanity.testing.host_reads import HostReads, no_host_reads

MOST = {"topk": 460, "batchtopk": 530, "matryoshka": 585, "jumprelu": 580, "relu": 545}
"""Operations of a step with everything on, views included; a card launches some half of them."""


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("training", [FAST, ALL_AT_ONCE], ids=["plain", "auxiliary, clip, decay"])
def test_a_step_reads_nothing_back(
    architecture: Architecture, stream: Any, training: Training, precision: str
) -> None:
    stack = stack_of(arms_of(architecture), stream, training, precision)
    batches = [stream.batch(step) for step in range(3)]
    with torch.no_grad(), no_host_reads() as seen:
        for x in batches:
            stack.learn(x)
    assert 100 < seen.operations / 3 <= MOST[architecture.name] - 120 * (training is FAST)
    assert [one.step for one in stack.learners] == [3] * 6


def test_a_step_that_reads_is_noticed(stream: Any) -> None:
    """The check above sees what the ordinary step does."""
    (learner,) = stack_of([Arm(TopK(3), 24)], stream).learners
    with torch.no_grad(), pytest.raises(AssertionError, match="_local_scalar_dense"), no_host_reads():
        learner.learn(stream.batch(0))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_needs_nothing_of_the_host(architecture: Architecture, stream: Any, precision: str) -> None:
    """On tensors without numbers, which stand for a card's: any that is made elsewhere is noticed."""
    stack = stack_of(arms_of(architecture), stream, ALL_AT_ONCE, precision)
    state = changed(stack.state, lambda tensor: tensor.to("meta"))
    with torch.no_grad(), no_host_reads():
        step_of(state)


def as_a_card_draws(paired: bool) -> Any:
    """Batches of a synthetic world, or of a circuit of its features."""
    spec = SyntheticSpec(d_in=8, n_features=40, expected_l0=4.0)
    world = SyntheticWorld.from_spec(spec)
    world.in_places = True
    if paired:
        return CircuitStream(Circuit(CircuitSpec(spec, d_out=6), world), batch_size=32, seed=0)
    return SyntheticStream(world, batch_size=32, seed=0)


@pytest.mark.parametrize("paired", [False, True], ids=["SAEs", "transcoders"])
def test_between_recorded_steps_the_loop_reads_nothing(architecture: Architecture, paired: bool) -> None:
    """Six steps more wait for no more numbers, draws and passive arms included."""
    arms = [*arms_of(architecture)[::3], Arm(architecture, 24, Untrained(), seed=9)]
    stream, reads = as_a_card_draws(paired), []
    for last in (6, 8, 14):
        loop = Loop(stream, last, ALL_AT_ONCE, card=True)
        loop.recorded = {0, 4, last}
        # A processor looks at every batch for numbers that are not finite, a card at recorded steps only.
        unlooked = mock.patch("sanity.models.loop._checked", lambda stream, step, x, width, looks: x)
        at: list[int] = []
        told = mock.patch.object(Stack, "read", autospec=True, side_effect=noting(at))
        with torch.no_grad(), unlooked, told, HostReads() as seen:
            loop.run(arms)
        assert at == [0, 1, 4, 5, last], "before and after the recorded steps, and at the end"
        reads.append(seen.names)
    assert reads[1] == reads[2], "once the first has filled what a process keeps"
    assert len(reads[1]) > 5, "at recorded steps it does read"


def noting(steps: list[int]) -> Any:
    """`Stack.read`, which notes when it was called."""
    read = Stack.read

    def noted(stack: Stack) -> Any:
        steps.append(stack.learners[0].step)
        return read(stack)

    return noted


def test_objectives_that_only_launch_are_part_of_the_step(architecture: Architecture, stream: Any) -> None:
    """Next to arms without any, and to those whose decoder or encoder has no say in it."""
    stream.dtype, arms = torch.float64, arms_of(architecture)[:6]
    asked = (EvenEncoder(), Plain(), Incoherence(0.3), EvenEncoder(), Incoherence(0.1), Plain())
    arms = [dataclasses.replace(arm, objective=one) for arm, one in zip(arms, asked, strict=True)]
    alone = train(arms, stream, steps=12, training=ALL_AT_ONCE)
    together = train(arms, stream, steps=12, training=ALL_AT_ONCE, card=True)
    assert [len(run.stacked_with) for run in together] == [5] * 6
    assert 0 < apart(together, alone) < 1e-12
    stack, x = stack_of(arms, stream, ALL_AT_ONCE), stream.batch(0)
    with torch.no_grad(), no_host_reads():
        stack.learn(x)


def test_cones_of_single_layers_are_part_of_the_step(architecture: Architecture, stream: Any) -> None:
    """A crosscoder's; a row that they do not divide is told by the ordinary step, as ever."""
    stream.dtype = torch.float64
    cones = [SoftFrozenBlocks(cosine, blocks=n) for cosine, n in ((0.98, 2), (0.96, 2), (0.98, 4))]
    arms = [Arm(architecture, 24, cone, learning_rate=1e-2) for cone in (*cones, SoftFrozenDecoder(0.98))]
    alone = train(arms, stream, steps=12, training=ALL_AT_ONCE)
    together = train(arms, stream, steps=12, training=ALL_AT_ONCE, card=True)
    assert [len(run.stacked_with) for run in together] == [1, 1, 0, 0]
    assert 0 < apart(together, alone) < 1e-12
    for run, blocks in zip(together[:3], (2, 2, 4), strict=True):
        rows, starts = (one.view(24, blocks, -1) for one in (run.sae.W_dec, run.initial_directions))
        cosines = torch.cosine_similarity(rows, starts, dim=2)
        assert float(cosines.min()) == pytest.approx(run.arm.constraint.cone, abs=1e-9)
    with pytest.raises(BadInputError, match="3 layers of equal width"):
        train([Arm(architecture, 24, SoftFrozenBlocks(blocks=3))], stream, steps=2, card=True)


def test_a_step_that_cannot_be_captured_is_called(caplog: Any) -> None:
    done: list[str] = []

    def refuses(work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    for capture, replayed in ((refuses, False), (lambda work: lambda: done.append("replay"), True)):
        done.clear()
        repeat = RepeatedWork(lambda: done.append("call"), capture, "the step of an arm")
        with caplog.at_level(logging.WARNING):
            for _ in range(WARM_UP + 2):
                repeat()
        assert done == ["call"] * WARM_UP + ["replay" if replayed else "call"] * 2
    assert len(caplog.records) == 1
    assert "is not captured as a CUDA graph" in caplog.text


class Refused:
    """A capture that does not end, on a stream of its own, as PyTorch leaves it."""

    streams: ClassVar[list[str]] = []

    def __init__(self, graph: Any, pool: Any) -> None:
        self.graph = graph

    def __enter__(self) -> None:
        self.streams.append("the capture's")

    def __exit__(self, *raised: Any) -> None:
        raise RuntimeError("operation failed due to a previous error during capture")


def test_a_capture_that_fails_leaves_the_stream_and_no_graph(monkeypatch: Any, caplog: Any) -> None:
    made: list[mock.Mock] = []
    Refused.streams[:] = ["the usual one"]
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made.append(mock.Mock()) or made[-1])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Refused.streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", Refused.streams.append)
    monkeypatch.setattr(torch.cuda, "graph", Refused)
    monkeypatch.setattr("sanity.models.card.capture._pool", lambda: None)
    used: list[str] = []
    repeat = RepeatedWork(lambda: used.append(Refused.streams[-1]), cuda_graph, "the step of an arm")
    for _ in range(WARM_UP + 2):
        repeat()
    before, after = ["the usual one"] * WARM_UP, ["the usual one"] * 2
    assert used == [*before, "the capture's", *after]
    made[0].reset.assert_called_once()
    assert "is not captured as a CUDA graph" in caplog.text


@pytest.mark.parametrize("training", [FAST, ALL_AT_ONCE], ids=["plain", "auxiliary, clip, decay"])
@pytest.mark.parametrize("paired", [False, True], ids=["an SAE", "a transcoder"])
def test_a_replayed_step_is_the_step(
    architecture: Architecture, stream: Any, training: Training, paired: bool
) -> None:
    """The recorded operations of one step, done again on the batches after it; nothing moves meanwhile."""
    stream, arms = SmallPairs() if paired else stream, arms_of(architecture)
    asked = [AffineSkip()] if paired else [EvenEncoder(), Incoherence(0.3), Plain()]
    arms = [dataclasses.replace(arm, objective=asked[at % len(asked)]) for at, arm in enumerate(arms)]
    eager, replayed = (stack_of(arms, stream, training) for _ in range(2))
    replayed._repeat = RepeatedWork(replayed._repeat._work, recorded(replayed.state), "the step of a test")
    places = [tensor.data_ptr() for tensor in tensors_of(replayed.state)]
    views = [one.weights.W_dec.data_ptr() for one in replayed.learners]
    with torch.no_grad():
        for step in range(WARM_UP + 5):
            given = (stream.batch(step), stream.targets(step)) if paired else (stream.batch(step),)
            for stack in (eager, replayed):
                stack.learn(*given)
    assert places == [tensor.data_ptr() for tensor in tensors_of(replayed.state)]
    assert views == [one.weights.W_dec.data_ptr() for one in replayed.learners]
    assert len(places) > 30
    for ours, theirs in zip(tensors_of(replayed.state), tensors_of(eager.state), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("error", [ImportError, OSError, AttributeError, RuntimeError])
def test_without_kernels_plain_operations_stand_in(error: type[Exception], caplog: Any) -> None:
    """A Triton that does not load says so in many ways; training goes on."""

    def fails(name: str, *rest: Any) -> Any:
        if "fused" in (rest[2] if len(rest) > 2 and rest[2] else ()):
            raise error("libtriton: undefined symbol")
        return usual(name, *rest)

    usual = builtins.__import__
    with mock.patch("builtins.__import__", fails):
        assert operations.__wrapped__(torch.device("cuda"), 8) is plain
    assert "undefined symbol): plain PyTorch stands in, and is slower" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card")
def test_a_card_replays_what_a_processor_computes(
    architecture: Architecture, stream: Any, caplog: Any
) -> None:
    arms = arms_of(architecture)
    here = train(arms, stream, steps=12, training=FAST, card=False)
    stream.device = "cuda"
    with caplog.at_level(logging.WARNING):
        there = train(arms, stream, steps=12, training=FAST)
    assert not caplog.records, "every kernel works, and the step is captured"
    for run in there:
        run.sae = run.sae.to(device="cpu")
    assert apart(there, here) < 1e-3
