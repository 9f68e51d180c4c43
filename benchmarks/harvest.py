"""What harvesting costs over a bare transformers forward pass stopped at the same block.

    OMP_NUM_THREADS=1 python benchmarks/harvest.py --tokens 4096 --repeats 5

Each repeat runs the bare forward and the whole harvest (model, moments, checks, checksummed shards) with
either backend over the same tokens in the same batches, one after the other, so that whatever else the
machine does hits all alike. Expected: harvest : bare at most 1.10 in CPU seconds; 1.01 to 1.04 was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from sanity.engine.machine import cpu
from sanity.subject import harvest, load_module, load_subject


class Stop(Exception):
    """Ends the bare forward pass."""


def bare_forward(module: Any, batches: tuple[torch.Tensor, ...], block: int) -> None:
    """transformers' own forward pass over all batches, ended when `block` has run."""

    def stop(*_: object) -> None:
        raise Stop

    handle = module.get_decoder().layers[block].register_forward_hook(stop)
    with torch.no_grad():
        for batch in batches:
            with contextlib.suppress(Stop):
                module(batch, use_cache=False)
    handle.remove()


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    cpu_start, wall_start = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu_start, time.perf_counter() - wall_start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--block", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, default=1024 * torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    module = load_module(args.model)
    hook = f"blocks.{args.block}.hook_resid_post"
    shape = (max(1, args.tokens // args.context), args.context)
    text = torch.randint(0, module.config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    batches = text.split(max(1, args.batch_tokens // args.context))
    runs: dict[str, Callable[[], Any]] = {"bare forward": lambda: bare_forward(module, batches, args.block)}
    for backend in ("transformer_lens", "nnsight"):
        subject = load_subject(args.model, backend=backend)
        subject.weights_sha256  # noqa: B018  (hashed once per session, not per harvest)

        def run(subject: Any = subject) -> None:
            with tempfile.TemporaryDirectory() as folder:
                harvest(subject, text, hook=hook, folder=folder, batch_tokens=args.batch_tokens)

        runs[f"harvest, {backend}"] = run
    for run in runs.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            seconds[name].append(timed(run))

    print(f"{cpu()['model']}, {torch.get_num_threads()} threads, {args.model} up to block {args.block},")
    print(f"{text.numel()} tokens in sequences of {args.context}, {args.batch_tokens} tokens a batch,")
    print(f"median of {args.repeats} interleaved repeats; ratios within a repeat\n")
    print(f"{'':28}{'CPU s':>8}{'ratio':>8}{'wall s':>8}{'ratio':>8}{'tokens/s':>10}")
    bare = seconds["bare forward"]
    for name, found in seconds.items():
        cells = []
        for clock in (0, 1):
            ratios = [own[clock] / base[clock] for own, base in zip(found, bare, strict=True)]
            cells += [statistics.median(own[clock] for own in found), statistics.median(ratios)]
        print(f"{name:28}" + "".join(f"{cell:8.3f}" for cell in cells) + f"{text.numel() / cells[2]:10.0f}")


if __name__ == "__main__":
    main()
