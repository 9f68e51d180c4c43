"""dictionary-learning as a worker: its trainers' `loss`, and the order of things within their `update`.

Forward, loss, backward, projection and unit norm are the library's own code, with the weight of the auxiliary
loss set to 0 (it is not even computed before a latent has been dead for ten million samples). Replaced is the
optimiser, by Adam's fused form with the betas that all have here; left out is clipping, because nobody else
does it here.
"""

from __future__ import annotations

import torch
from dictionary_learning.trainers import BatchTopKTrainer, JumpReluTrainer, TopKTrainer
from dictionary_learning.trainers.trainer import (
    remove_gradient_parallel_to_decoder_directions,
    set_decoder_norm_to_unit_norm,
)
from protocol import Task, Trainer, fused_adam, serve
from torch import Tensor
from typing_extensions import override

NEVER = 1_000_000_000


class DictionaryLearning(Trainer):
    """TopK and BatchTopK."""

    def __init__(self, task: Task) -> None:
        self.trainer = self.build(task)
        self.ae = self.trainer.ae
        self.size = task.d, task.m
        self.load(task)
        self.trainer.optimizer = fused_adam(list(self.ae.parameters()), task.learning_rate)
        self.steps = 0

    def build(self, task: Task) -> TopKTrainer | BatchTopKTrainer:
        """The library's trainer; BatchTopK keeps its running threshold, as all do, and TopK needs none."""
        batch = task.architecture == "batchtopk"
        return (BatchTopKTrainer if batch else TopKTrainer)(
            steps=NEVER,
            activation_dim=task.d,
            dict_size=task.m,
            k=task.k,
            layer=0,
            lm_name="",
            lr=task.learning_rate,
            auxk_alpha=0.0,
            threshold_start_step=-1 if batch else NEVER,
            device="cpu",
        )

    def load(self, task: Task) -> None:
        """Give it the weights; it keeps both matrices the other way round."""
        with torch.no_grad():
            self.ae.encoder.weight.copy_(task.weight("W_enc").T)
            self.ae.decoder.weight.copy_(task.weight("W_dec").T)
        task.copy_into(b_enc=self.ae.encoder.bias, b_dec=self.ae.b_dec)

    @override
    def step(self, x: Tensor) -> float:
        loss = self.trainer.loss(x, step=self.steps)
        loss.backward()
        self.project()
        self.trainer.optimizer.step()
        self.trainer.optimizer.zero_grad()
        self.normalise()
        self.steps += 1
        return loss.item()

    def project(self) -> None:
        """As its `update` does it."""
        weight = self.ae.decoder.weight
        weight.grad = remove_gradient_parallel_to_decoder_directions(weight, weight.grad, *self.size)

    def normalise(self) -> None:
        """As its `update` does it."""
        weight = self.ae.decoder.weight
        weight.data = set_decoder_norm_to_unit_norm(weight, *self.size)

    def latents(self, x: Tensor) -> Tensor:
        """As in training."""
        return self.ae.encode(x, use_threshold=False)

    @override
    def inspect(self, x: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            latents = self.latents(x)
            error = (self.ae.decode(latents) - x).square().sum(1).double().mean()
        return float(latents.count_nonzero() / x.shape[0]), float(error)


class JumpReLU(DictionaryLearning):
    """Its penalty is the square of the relative excess of L0."""

    @override
    def build(self, task: Task) -> JumpReluTrainer:
        return JumpReluTrainer(
            steps=NEVER,
            activation_dim=task.d,
            dict_size=task.m,
            layer=0,
            lm_name="",
            lr=task.learning_rate,
            bandwidth=task.bandwidth,
            sparsity_warmup_steps=None,
            target_l0=float(task.k),
            device="cpu",
        )

    @override
    def load(self, task: Task) -> None:
        """Its encoder does not subtract the decoder's bias: the same function, by another encoder bias."""
        ae = self.ae
        named = {name: getattr(ae, name) for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
        task.copy_into(**named)
        with torch.no_grad():
            ae.b_enc.sub_(ae.b_dec @ ae.W_enc)

    @override
    def project(self) -> None:
        W_dec = self.ae.W_dec
        W_dec.grad = remove_gradient_parallel_to_decoder_directions(W_dec.T, W_dec.grad.T, *self.size).T

    @override
    def normalise(self) -> None:
        self.ae.W_dec.data = set_decoder_norm_to_unit_norm(self.ae.W_dec.T, *self.size).T

    @override
    def latents(self, x: Tensor) -> Tensor:
        return self.ae.encode(x)


def build(task: Task) -> DictionaryLearning:
    """The right one of the two."""
    return JumpReLU(task) if task.architecture == "jumprelu" else DictionaryLearning(task)


if __name__ == "__main__":
    serve(build, ("dictionary-learning",))
