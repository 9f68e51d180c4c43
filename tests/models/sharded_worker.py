"""What each of two processes does for `test_sharded.py`.

python tests/models/sharded_worker.py FOLDER                          # forks them, with torchrun's variables
torchrun --nproc-per-node 2 tests/models/sharded_worker.py FOLDER     # the same, and slower to start
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from card_arms import ALL_AT_ONCE, FAST, arms_of
from small_stream import ARCHITECTURES, SmallStream
from test_resuming import Interrupted, interrupt_at
from test_transcoders import SmallPairs

from sanity.baselines import FrozenBoth, SoftFrozenBlocks, SoftFrozenDecoder, Trained, Untrained
from sanity.errors import BadInputError
from sanity.models import Arm, BatchTopK, JumpReLU, Run, TopK, Training, save_sae, train, train_sharded
from sanity.models.objectives import AffineSkip, Agreement, EvenEncoder

ALL = dataclasses.replace(ALL_AT_ONCE, dead_after_tokens=32)
CONSTRAINTS = [Trained(), SoftFrozenDecoder(0.8), FrozenBoth()]


def rank() -> int:
    return int(os.environ["RANK"])


@dataclasses.dataclass
class Case:
    arms: list[Arm]
    stream: Any
    training: Training = ALL
    precision: Any = "float32"
    steps: int = 10
    rounding: float = 1e-12
    """The largest relative difference to one process."""

    def settings(self) -> dict[str, Any]:
        return {"steps": self.steps, "training": self.training, "precision": self.precision}


def arms_with(architecture: Any) -> list[Arm]:
    """One that is free, one with cones, and one whose directions stay."""
    return [arm for arm in arms_of(architecture) if arm.constraint in CONSTRAINTS]


def cases() -> dict[str, Case]:
    exact, three = SmallStream(dtype=torch.float64), [TopK(3), BatchTopK(3), JumpReLU(3.0, bandwidth=0.3)]
    found = {f"{one.label} plain": Case(arms_with(one), exact, FAST, steps=30) for one in three}
    found |= {one.label: Case(arms_with(one), exact) for one in ARCHITECTURES}
    found["float32"] = Case(arms_with(TopK(3)), SmallStream(), FAST, rounding=1e-4)
    found["bf16"] = Case(arms_with(BatchTopK(3)), SmallStream(), precision="bf16", rounding=1e-4)
    found["more than a shard"] = Case(arms_with(TopK(20)), exact)
    pairs = [dataclasses.replace(arm, objective=AffineSkip()) for arm in arms_with(JumpReLU(3.0))]
    found["pairs"] = Case(pairs, SmallPairs(dtype=torch.float64))
    return found


def interrupted() -> Case:
    arms = [Arm(BatchTopK(3), 24, SoftFrozenDecoder(), learning_rate=1e-2), Arm(JumpReLU(3.0), 24)]
    return Case(arms, SmallStream(dtype=torch.float64), steps=20)


def from_step(step: int) -> Case:
    """The same, where no batch before the step can be had: it has to go on from a checkpoint."""
    return dataclasses.replace(interrupted(), stream=interrupt_at(interrupted().stream, step - 1))


def sharded(case: Case, **more: Any) -> list[Run]:
    return train_sharded(case.arms, case.stream, **case.settings(), **more)


def keep(runs: list[Run], out: Path) -> None:
    for at, run in enumerate(runs):
        save_sae(run.sae, out / str(at))
        run.curve.to_parquet(out / f"{at}.parquet")


def stop_and_go_on(out: Path) -> None:
    """Fail in the middle, be asked to stop later, go on to the end; the checkpoints of each time are kept."""
    case, folder = interrupted(), out / "folder"
    failing = dataclasses.replace(case, stream=interrupt_at(case.stream, 12))
    try:
        sharded(failing, folder=folder, checkpoint_every_s=0)
    except Interrupted:
        copied(folder, out / "at 12")
    told = dataclasses.replace(case.stream)
    draw = told.batch

    def batch(step: int) -> torch.Tensor:
        if step == 15 and rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        result: torch.Tensor = draw(step)
        return result

    told.batch = batch
    try:
        sharded(dataclasses.replace(case, stream=told), folder=folder, checkpoint_every_s=1e9)
    except SystemExit:
        copied(folder, out / "at 16")
    keep(sharded(from_step(16), folder=folder), out / "gone on")
    keep(sharded(from_step(20), folder=folder), out / "done")  # draws nothing any more


def copied(folder: Path, to: Path) -> None:
    if rank() == 0:
        shutil.copytree(folder, to)


def refusals(out: Path) -> dict[str, str]:
    """What a process says about bad input."""
    stream, other = SmallStream(), Arm(TopK(3), 24)
    blocks = Arm(TopK(3), 24, SoftFrozenBlocks(blocks=3))
    calls: dict[str, Callable[[], Any]] = {
        "odd": lambda: train_sharded([Arm(TopK(3), 25)], stream, steps=4),
        "untrained": lambda: train_sharded([Arm(TopK(3), 24, Untrained())], stream, steps=4),
        "agreement": lambda: train_sharded([Arm(TopK(3), 24, objective=Agreement())], stream, steps=8),
        "objective": lambda: train_sharded([Arm(TopK(3), 24, objective=EvenEncoder())], stream, steps=4),
        "constraint": lambda: train_sharded([blocks], stream, steps=4),
        "streams": lambda: train_sharded([other], SmallStream(seed=rank()), steps=4),
        "steps": lambda: train_sharded(interrupted().arms, stream, steps=4, folder=out / "folder"),
    }
    said = {}
    for name, call in calls.items():
        try:
            call()
        except BadInputError as error:
            said[name] = str(error)
    return said


def by_itself(out: Path) -> None:
    """What one process gives, to compare with; each of the two computes half of it."""
    for at, (name, case) in enumerate(cases().items()):
        if at % 2 == rank():
            keep(train(case.arms, case.stream, **case.settings()), out / "alone" / name)
    step, case = (12, 16)[rank()], interrupted()
    late = from_step(step)
    again = train(late.arms, late.stream, **late.settings(), folder=out / f"at {step}")
    keep(again, out / f"gone on at {step}")
    if rank() == 0:
        keep(train(case.arms, case.stream, **case.settings()), out / "alone" / "interrupted")


def main(out: Path) -> None:
    for name, case in cases().items():
        keep(sharded(case), out / name)
    stop_and_go_on(out)
    (out / f"said-{rank()}.json").write_text(json.dumps(refusals(out)), encoding="utf-8")
    by_itself(out)


def one_of_two(number: int, port: int, out: Path) -> None:
    place = {"RANK": number, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    main(out)


def fork(out: Path) -> int:
    """Both processes, from one that has imported all they need; the worst of their exit codes."""
    torch.optim.AdamW([torch.zeros(1)])  # imports a good deal
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=one_of_two, args=(number, port, out)) for number in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    return max(abs(one.exitcode or 0) for one in both)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if "RANK" not in os.environ:
        sys.exit(fork(folder))
    main(folder)
