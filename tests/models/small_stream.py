"""A small stream of correlated activations, and one arm of every architecture, for the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sanity.models import Architecture, BatchTopK, JumpReLU, Matryoshka, ReLU, TopK

ARCHITECTURES: list[Architecture] = [
    TopK(3),
    BatchTopK(3),
    Matryoshka(3),
    JumpReLU(3.0, bandwidth=0.3),
    ReLU(5.0),
]


@dataclass
class SmallStream:
    """Sparse mixtures of a few directions plus noise; a batch is a function of its step."""

    d_in: int = 8
    batch_size: int = 32
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def key(self) -> str:
        return f"small-{self.d_in}-{self.batch_size}-{self.seed}"

    def batch(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        world = torch.Generator().manual_seed(77)
        directions = torch.nn.functional.normalize(torch.randn(20, self.d_in, generator=world), dim=1)
        active = torch.rand(self.batch_size, 20, generator=generator) < 0.15
        size = torch.rand(self.batch_size, 20, generator=generator) + 0.5
        noise = 0.05 * torch.randn(self.batch_size, self.d_in, generator=generator)
        x = (active * size) @ directions + noise - 0.15 * directions.sum(0)
        return (1.6 * x).to(self.device, self.dtype)

    def covariance(self) -> Tensor:
        return torch.cov(torch.cat([self.batch(step) for step in range(40)]).T)
