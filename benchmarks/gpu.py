"""What a training step costs on a graphics card: ours, a plain dense one, and sparsify's kernels.

    make bench-gpu              # under four minutes on an H100; writes gpu.json and GPU.md next to this
    python -m benchmarks.gpu    # the same by any Python that has torch and this package's dependencies

Every implementation does the same work per step, on the same batches: encoder and decoder with both biases,
the squared error, gradients of all parameters, the decoder's gradient without its part along the rows, Adam,
unit norm. *Dense torch* is a plain autograd step with torch's fused AdamW, *sparsify* its encoder and decoder
within the same step (from the environment of `make bench`, where there is one). *Product alone* is what the
encoder multiplies, and nothing else. Steps are counted with the profiler: launches, reads by the host and
synchronisations. What the time does not suffice for is left out, and said to be.

Without a card it says so, and checks what can be checked: that stacked steps give the numbers of single ones,
that they read nothing back, and that the kernels give what plain PyTorch gives (where Triton is installed).
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_parity import parity
from benchmarks.gpu_peers import (
    KINDS,
    Given,
    Step,
    dense_torch,
    find_sparsify,
    floor_ms,
    product,
    rates,
    sparsify,
    with_products,
)
from benchmarks.gpu_report import page
from benchmarks.inputs import REAL, TOY, Shape
from sanity.baselines import FrozenDecoder, FrozenEncoder, SoftFrozenDecoder, Trained
from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.files import write_atomically
from sanity.engine.machine import provenance
from sanity.models import Architecture, Arm, BatchTopK, JumpReLU, Learner, TopK, Training, calibrated_start
from sanity.models.card.stack import Stack, operations

HERE = Path(__file__).parent
SMALL = Shape(d=576, m=18432, batch=4096, k=32)
LARGE = Shape(d=2304, m=73728, batch=4096, k=160)
SHAPES = (LARGE, SMALL, REAL, TOY)
"""The first are measured first; many arms at the last, before all."""
BUDGET_S = 195.0
"""After so many seconds no further row is begun: the checks and the row in work end within four minutes."""
BURN_IN, ROUNDS = 40, 5
MANY = 24


def stream_of(shape: Shape, device: str) -> SyntheticStream:
    """Batches of a sparse world, drawn where they are used, as a card draws them."""
    spec = SyntheticSpec(d_in=shape.d, n_features=min(160 * shape.k, 12_800), probabilities="variable")
    if shape.d == TOY.d:
        spec = SyntheticSpec(d_in=100, n_features=3200, expected_l0=20.0)
    world = SyntheticWorld.from_spec(spec, device=device)
    world.in_places = True
    return SyntheticStream(world, batch_size=shape.batch, seed=0)


def batches(shape: Shape, device: str) -> Given:
    """Four batches, drawn before the clock runs."""
    drawn = [stream_of(shape, device).batch(step) for step in range(4)]
    return lambda at: drawn[at % len(drawn)]


def learner(arm: Arm, x: Tensor, precision: Any) -> Learner:
    """An arm before its first step; its directions are drawn where the batch is."""
    draw = torch.Generator(x.device).manual_seed(arm.seed)
    drawn = torch.randn(arm.d_sae, x.shape[1], generator=draw, device=x.device)
    start = calibrated_start(arm, functional.normalize(drawn, dim=1), x)
    return Learner(arm, start, steps=100_000, training=Training(), precision=precision)


def ours(arms: Sequence[Arm], given: Given, precision: str = "float32") -> Step:
    """A step of a stack."""
    x = given(0)
    learners = [learner(arm, x, precision) for arm in arms]
    stack = Stack(learners, len(x), operations(x.device, x.shape[1]))

    def step(at: int) -> None:
        stack.learn(given(at))
        if at == BURN_IN - 1:  # the only read: it raises where a loss is not finite
            stack.read()

    return step


def ordinary(arm: Arm, given: Given) -> Step:
    """A step of the learner that processors use."""
    one = learner(arm, given(0), "float32")
    return lambda at: one.learn(given(at)) and None


def measured(
    make: Callable[[], Step], name: str, shape: Shape, until: float, *, arms: int = 1
) -> dict[str, Any]:
    """Milliseconds per step by the card's own clock, launches and reads, and the peak of memory.

    After the moment `until` nothing is measured any more, and the row says so.
    """
    if time.monotonic() > until:
        row = {"name": name, **asdict(shape), "arms": arms, "failed": "left out: the time was up"}
        print(json.dumps(row), flush=True)
        return row
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    row = {"name": name, **asdict(shape), "arms": arms}
    try:
        step = make()
        for at in range(BURN_IN if name.startswith("ours") else 3):
            step(at)
        row |= {"ms": _milliseconds(step), **_counted(step)}
    except (torch.cuda.OutOfMemoryError, ImportError, RuntimeError) as error:
        row["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    print(json.dumps(row), flush=True)
    return row


def _milliseconds(step: Step) -> float:
    """The median over rounds; a round is as many steps as take a tenth of a second, three at least."""
    began = time.perf_counter()
    step(BURN_IN)
    torch.cuda.synchronize()
    many = max(3, min(100, int(0.1 / (time.perf_counter() - began))))
    rounds = []
    for _ in range(ROUNDS):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for at in range(many):
            step(BURN_IN + at)
        last.record()
        torch.cuda.synchronize()
        rounds.append(first.elapsed_time(last) / many)
    return median(rounds)


def _counted(step: Step) -> dict[str, float]:
    """Launches by the host, kernels on the card, numbers read and synchronisations, per step."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as seen:
        for at in range(3):
            step(BURN_IN + at)
        torch.cuda.synchronize()
    names = [event.name for event in seen.events()]
    launches = sum("LaunchKernel" in name or "GraphLaunch" in name for name in names)
    waits = sum("StreamSynchronize" in name or "EventSynchronize" in name for name in names)
    reads = names.count("aten::_local_scalar_dense") + names.count("aten::nonzero")
    kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in seen.events())
    return {
        "launches": launches / 3,
        "kernels": kernels / 3,
        "reads": reads / 3,
        "synchronisations": waits / 3,
    }


