"""sae-lens as a worker: its training SAEs, and its trainer's order of things within a step.

Forward, loss and backward are the library's own code, with auxiliary losses switched off. It has neither unit
norms nor gradient projection (it rescales by the decoder's norms instead, which is switched off): both are
added in the way we do them, in place. Left out of its trainer's step, because nobody else does it here:
clipping, running firing rates, logging. bf16 is its own option, autocast of the forward pass.
"""

from __future__ import annotations

import sys

import torch
from protocol import Fired, Task, Trainer, fused_adam, serve
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainingSAE, TrainStepInput, TrainStepOutput
from torch import Tensor
from typing_extensions import override


def build(task: Task) -> TrainingSAE:
    """The library's SAE of the task's architecture."""
    shape = {"d_in": task.d, "d_sae": task.m, "device": "cpu", "dtype": "float32"}
    shape |= {"apply_b_dec_to_input": True, "normalize_activations": "none"}
    if task.architecture == "jumprelu":
        bandwidth = {"jumprelu_bandwidth": task.bandwidth, "jumprelu_sparsity_loss_mode": "step"}
        return JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**shape, **bandwidth))
    options = {"k": task.k, "rescale_acts_by_decoder_norm": False, "aux_loss_coefficient": 0.0}
    if task.architecture == "batchtopk":
        return BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, **options))
    return TopKTrainingSAE(TopKTrainingSAEConfig(**shape, **options, use_sparse_activations=SPARSE))


SPARSE = "--sparse" in sys.argv
"""Its own option for TopK: activations as sparse tensors, which needs less memory, sometimes less time."""


class SaeLens(Trainer):
    """TopK, BatchTopK and JumpReLU."""

    def __init__(self, task: Task) -> None:
        self.sae, self.coefficients = build(task), {"l0": task.coefficient}
        named = {name: getattr(self.sae, name) for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
        if task.architecture == "jumprelu":
            named["threshold"] = self.sae.threshold
        task.copy_into(**named)
        self.optimiser = fused_adam(list(self.sae.parameters()), task.learning_rate)
        self.fired, self.steps = Fired(task.m), 0
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=task.precision == "bf16")

    def forward(self, x: Tensor) -> TrainStepOutput:
        """The library's forward pass with its loss."""
        return self.sae.training_forward_pass(
            TrainStepInput(
                sae_in=x,
                coefficients=self.coefficients,
                dead_neuron_mask=None,
                n_training_steps=self.steps,
                is_logging_step=False,
            )
        )

    @override
    def step(self, x: Tensor) -> float:
        with self.autocast:
            out = self.forward(x)
            with torch.no_grad():  # as its trainer has it
                fired = out.feature_acts.bool().float().sum(-2).bool()
                self.fired.saw(x.shape[0], fired.to_dense() if fired.is_sparse else fired)
        loss = out.loss
        loss.backward()
        del out
        with torch.no_grad():
            W_dec, gradient = self.sae.W_dec, self.sae.W_dec.grad
            gradient.addcmul_(torch.linalg.vecdot(gradient, W_dec).unsqueeze(1), W_dec, value=-1)
            self.optimiser.step()
            self.optimiser.zero_grad()
            W_dec.div_(torch.linalg.vector_norm(W_dec, dim=1, keepdim=True))
        self.steps += 1
        return loss.item()

    @override
    def inspect(self, x: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            out = self.forward(x)
        active = out.feature_acts.to_dense().count_nonzero() / x.shape[0]
        return float(active), float((out.sae_out - x).square().sum(1).double().mean())


if __name__ == "__main__":
    serve(SaeLens, ("sae-lens",))
