"""The whole sparse autoencoder in one screen: plain PyTorch and autograd, with a shape at every tensor.

    sae = PlainAutoencoder(TopK(8), directions)  # unit rows, [d_sae, d_in]
    sae.loss(x).backward()                       # x [batch, d_in]

This is the definition. The files next to it compute the same faster, and are tested against it:
`selection.py` and `encoding.py` (which latents are active), `gradients.py` (by hand), `learner.py` (a step).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sanity.errors import BadInputError
from sanity.models.sparsity import Architecture, BatchTopK, JumpReLU, ReLU, TopK

Latents = Float[Tensor, "batch d_sae"]


class Step(torch.autograd.Function):
    """H(u - theta), and for theta the slope of a ramp: the straight-through estimator of 2407.14435."""

    @staticmethod
    def forward(ctx: Any, u: Latents, theta: Float[Tensor, " d_sae"], w: float) -> Latents:
        """1 where u is above its threshold, and 0 elsewhere."""
        ctx.near, ctx.w = (u - theta).abs() < w / 2, w  # [batch, d_sae], a number
        return (u > theta).to(u.dtype)  # [batch, d_sae]

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[None, Float[Tensor, " d_sae"], None]:
        """The slope for theta alone: minus 1/w within w/2 of the threshold."""
        return None, -(above[0] * ctx.near).sum(0) / ctx.w, None  # [d_sae]


class PlainAutoencoder(nn.Module):
    """u = (x - b_dec) W_enc + b_enc,   z = u where selected,   x_hat = z W_dec + b_dec,   unit rows in W_dec.

    It starts tied (W_enc is W_dec transposed) and without biases. After `.eval()` a latent of a sample does
    not depend on the other samples of its batch, as in `Autoencoder`.
    """

    def __init__(self, architecture: Architecture, directions: Float[Tensor, "d_sae d_in"]) -> None:
        super().__init__()
        d_sae, d_in = directions.shape
        self.architecture = architecture
        self.W_dec = nn.Parameter(directions.clone())  # [d_sae, d_in]
        self.W_enc = nn.Parameter(directions.T.clone())  # [d_in, d_sae]
        self.b_enc = nn.Parameter(directions.new_zeros(d_sae))  # [d_sae]
        self.b_dec = nn.Parameter(directions.new_zeros(d_in))  # [d_in]
        if isinstance(architecture, JumpReLU):
            self.log_theta = nn.Parameter(directions.new_zeros(d_sae))  # [d_sae]
        self.smallest: Tensor  # [], BatchTopK: running average of the smallest selected value
        self.register_buffer("smallest", directions.new_zeros(()))

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Latents:
        """The latents z."""
        return self._select(x)[0]  # [batch, d_sae]

    def decode(self, z: Latents) -> Float[Tensor, "batch d_in"]:
        """The reconstruction x_hat."""
        return z @ self.W_dec + self.b_dec  # [batch, d_in]

    def loss(self, x: Float[Tensor, "batch d_in"], coefficient: float = 0.0) -> Float[Tensor, ""]:
        """||x_hat - x||^2, summed over nested prefixes, plus coefficient * penalty; mean over samples."""
        z, gate = self._select(x)  # [batch, d_sae] both
        loss = x.new_zeros(())  # []
        for end in self.architecture.prefixes(z.shape[1]):  # Matryoshka has several; the others d_sae alone
            x_hat = z[:, :end] @ self.W_dec[:end] + self.b_dec  # [batch, d_in]
            loss = loss + (x_hat - x).square().sum(1).mean()  # []
        if self.architecture.penalty == "l1":  # ReLU
            loss = loss + coefficient * z.sum(1).mean()  # []
        elif self.architecture.penalty == "l0":  # JumpReLU
            loss = loss + coefficient * gate.sum(1).mean()  # []
        return loss

    def _select(self, x: Float[Tensor, "batch d_in"]) -> tuple[Latents, Latents]:
        """z, and its gate: 1 where a latent is active."""
        u = (x - self.b_dec) @ self.W_enc + self.b_enc  # [batch, d_sae]
        match self.architecture:
            case ReLU():
                gate = (u > 0).to(u.dtype)  # [batch, d_sae]
            case TopK(k=k):
                best = u.topk(k, dim=1).indices  # [batch, k]
                gate = torch.zeros_like(u).scatter(1, best, 1.0) * (u > 0)  # [batch, d_sae]
            case BatchTopK(k=k, threshold_decay=decay) if self.training:  # Matryoshka is a BatchTopK, too
                best = u.flatten().topk(k * len(u)).indices  # [k * batch]
                gate = torch.zeros_like(u).flatten().scatter(0, best, 1.0).view_as(u) * (u > 0)
                if gate.any():
                    self.smallest.lerp_(u.detach()[gate > 0].min(), 1 - decay)  # []
            case BatchTopK():
                gate = (u > self.smallest.clamp_min(0)).to(u.dtype)  # [batch, d_sae]
            case JumpReLU(bandwidth=w):
                theta = self.log_theta.exp()  # [d_sae]
                gate = Step.apply(u, theta, w)  # type: ignore[no-untyped-call]  # [batch, d_sae]
                # The second term is 0. Through it theta learns with slope theta * dH, as in the paper.
                return u * gate.detach() + theta.detach() * (gate - gate.detach()), gate
            case other if other.threshold == "none":  # one of your own, by the mask of its rule
                gate = other.training_rule(None).mask(u).to(u.dtype)  # [batch, d_sae]
            case _:
                raise BadInputError(f"plain.py cannot select for {self.architecture.label}: add a case")
        return u * gate, gate  # [batch, d_sae] both

    @torch.no_grad()
    def only_turn(self) -> None:
        """Before an optimiser's step: take out of W_dec's gradient what would change the rows' lengths."""
        W, g = self.W_dec, self.W_dec.grad  # [d_sae, d_in] both
        if g is not None:
            g -= (g * W).sum(1, keepdim=True) * W  # [d_sae, d_in]

    @torch.no_grad()
    def make_unit(self) -> None:
        """After an optimiser's step: rows of W_dec back to length 1; a frozen one keeps its bits."""
        if self.W_dec.requires_grad:
            self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))  # [d_sae, d_in]
