"""Training what is too big for one card: each of several processes holds a shard of every arm's latents.

    # big.py, started by: OMP_NUM_THREADS=8 torchrun --nproc-per-node 8 big.py
    stream = ...  # the same batches in every process, each on its own card: cuda:$LOCAL_RANK
    for run in train_sharded([Arm(TopK(64), d_sae=2**20)], stream, steps=50_000, folder="runs"):
        save_sae(run.sae, "big_sae")  # in the first process; the others get no runs

Weights, moments, gradients and pre-activations are divided by the number of processes; each of them sees the
whole of every batch. The step is that of a card's stack (`card/step.py`), and `card/shards.py` says what the
processes tell each other. Results are those of `train`, to rounding.

At the start, at checkpoints and at the end the first process has an arm as a whole, in its host's memory: up
to seven matrices [d_sae, d_in]. So a checkpoint is an ordinary one: any number of processes may go on from
it, or `train` in one. It calibrates the start there too, in as many threads as it is given.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.engine.arguments import checked
from sanity.engine.config import digest
from sanity.engine.progress import BESIDE
from sanity.errors import BadInputError
from sanity.models.arm import Arm, Stream
from sanity.models.card import Shards
from sanity.models.card.stack import why_not
from sanity.models.hyperparameters import Training
from sanity.models.learner import Learner, Precision
from sanity.models.loop import Loop
from sanity.models.resume import Checkpoint, save_progress
from sanity.models.training import Run, check_run, folders_of


@checked
def train_sharded(
    arms: Sequence[Arm],
    stream: Stream,
    *,
    steps: int,
    training: Training | None = None,
    folder: str | Path | None = None,
    checkpoint_every_s: float | None = None,
    precision: Precision = "float32",
) -> list[Run]:
    """`sanity.train`, with the latents of each arm divided evenly between the processes of torchrun.

    Every process calls it with the same arguments, which are those of `train`, and with a stream that has the
    same batches on a device of its own.

    Returns
    -------
    In the first process one `Run` per arm, in order, whole and in its host's memory; in the others none.

    Raises
    ------
    BadInputError
        As `train` does; without torchrun; for latents that cannot be divided evenly; for an arm of which the
        stacked step does not know all; for processes that were given different things, or the same card.
    SanityError
        When an arm's loss stops being finite.
    """
    check_run(arms, stream, steps, precision)
    shards = Shards(_hosts())
    for arm in arms:
        _check(arm, steps, shards.count)
    if shards.rank:
        os.environ.setdefault(BESIDE, "1")  # one progress bar is enough
    loop = _ShardedLoop(
        stream,
        steps,
        training or Training(),
        folders=folders_of(arms, folder),
        checkpoint_every_s=checkpoint_every_s,
        precision=precision,
        card=True,
        shards=shards,
    )
    with torch.no_grad():
        return loop.runs(arms)


class _HostLoop(Loop):
    """Whole arms, in the memory of the host."""

    @override
    def _pair(self, step: int) -> tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch d_out"] | None]:
        x, target = super()._pair(step)
        return x.cpu(), None if target is None else target.cpu()


@dataclass(eq=False)
class _ShardedLoop(Loop):
    """A loop over shards of arms; whole ones are started, saved and looked at on the first host."""

    shards: Shards = field(kw_only=True)

    def runs(self, arms: Sequence[Arm]) -> list[Run]:
        """What training gave, in the first process."""
        if len(set(self.shards.everyones(digest([self._identity(arm) for arm in arms])))) > 1:
            raise BadInputError(
                "the processes of train_sharded were given different arms, streams or settings: give all the "
                "same, and streams with the same seed"
            )
        wholes = [(one.arm, self._whole(one)) for one in self.run(arms)]
        learners = [self._host()._resumed(arm, saved) for arm, saved in wholes if saved is not None]
        return [
            Run(one.arm, one.sae(), pd.DataFrame(one.curve), one.anchor, self.folder_of(one.arm))
            for one in learners
        ]

    def _host(self) -> _HostLoop:
        """For whole arms; a new one each time, since it keeps the directions that it drew."""
        return _HostLoop(
            self.stream, self.last, self.training, folders=self.folders, precision=self.precision, card=False
        )

    def _whole(self, learner: Learner) -> Checkpoint | None:
        """A learner with all its latents, in the first process."""
        own = Checkpoint.of(learner)
        tensors = self.shards.gathered(own.tensors)
        return None if tensors is None else Checkpoint(own.state, tensors)

    @override
    def _learner(self, arm: Arm) -> Learner:
        """This process's shard of what the first one starts, or finds in a checkpoint."""
        made: list[Checkpoint] = []
        self.shards.from_first(lambda: made.append(Checkpoint.of(self._host()._learner(arm))))
        state: dict[str, Any] = self.shards.from_first(lambda: dict(made[0].state))
        saved = Checkpoint(state, self.shards.dealt(made.pop().tensors if made else None))
        learner = self._resumed(arm, saved)
        if reason := why_not(learner, self.shards):
            raise BadInputError(
                f"{arm.label} cannot be divided between processes: {reason}; use sanity.train"
            )
        self._take(learner.anchor.device)
        return learner

    def _take(self, device: torch.device) -> None:
        """Make sure that no two processes share a card, and tell NCCL which is this one's."""
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if told := shared_card(self.shards.everyones((platform.node(), str(device)))):
            raise BadInputError(told)

    @override
    def _advance(self, learner: Learner, step: int) -> None:
        """After the last step: record what the first host sees of the whole."""
        saved = self._whole(learner)

        def look() -> list[dict[str, float]]:
            assert saved is not None
            host = self._host()
            whole = host._resumed(learner.arm, saved)
            host._advance(whole, step)
            return whole.curve

        learner.curve = self.shards.from_first(look)

    @override
    def _save(self, learners: Sequence[Learner]) -> None:
        for learner in learners:
            if (folder := self.folder_of(learner.arm)) is not None:
                self._write(folder, learner)

    def _write(self, folder: Path, learner: Learner) -> None:
        whole = self._whole(learner)

        def write() -> None:
            assert whole is not None
            save_progress(folder, whole, self._identity(learner.arm))

        self.shards.from_first(write)


