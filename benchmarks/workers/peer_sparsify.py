"""eai-sparsify (EleutherAI) as a worker: its `SparseCoder`, and its trainer's order of things within a step.

Forward, sparse decoder, hand-written backward, projection and unit norm are the library's own code. Left out
of its trainer's step, because nobody else does it here: AuxK, clipping, logging.
"""

from __future__ import annotations

import os

# Its Triton kernels are for GPUs; without this it would take them on a CPU, too, where Triton is installed.
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from protocol import Fired, Task, Trainer, fused_adam, serve
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor
from typing_extensions import override


class Sparsify(Trainer):
    """TopK, which is what the library has."""

    def __init__(self, task: Task) -> None:
        self.sae = SparseCoder(task.d, SparseCoderConfig(num_latents=task.m, k=task.k))
        with torch.no_grad():
            self.sae.encoder.weight.copy_(task.weight("W_enc").T)
        task.copy_into(W_dec=self.sae.W_dec, b_enc=self.sae.encoder.bias, b_dec=self.sae.b_dec)
        self.optimiser = fused_adam(list(self.sae.parameters()), task.learning_rate)
        self.fired, self.d = Fired(task.m), task.d

    @override
    def step(self, x: Tensor) -> float:
        self.sae.set_decoder_norm_to_unit_norm()
        out = self.sae(x)
        # Batches have E||x||^2 = d: times d, its fraction of variance is everybody's mean squared error.
        loss = out.fvu * self.d
        loss.backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.optimiser.step()
        self.optimiser.zero_grad()
        fired = torch.zeros_like(self.fired.since, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        self.fired.saw(x.shape[0], fired)
        return loss.item()

    @override
    def inspect(self, x: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            self.sae.set_decoder_norm_to_unit_norm()
            out = self.sae(x)
        active = (out.latent_acts > 0).sum(1).double().mean()
        return float(active), float((out.sae_out - x).square().sum(1).double().mean())


if __name__ == "__main__":
    serve(Sparsify, ("eai-sparsify",))
