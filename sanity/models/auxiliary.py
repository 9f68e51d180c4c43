"""The auxiliary loss that lets dead latents fit the residual of the others (Gao et al. 2406.04093, A.2)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sanity.engine.products import product
from sanity.models.gradients import Gradients, Weights
from sanity.models.hyperparameters import Training
from sanity.models.kernels import block_rows


def add_auxiliary(
    weights: Weights,
    x: Float[Tensor, "batch d_in"],
    residual: Float[Tensor, "batch d_out"],
    dead: Bool[Tensor, " d_sae"],
    training: Training,
    gradients: Gradients,
    *,
    tied: bool = True,
) -> float:
    """Add the gradients of `auxiliary / B sum_x ||e - e_hat||^2` in place; returns that loss.

    e = x - x_hat is held constant, and e_hat is the reconstruction by the `auxiliary_k` largest dead
    pre-activations of each sample. `x` is what the encoder reads (an SAE's: less `b_dec`), and `residual` is
    x_hat less its target. In an SAE `b_dec` acts on both sides (`tied`).
    """
    index = dead.nonzero().squeeze(1)
    k = min(training.auxiliary_k or max(1, x.shape[1] // 2), index.numel())
    W_enc_t, W_dec, b_enc = weights.W_enc_t[index], weights.W_dec[index], weights.b_enc[index]
    batch, loss = x.shape[0], 0.0
    d_dec, d_enc, d_b = torch.zeros_like(W_dec), torch.zeros_like(W_enc_t), torch.zeros_like(b_enc)
    size = block_rows(batch, index.numel(), x.device)
    for first in range(0, batch, size):
        part = x[first : first + size]
        pre = product(part, W_enc_t, b_enc)
        top = pre.topk(k, dim=1)
        z = torch.zeros_like(pre).scatter_(1, top.indices, top.values.relu())
        error = z @ W_dec + residual[first : first + size]
        loss += training.auxiliary * float(error.square().sum(dtype=torch.float64)) / batch
        g = error * (2 * training.auxiliary / batch)
        du = (g @ W_dec.T) * (z > 0)
        d_dec.addmm_(z.T, g)
        d_enc.addmm_(du.T, part)
        d_b.add_(du.sum(0))
    for name, value in (("W_dec", d_dec), ("W_enc", d_enc), ("b_enc", d_b)):
        if name in gradients:
            gradients[name].index_add_(0, index, value)
    if "b_dec" in gradients and tied:
        gradients["b_dec"].sub_(W_enc_t.T @ d_b)
    return loss
