"""The encoder's matrix product alone, which every implementation with a dense encoder has to do.

`floor.py` is what PyTorch does when asked: `addmm`, into memory that is there already. `floor.py --onednn`
is the same product by the fastest kernel we know of, oneDNN's, one cache-sized block of rows after another;
PyTorch uses it by itself in bf16, but not in float32.
"""

from __future__ import annotations

import sys

import torch
from protocol import Task, Trainer, serve
from torch import Tensor
from typing_extensions import override

from sanity.engine.products import product
from sanity.models.kernels import block_rows


class Floor(Trainer):
    """Trains nothing."""

    def __init__(self, task: Task) -> None:
        self.dtype = torch.bfloat16 if task.precision == "bf16" else torch.float32
        self.weight, self.bias = task.weight("W_enc").to(self.dtype), task.weight("b_enc").to(self.dtype)
        self.out = torch.empty(task.batch, task.m, dtype=self.dtype)

    @override
    def step(self, x: Tensor) -> float:
        torch.addmm(self.bias, x.to(self.dtype), self.weight, out=self.out)
        return 0.0

    @override
    def inspect(self, x: Tensor) -> None:
        """There is nothing to see."""


class OneDNN(Floor):
    """The fastest exact product; its blocks are used by nobody and freed at once."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.weight = self.weight.T.contiguous()
        self.rows = block_rows(task.batch, task.m, self.weight.device)

    @override
    def step(self, x: Tensor) -> float:
        for block in torch.split(x.to(self.dtype), self.rows):
            product(block, self.weight, self.bias)
        return 0.0


if __name__ == "__main__":
    serve(OneDNN if "--onednn" in sys.argv else Floor, ())
