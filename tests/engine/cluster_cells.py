"""Cells for tests of a cluster, importable by its workers: what they compute, and who computed it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from sanity.engine.cells import Cell, Task, computes
from sanity.errors import BadInputError

OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which "
    "1.05 GiB is free. Process 71 has 138.75 GiB memory in use. Of the allocated memory 130.21 GiB is "
    "allocated by PyTorch"
)
"""As torch says it."""


def _note(task: Task) -> None:
    """Leave a trace of every computation, finished or not."""
    with (Path(task.config["trace"]) / f"{task.cell.label}.txt").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"pid": os.getpid(), "time": time.time()}) + "\n")


@computes("cluster_cells.number", version=1)
def number(task: Task) -> None:
    _note(task)
    time.sleep(task.config.get("sleep", 0.0))
    task.save_json("answer", {"value": task.config["n"]})


@computes("cluster_cells.total", version=1, together=lambda cell: cell.config["group"])
def total(tasks: Sequence[Task]) -> None:
    for task in tasks:
        _note(task)
        time.sleep(task.config.get("sleep", 0.0))
        task.save_json("answer", {"value": sum(r.json("answer")["value"] for r in task.inputs.values())})


@computes("cluster_cells.dies_once", version=1)
def dies_once(task: Task) -> None:
    """End the worker's process by SIGKILL the first time."""
    _note(task)
    if len(traces(task.config["trace"])[task.cell.label]) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    task.save_json("answer", {"value": task.config["n"]})


@computes("cluster_cells.refuses", version=1)
def refuses(task: Task) -> None:
    _note(task)
    raise BadInputError("nothing can be made of this: give another")


@computes("cluster_cells.stumbles", version=1)
def stumbles(task: Task) -> None:
    """Fail the first time, in no words of ours."""
    _note(task)
    if len(traces(task.config["trace"])[task.cell.label]) == 1:
        raise OSError("the card fell off the bus")
    task.save_json("answer", {"value": 1})


@computes("cluster_cells.runs_out", version=1)
def runs_out(task: Task) -> None:
    """Want more of a card than there is."""
    _note(task)
    raise torch.OutOfMemoryError(OUT_OF_MEMORY)


def traces(folder: str | Path) -> dict[str, list[int]]:
    """By label: the processes that began to compute it, in order."""
    return {
        path.stem: [json.loads(line)["pid"] for line in path.read_text("utf-8").splitlines()]
        for path in sorted(Path(folder).glob("*.txt"))
    }


def numbers(trace: Path, n: int, *, sleep: float = 0.0) -> list[Cell]:
    """Cells that each take so long."""
    return [
        number.cell({"n": i, "sleep": sleep, "trace": str(trace)}, label=f"number {i}", threads=1)
        for i in range(n)
    ]
