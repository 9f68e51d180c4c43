"""How the cost of our training step grows: with the latents, with the batch, with the arms, with time.

One thing is varied at a time, from the real shape of `benchmarks.training`. All architectures and the
encoder's product alone take steps in turn. Arms are TopK arms of different seeds, fed the same batch. The
last table is the memory of one TopK arm after more and more steps, which is to stay where it is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.client import ALL, HERE, IMPLEMENTATIONS, Worker
from benchmarks.inputs import REAL, TINY, TOY, Shape, task, write_batches
from benchmarks.report import dumped, plain, scaling_tables, write_results
from sanity.engine.files import write_atomically
from sanity.engine.machine import cpu, memory_bytes, provenance
from sanity.engine.progress import track

LATENTS = tuple(1024 * 2**i for i in range(7))
BATCHES = (256, 1024, 4096, 16384)
ARMS = (1, 2, 4, 8)
STEPS = (50, 200, 1000)
ENTRANTS = (*(("sanity", architecture) for architecture in ALL), ("floor", "topk"), ("floor-onednn", "topk"))


@dataclass
class Scaling:
    """The running workers."""

    folder: Path
    threads: int
    rounds: int
    stack: ExitStack
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        able = {one.name: one for one in IMPLEMENTATIONS}
        self.workers = {
            entrant: self.stack.enter_context(Worker(able[entrant[0]], threads=self.threads))
            for entrant in ENTRANTS
        }
        self._write(TINY)

    def points(self, shapes: Sequence[Shape], varied: str) -> list[dict[str, Any]]:
        """Every architecture and the product alone, at several shapes."""
        rows = []
        for shape in track(shapes, description=f"growing {varied}", unit="shape"):
            self._write(shape)
            rows += self._measure(shape, list(ENTRANTS), varied, getattr(shape, varied))
        return rows

    def arms(self, counts: Sequence[int]) -> list[dict[str, Any]]:
        """TopK at the real shape with more and more arms."""
        self._write(REAL)
        rows = []
        for arms in track(counts, description="growing arms", unit="point"):
            rows += self._measure(REAL, [("sanity", "topk")], "arms", arms, arms=arms)
        return rows

    def steps(self, counts: Sequence[int]) -> list[dict[str, Any]]:
        """Memory after so many steps at the toy shape."""
        self._write(TOY)
        worker, done, rows = self.workers["sanity", "topk"], 0, []
        self._prepare(worker, TOY, "topk", 1)
        for count in track(counts, description="growing steps", unit="point"):
            for _ in range(count - done):
                worker.ask("step")
            done = count
            rows.append({"varied": "steps", "value": count, **worker.ask("peak")})
        worker.ask("release")
        return rows

    def _measure(
        self, shape: Shape, entrants: list[tuple[str, str]], varied: str, value: int, *, arms: int = 1
    ) -> list[dict[str, Any]]:
        for entrant in entrants:
            self._prepare(self.workers[entrant], shape, entrant[1], arms)
        seen: dict[tuple[str, str], list[dict[str, float]]] = {entrant: [] for entrant in entrants}
        for _ in range(1 + self.rounds):
            for entrant in entrants:
                seen[entrant].append(self.workers[entrant].ask("step"))
        rows = []
        for entrant in entrants:
            counted = seen[entrant][1:]
            rows.append(
                {
                    "varied": varied,
                    "value": value,
                    "implementation": entrant[0],
                    "architecture": entrant[1],
                    "shape": asdict(shape),
                    "arms": arms,
                    "wall_s": median(step["wall_s"] for step in counted),
                    "cpu_s": median(step["cpu_s"] for step in counted),
                    **self.workers[entrant].ask("peak"),
                }
            )
            self.workers[entrant].ask("release")
        return rows

    def _prepare(self, worker: Worker, shape: Shape, architecture: str, arms: int) -> None:
        full, tiny = (
            task(at, self._place(at), architecture, "float32", threads=self.threads, fresh=True, arms=arms)
            for at in (shape, TINY)
        )
        self.versions[worker.name] = worker.ask("prepare", task=full, rehearsal=tiny)["versions"]

    def _place(self, shape: Shape) -> Path:
        return self.folder / f"d{shape.d}-m{shape.m}-b{shape.batch}"

    def _write(self, shape: Shape) -> None:
        """Batches, and an encoder for the product alone."""
        place = self._place(shape)
        if place.exists():
            return
        write_batches(shape, place)
        directions = functional.normalize(torch.randn(shape.m, shape.d), dim=1)
        np.save(place / "topk.W_enc.npy", directions.T.contiguous().numpy())
        np.save(place / "topk.b_enc.npy", np.zeros(shape.m, dtype=np.float32))


def fitting(shapes: Sequence[Shape]) -> list[Shape]:
    """Those whose arms, one per architecture, stay below half of the machine's memory."""
    states = 4 * 2 * 4  # parameter, gradient and two moments, of two matrices, in bytes
    return [
        shape
        for shape in shapes
        if len(ALL) * states * shape.d * shape.m + 4 * shape.batch * shape.m < memory_bytes() / 2
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, store."""
    args = _parser().parse_args(arguments)
    base, largest = (REAL, None) if not args.small else (TINY, 2)
    latents = [replace(base, m=m) for m in LATENTS[:largest]]
    batches = [replace(base, batch=batch) for batch in BATCHES[:largest]]
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scaling = Scaling(Path(folder), args.threads, args.rounds, stack)
        rows = scaling.points(fitting(latents), "m") + scaling.points(fitting(batches), "batch")
        if not args.small:
            rows += scaling.arms(ARMS) + scaling.steps(STEPS)
    result = {
        "cpu": cpu(),
        "machine": provenance(threads=args.threads),
        "load_before": round(load, 2),
        "seconds": round(time.monotonic() - began),
        "rounds": args.rounds,
        "versions": scaling.versions,
        "rows": rows,
    }
    for title, lines in scaling_tables(result):
        print(f"{title}\n{plain(lines)}\n")
    write_atomically(args.out / "scaling.json", dumped(result))
    write_results(args.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="counted steps at every point")
    parser.add_argument("--threads", type=int, default=min(2, int(str(cpu()["cores"]))))
    parser.add_argument("--small", action="store_true", help="tiny shapes, to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the results")
    return parser


if __name__ == "__main__":
    main()
