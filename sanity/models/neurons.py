"""An MLP's own neurons as a dictionary that really computes its function: the upper reference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sanity.engine.arguments import CheckedDataclass
from sanity.errors import BadInputError

_TANH = functools.partial(functional.gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_new": _TANH,
    "gelu_fast": _TANH,
    "gelu_pytorch_tanh": _TANH,
    "relu": functional.relu,
}
_NAMES = (
    ("gate_proj", "up_proj", "down_proj"),
    (None, "c_fc", "c_proj"),
    (None, "fc1", "fc2"),
    (None, "dense_h_to_4h", "dense_4h_to_h"),
    (None, "up_proj", "down_proj"),
)
"""What model families call gate, up and down."""


@dataclass(eq=False)
class Neurons(CheckedDataclass):
    """z = the k largest of act(x W_gate + b_gate) (x W_up + b_up), without a gate act(x W_up + b_up) alone.

    t_hat = z W_dec + b_dec. A neuron is as large as what it adds, since rows of W_dec have length 1. Unlike
    latents, neurons may be negative.
    """

    W_up: Float[Tensor, "d_in d_sae"]
    b_up: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_dec: Float[Tensor, " d_out"]
    length: Float[Tensor, " d_sae"]
    """Of what a neuron adds per unit of its activation."""
    k: int
    activation: str
    W_gate: Float[Tensor, "d_in d_sae"] | None = None
    b_gate: Float[Tensor, " d_sae"] | None = None

    @property
    def d_in(self) -> int:
        """Width of the inputs."""
        return self.W_up.shape[0]

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """The k neurons that add most, times the length of what they add."""
        act, z = ACTIVATIONS[self.activation], x @ self.W_up + self.b_up
        if self.W_gate is None or self.b_gate is None:
            z = act(z) * self.length
        else:
            z = act(x @ self.W_gate + self.b_gate) * z * self.length
        kept = z.abs().topk(min(self.k, z.shape[-1]), dim=-1).indices
        return torch.zeros_like(z).scatter(-1, kept, z.gather(-1, kept))

    def decode(self, z: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_out"]:
        """What they add up to."""
        return z @ self.W_dec + self.b_dec

    def reconstruct(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The estimate of the MLP's output; exact with all neurons."""
        return self.decode(self.encode(x))

    def to(self, *, device: Any = None) -> Neurons:
        """The same elsewhere."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors().items()}
        return replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def normalised(
        self, centre: Tensor, factor: float, target_centre: Tensor, target_factor: float
    ) -> Neurons:
        """The same function from (x - centre) * factor to (t - target_centre) * target_factor."""
        gate: dict[str, Any] = {}
        if self.W_gate is not None and self.b_gate is not None:
            gate = {"W_gate": self.W_gate / factor, "b_gate": self.b_gate + centre @ self.W_gate}
        return replace(
            self,
            W_up=self.W_up / factor,
            b_up=self.b_up + centre @ self.W_up,
            b_dec=(self.b_dec - target_centre) * target_factor,
            length=self.length * target_factor,
            **gate,
        )


@torch.no_grad()
def neurons_of(mlp: nn.Module, k: int, activation: str, where: str) -> Neurons:
    """The neurons of a transformers MLP, from raw inputs to raw outputs, the `k` largest of them."""
    names = next((n for n in _NAMES if all(hasattr(mlp, one) for one in n if one)), None)
    if names is None or activation not in ACTIVATIONS:
        there = ", ".join(name for name, _ in mlp.named_children())
        raise BadInputError(
            f"the neurons of {where} are not known (it has {there}, and {activation}): leave them out"
        )
    gate, up, down = names
    W_down, b_dec = _linear(getattr(mlp, down))
    W_up, b_up = _linear(getattr(mlp, up))
    length = torch.linalg.vector_norm(W_down, dim=1)
    more = dict(zip(("W_gate", "b_gate"), _linear(getattr(mlp, gate)), strict=True)) if gate else {}
    W_dec = W_down / length.clamp_min(1e-12)[:, None]
    return Neurons(W_up, b_up, W_dec, b_dec, length, k, activation, **more)


def _linear(layer: Any) -> tuple[Tensor, Tensor]:
    """Weights [in, out] and bias of a linear layer; GPT-2's `Conv1D` keeps them as they are."""
    weight = layer.weight.detach().float()
    weight = weight if type(layer).__name__ == "Conv1D" else weight.T
    bias = weight.new_zeros(weight.shape[1]) if layer.bias is None else layer.bias.detach().float()
    return weight.clone(), bias.clone()