@functools.cache
def _hosts() -> dist.ProcessGroup:
    """The group in which hosts talk; that in which cards do is torch's default."""
    if not dist.is_initialized():
        if missing := [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]:
            raise BadInputError(
                f"train_sharded needs the processes that torchrun starts, and finds no {missing[0]}: start "
                "the script with `torchrun --nproc-per-node 2 script.py`, or use sanity.train in one process"
            )
        dist.init_process_group()
    # What the first host does meanwhile may take long; one that is gone is noticed at once.
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timedelta(hours=12))
    return group


def _check(arm: Arm, steps: int, count: int) -> None:
    """Raise `BadInputError` for an arm that `count` processes cannot train together."""
    if arm.d_sae % count:
        raise BadInputError(
            f"{arm.label} has {arm.d_sae} latents, which {count} processes cannot share evenly: give it a "
            f"multiple of {count}, or start another number of processes"
        )
    if not arm.constraint.learns:
        raise BadInputError(f"{arm.label} learns nothing that processes could share: use sanity.train")
    if arm.objective.spent(steps):
        raise BadInputError(
            f"{arm.label} spends steps on finding directions to start from, which processes cannot share: "
            "use sanity.train, or another objective"
        )


def shared_card(places: Sequence[tuple[str, str]]) -> str:
    """What is wrong with the (host, device) of each process: nothing, or that two have one card."""
    cards = [place for place in places if place[1] != "cpu"]
    twice = [place for place in cards if cards.count(place) > 1]
    if not twice:
        return ""
    host, device = twice[0]
    return (
        f"two processes on {host} train on {device}: give the stream of each a card of its own, "
        "cuda:$LOCAL_RANK, and start as many processes as there are cards"
    )
