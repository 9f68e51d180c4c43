"""One training step of ours against those of other libraries, side by side.

Every implementation gets the same batches, the same weights to begin with and the same hyper-parameters, and
does the same work per step: encoder and decoder with both biases, the mean squared error, exact gradients of
all parameters, the part of the decoder's gradient along its rows removed, Adam, decoder rows back to unit
norm, and a record of which latents fired. Nobody has an auxiliary loss, clipping or logging. JumpReLU adds
the gradient of its thresholds and of its penalty on L0, with one bandwidth for all. That it is the same work
shows in the tables: the error on a batch that was held out, after the same number of steps, agrees.

What each library's own code does, and what little was added to make the work equal, is said at the head of
its file in `benchmarks/workers/`. All use PyTorch's fused Adam, the same number of threads, and the same
short spinning of idle threads. Ours keeps freed memory between steps, as `sanity.train` does; the others, and
the product alone, are run as they come.

Each implementation runs in its own process; they take steps in turn, and whoever is not at work sleeps.
Ratios are taken within a round, and their median over rounds is given, so that a machine that slows down for
a while slows all alike. How time and memory are measured is said in `benchmarks/workers/protocol.py`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.client import ALL, HERE, IMPLEMENTATIONS, Implementation, Worker
from benchmarks.inputs import REAL, TINY, TOY, Shape, task, write_batches, write_weights
from benchmarks.report import dumped, tables, write_results
from sanity.engine.files import write_atomically
from sanity.engine.machine import cpu, provenance
from sanity.engine.progress import track
from sanity.models.encoding import multiplies_bf16

WARM_UP = 2


@dataclass
class Entrant:
    """An implementation in one group: what it is, and what was measured, round by round."""

    implementation: str
    architecture: str
    shape: Shape
    precision: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    l0: float | None = None
    squared_error: float | None = None

    def row(self) -> dict[str, Any]:
        """As it is stored: medians over rounds, and the rounds themselves."""
        return {
            "implementation": self.implementation,
            "architecture": self.architecture,
            "shape": asdict(self.shape),
            "precision": self.precision,
            "wall_s": median(self.wall),
            "cpu_s": median(self.cpu),
            "peak_bytes": self.peak_bytes,
            "tokens_per_s": self.shape.batch / median(self.wall),
            "l0": self.l0,
            "squared_error": self.squared_error,
            "rounds": {"wall_s": self.wall, "cpu_s": self.cpu},
        }


@dataclass
class Bench:
    """The running workers, by implementation and precision, and what they are measured on."""

    folder: Path
    threads: int
    rounds: int
    burn_in: int
    workers: dict[tuple[str, str], Worker] = field(default_factory=dict)
    able: dict[str, Implementation] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def start(self, stack: ExitStack, implementations: Sequence[Implementation]) -> None:
        """Start a worker per implementation and precision; they import while the inputs are made.

        Not in bf16 on a processor without such products: a step would take eight times as long.
        """
        for one in implementations:
            self.able[one.name] = one
            for precision in one.precisions if multiplies_bf16() else ("float32",):
                worker = stack.enter_context(Worker(one, threads=self.threads))
                self.workers[one.name, precision] = worker

    def measure(self, shapes: Sequence[Shape], architectures: Sequence[str]) -> list[Entrant]:
        """All groups, one after the other."""
        tiny, coefficients = self._inputs(TINY), {}
        for shape in shapes:
            coefficients[shape] = self._inputs(shape)
        entrants: list[Entrant] = []
        groups = [(shape, architecture) for shape in shapes for architecture in architectures]
        for shape, architecture in track(groups, description="measuring", unit="group"):
            entrants += self._group(shape, architecture, coefficients[shape], tiny)
        return entrants

    def _place(self, shape: Shape) -> Path:
        return self.folder / f"d{shape.d}-m{shape.m}"

    def _inputs(self, shape: Shape) -> dict[str, float]:
        write_batches(shape, self._place(shape))
        return write_weights(shape, self._place(shape), burn_in=self.burn_in)

    def _group(
        self, shape: Shape, architecture: str, coefficient: dict[str, float], tiny: dict[str, float]
    ) -> list[Entrant]:
        """All implementations of one architecture at one shape, in turn."""
        group: list[tuple[Entrant, Worker]] = []
        for (name, precision), worker in self.workers.items():
            if architecture not in self.able[name].architectures:
                continue
            tasks = [
                task(at, self._place(at), architecture, precision, threads=self.threads, **extra)
                for at, extra in ((shape, coefficient), (TINY, tiny))
            ]
            self.versions[name] = worker.ask("prepare", task=tasks[0], rehearsal=tasks[1])["versions"]
            group.append((Entrant(name, architecture, shape, precision), worker))
        for turn in range(WARM_UP + self.rounds):
            first = turn % len(group)
            for entrant, worker in group[first:] + group[:first]:
                seen = worker.ask("step")
                if turn >= WARM_UP:
                    entrant.wall.append(seen["wall_s"])
                    entrant.cpu.append(seen["cpu_s"])
        for entrant, worker in group:
            entrant.peak_bytes = worker.ask("peak")["peak_bytes"]
            found = worker.ask("inspect")
            entrant.l0, entrant.squared_error = found.get("l0"), found.get("squared_error")
            worker.ask("release")
        return [entrant for entrant, _ in group]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, store."""
    args = _parser().parse_args(arguments)
    chosen = [one for one in IMPLEMENTATIONS if one.name not in args.without]
    shapes = [{"real": REAL, "toy": TOY, "tiny": TINY}[name] for name in args.shapes]
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), args.threads, args.rounds, args.burn_in)
        bench.start(stack, chosen)
        entrants = bench.measure(shapes, args.architectures)
    result = {
        "cpu": cpu(),
        "machine": provenance(threads=args.threads),
        "versions": bench.versions,
        "load_before": round(load, 2),
        "seconds": round(time.monotonic() - began),
        "rounds": args.rounds,
        "burn_in": args.burn_in,
        "method": (__doc__ or "").strip(),
        "rows": [entrant.row() for entrant in entrants],
    }
    for table in tables(result):
        print(table, end="\n\n")
    write_atomically(args.out / "training.json", dumped(result))
    write_results(args.out)
    print(f"stored in {args.out / 'training.json'} and {args.out / 'RESULTS.md'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [one.name for one in IMPLEMENTATIONS]
    parser.add_argument("--rounds", type=int, default=7, help="counted steps of each implementation")
    parser.add_argument("--burn-in", type=int, default=32, help="steps of training before, for the weights")
    parser.add_argument("--threads", type=int, default=min(2, int(str(cpu()["cores"]))))
    parser.add_argument("--shapes", nargs="+", choices=("real", "toy", "tiny"), default=("real", "toy"))
    parser.add_argument("--architectures", nargs="+", choices=ALL, default=ALL)
    parser.add_argument(
        "--without", nargs="+", choices=names, default=(), help="implementations to leave out"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the results")
    return parser


if __name__ == "__main__":
    main()
