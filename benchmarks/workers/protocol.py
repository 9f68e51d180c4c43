"""How a worker is spoken to: one JSON object per line on stdin, one per line on a pipe of its own.

Every implementation runs in a process of its own, in its own environment, and does one step at a time when
it is told to, so that steps of different implementations can take turns. Between steps a worker sleeps in a
read. This file needs PyTorch and numpy only, for it runs in every peer's environment.

    prepare   build the SAE of a task with the given weights      -> versions
    step      one training step on the next batch                 -> wall_s, cpu_s, loss
    peak      memory: the most so far, and what stays now         -> peak_bytes, lasting_bytes
    inspect   what the weights do to a batch that was held out    -> l0, squared_error
    release   forget it all
    quit

Time is that of the step alone: `perf_counter`, and `process_time`, which is the CPU time of all threads.
Memory is the highest resident set of the process while it steps (Linux: VmHWM, reset before the first step)
less the resident set before the model was built, when imports and batches were there already; so it counts
parameters, gradients, optimiser state and everything temporary. Imports that a library puts off until its
first step are not counted, for a tiny model takes two steps before.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Task:
    """What all implementations train: the same batches, weights and hyper-parameters."""

    folder: str
    """Holds `batches.npy` [n, batch, d] and the weights, see `benchmarks/inputs.py`."""
    architecture: str
    """topk, batchtopk or jumprelu."""
    d: int
    m: int
    batch: int
    k: int
    precision: Literal["float32", "bf16"] = "float32"
    learning_rate: float = 3e-4
    bandwidth: float = 0.1
    """Of JumpReLU's straight-through estimator."""
    coefficient: float = 0.0
    """Of JumpReLU's penalty on L0, which keeps L0 where it is."""
    threads: int = 2
    arms: int = 1
    """How many SAEs take each step; more than one for our own implementation only."""
    fresh: bool = False
    """Start as an untrained arm does, for our own implementation only: there are no weights in the folder."""

    def batches(self) -> list[Tensor]:
        """All batches but the last, which `inspect` gets."""
        return list(torch.from_numpy(np.load(Path(self.folder) / "batches.npy", allow_pickle=False)))

    def weight(self, name: str) -> Tensor:
        """W_enc [d, m], W_dec [m, d], b_enc [m], b_dec [d], or threshold [m]."""
        path = Path(self.folder) / f"{self.architecture}.{name}.npy"
        return torch.from_numpy(np.load(path, allow_pickle=False))

    def copy_into(self, **parameters: Tensor) -> None:
        """Overwrite parameters by the weights of these names; their memory layout stays the library's own."""
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self.weight(name))


class Trainer(Protocol):
    """One SAE under training, in one implementation."""

    def step(self, x: Tensor) -> float:
        """One step: forward, backward, projection, Adam, unit norm, which latents fired. Gives the loss."""

    def inspect(self, x: Tensor) -> tuple[float, float] | None:
        """Mean L0 and mean squared error ||x - x_hat||^2 per sample; nothing changes. None: no such thing."""


def serve(build: Callable[[Task], Trainer], packages: tuple[str, ...]) -> None:
    """Answer commands until `quit` or the end of stdin."""
    # Not on stdout, where libraries print while they are imported.
    answers = os.fdopen(int(os.environ["ANSWERS_FD"]), "w")
    state: dict[str, Any] = {}
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            return
        answer = _ANSWERS[command["do"]](state, build, command)
        if command["do"] == "prepare":
            answer["versions"] = {name: version(name) for name in ("torch", *packages)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _prepare(
    state: dict[str, Any], build: Callable[[Task], Trainer], command: dict[str, Any]
) -> dict[str, Any]:
    task = Task(**command["task"])
    torch.set_num_threads(task.threads)
    _release(state, build, command)
    if "rehearsal" in command:
        tiny = Task(**command["rehearsal"])
        trainer = build(tiny)
        for x in tiny.batches()[:2]:
            trainer.step(x)
        del trainer
    *batches, held_out = task.batches()
    _give_back()
    before = _status("VmRSS")
    trainer = build(task)
    _give_back()
    _reset_peak()
    state.update(trainer=trainer, batches=batches, held_out=held_out, before=before, steps=0)
    return {}


def _release(state: dict[str, Any], _: object, __: object) -> dict[str, Any]:
    for name in ("trainer", "batches", "held_out"):
        state.pop(name, None)
    _give_back()
    return {}


def _step(state: dict[str, Any], _: object, __: object) -> dict[str, Any]:
    x = state["batches"][state["steps"] % len(state["batches"])]
    state["steps"] += 1
    wall, cpu = time.perf_counter(), time.process_time()
    loss = state["trainer"].step(x)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if not math.isfinite(loss):
        raise ValueError(f"the loss became {loss}")
    return {"wall_s": wall, "cpu_s": cpu, "loss": loss}


def _peak(state: dict[str, Any], _: object, __: object) -> dict[str, Any]:
    highest = _status("VmHWM")
    _give_back()
    lasting, before = _status("VmRSS"), state["before"]
    if highest is None or lasting is None or before is None:
        return {"peak_bytes": None, "lasting_bytes": None}
    return {"peak_bytes": highest - before, "lasting_bytes": lasting - before}


def _inspect(state: dict[str, Any], _: object, __: object) -> dict[str, Any]:
    found = state["trainer"].inspect(state["held_out"])
    return {} if found is None else {"l0": found[0], "squared_error": found[1]}


_ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": _prepare,
    "step": _step,
    "peak": _peak,
    "inspect": _inspect,
    "release": _release,
}


def _status(field: str) -> int | None:
    """A line of /proc/self/status in bytes; None where there is no such file."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    (line,) = (line for line in path.read_text("utf-8").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _reset_peak() -> None:
    """Let VmHWM begin again from what is resident now."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5", encoding="utf-8")


def _give_back() -> None:
    """Hand freed memory back to the system, so that it is not taken for somebody's."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def fused_adam(parameters: list[Tensor], learning_rate: float) -> torch.optim.Adam:
    """The optimiser of every peer: PyTorch's Adam in its fused form, which is the fastest there is."""
    return torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


class Fired:
    """Since how many samples each latent has not fired, as every training loop keeps it."""

    def __init__(self, m: int) -> None:
        self.since = torch.zeros(m, dtype=torch.long)

    def saw(self, samples: int, fired: Tensor) -> None:
        """After a batch: `fired` is a mask [m]."""
        self.since += samples
        self.since[fired] = 0