def rows_of(shape: Shape, device: str, until: float) -> list[dict[str, Any]]:
    """All implementations at one shape."""
    given, k, m = batches(shape, device), shape.k, shape.m
    kinds: dict[str, tuple[Architecture, Any]] = {
        "TopK": (TopK(k), Trained()),
        "TopK, soft-frozen": (TopK(k), SoftFrozenDecoder()),
        "BatchTopK": (BatchTopK(k), Trained()),
        "JumpReLU": (JumpReLU(float(k)), Trained()),
    }
    made: dict[str, Callable[[], Step]] = {}
    for name, (architecture, constraint) in kinds.items():
        for precision in ("float32", "bf16") if name.startswith("TopK") else ("bf16",):
            arm = Arm(architecture, m, constraint)
            made[f"ours, {name}, {precision}"] = lambda arm=arm, precision=precision: ours(
                [arm], given, precision
            )
    plain = Arm(TopK(k), m)
    made["ours, TopK, tf32"] = lambda: with_products("tf32", ours([plain], given))
    if shape.m < LARGE.m:
        made["ours, TopK, one arm at a time"] = lambda: ordinary(plain, given)
    for kind in KINDS:
        made[f"dense torch, {kind}"] = lambda kind=kind: dense_torch(shape, given, kind)
        made[f"product alone, {kind}"] = lambda kind=kind: product(shape, given, kind)
    if shape is not TOY and find_sparsify():
        made["sparsify, bf16"] = lambda: sparsify(shape, given)
    return [measured(make, name, shape, until) for name, make in made.items()]


def many_arms(toy: Shape, device: str, until: float) -> list[dict[str, Any]]:
    """Toy arms of all constraints on one stream, in one stack, and one alone; with batches drawn before the
    clock runs, and within every step."""
    sources, rows = {"given": batches(toy, device), "drawn": stream_of(toy, device).batch}, []
    constraints = (Trained(), SoftFrozenDecoder(), FrozenDecoder(), FrozenEncoder())
    for count, how in ((1, "given"), (1, "drawn"), (MANY, "given"), (MANY, "drawn")):
        arms = [Arm(TopK(toy.k), toy.m, constraints[at % 4], seed=at // 4) for at in range(count)]
        make = functools.partial(ours, arms, sources[how])
        row = measured(make, f"ours, {count} arms, batches {how}", toy, until, arms=count)
        row["batches"] = how
        if "ms" in row:
            row["arm_samples_per_s"] = count * toy.batch / row["ms"] * 1e3
        rows.append(row)
    return rows


def timed(shapes: Sequence[Shape], device: str, known: dict[str, float], until: float) -> dict[str, Any]:
    """Everything that is measured: at each shape, and many arms at the last."""
    with torch.no_grad():
        many = many_arms(shapes[-1], device, until)
        table = [row for shape in shapes for row in rows_of(shape, device, until)]
    floors = {f"{shape.d} x {shape.m}": floor_ms(shape, known) for shape in shapes}
    return {
        "card": torch.cuda.get_device_name(),
        "rates": known,
        "floor_ms": floors,
        "table": table,
        "many": many,
    }


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder for gpu.json and GPU.md")
    args, until = parser.parse_args(), time.monotonic() + BUDGET_S
    result: dict[str, Any] = {"card": None, "provenance": provenance(threads=torch.get_num_threads())}
    if torch.cuda.is_available():
        result |= timed(SHAPES, "cuda", rates("cuda"), until)
    else:
        print("there is no NVIDIA card here (torch.cuda.is_available() is False): nothing is timed")
    result["parity"] = parity("cuda" if torch.cuda.is_available() else "cpu")
    text = page(result)
    print(text)
    if result["card"] is None and (args.out / "gpu.json").exists():
        before = json.loads((args.out / "gpu.json").read_text("utf-8"))
        if before["card"] is not None:
            print(f"{args.out / 'gpu.json'} holds what {before['card']} measured, and is kept")
            return
    write_atomically(args.out / "gpu.json", json.dumps(result, indent=1))
    write_atomically(args.out / "GPU.md", text)


if __name__ == "__main__":
    main()
