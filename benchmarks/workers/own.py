"""Our own implementation as a worker: `sanity.models.learner.Learner`, one call of `learn` per step."""

from __future__ import annotations

import torch
from protocol import Task, Trainer, serve
from torch import Tensor
from typing_extensions import override

from sanity.engine.memory import memory_kept
from sanity.models import Arm, BatchTopK, JumpReLU, TopK, Training
from sanity.models.gradients import Weights
from sanity.models.learner import Learner
from sanity.models.sparsity import Architecture
from sanity.models.start import Start, calibrated_start, initial_directions


def architecture_of(task: Task) -> Architecture:
    """The task's architecture in our terms."""
    if task.architecture == "jumprelu":
        return JumpReLU(target_l0=float(task.k), bandwidth=task.bandwidth)
    return TopK(task.k) if task.architecture == "topk" else BatchTopK(task.k)


class Own(Trainer):
    """Learners that get the same batches; usually one."""

    def __init__(self, task: Task) -> None:
        # A constant learning rate, as for the peers.
        training, endless = Training(warmup=0.0, decay=0.0), 1_000_000_000
        self.learners = []
        x = task.batches()[0]
        for seed in range(task.arms):
            arm = Arm(architecture_of(task), task.m, seed=seed, learning_rate=task.learning_rate)
            begin = fresh(task, arm, x) if task.fresh else started(task, arm, x)
            learner = Learner(arm, begin, steps=endless, training=training, precision=task.precision)
            self.learners.append(learner)

    @override
    def step(self, x: Tensor) -> float:
        with torch.no_grad():
            return sum(learner.learn(x).loss for learner in self.learners)

    @override
    def inspect(self, x: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            outcome = self.learners[0].outcome(x, learn=False)
        return outcome.l0, outcome.squared_error


def fresh(task: Task, arm: Arm, x: Tensor) -> Start:
    """The ordinary start of an arm."""
    return calibrated_start(arm, initial_directions(arm, task.d, lambda: torch.eye(task.d)), x)


def started(task: Task, arm: Arm, x: Tensor) -> Start:
    """A start with the weights that all implementations get."""
    W_dec = task.weight("W_dec")
    start = calibrated_start(arm, W_dec.clone(), x)
    log_threshold = task.weight("threshold").log() if task.architecture == "jumprelu" else None
    if start.controller is not None:
        start.controller.level = task.coefficient / start.controller.unit
    start.weights = Weights(
        W_enc_t=task.weight("W_enc").T.contiguous(),
        W_dec=W_dec,
        b_enc=task.weight("b_enc"),
        b_dec=task.weight("b_dec"),
        log_threshold=log_threshold,
    )
    return start


if __name__ == "__main__":
    with memory_kept():  # as `sanity.train` does
        serve(Own, ("sae-sanity",))
