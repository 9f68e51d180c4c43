"""Lazy by scale: the model of Chizat, Oyallon and Bach, whose output is multiplied by alpha.

What is trained is alpha (h(w) - h(w_0)), with h the autoencoder's reconstruction, on

    1 / alpha^2 E || x - alpha (h(w; x) - h(w_0; x)) ||^2  =  E || (x / alpha + h(w_0; x)) - h(w; x) ||^2,

by plain gradient descent, to which the theory applies (Adam's steps do not shrink with the gradient). The
larger alpha, the less the weights have to move: training becomes lazy, and where an ordinary training lies on
this scale says how lazy it is. The theory is for models that are smooth in their weights. A selection is not:
where two latents are nearly tied, any move, however small, exchanges them, and the output jumps. So each
scale is trained twice, with the supports held as they are at w_0, and with supports that switch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.cells import Task, computes
from sanity.evals import explained_variance
from sanity.evals.alignment import row_cosines
from sanity.evals.kernel_drift import kernel_drift, tangent_kernel
from sanity.evals.laziness import first_order, held_gradients, held_output, linearisation, supports
from sanity.models import Autoencoder, train
from sanity.sources import RunSpec

STEP_SIZE = 0.3
"""Of gradient descent. Below alpha = 1 it falls with alpha^2, since latents, and with them the loss's
curvature, grow as 1 / alpha."""
HELD_OUT = 4096


@dataclass(frozen=True)
class ScaledRun:
    """A run of the centred model at one output scale; its budget counts steps of gradient descent."""

    run: RunSpec
    alpha: float
    held: bool
    """Whether the supports are held as they are at the start."""
    laziness_samples: int
    kernel_samples: int
    known_as: ClassVar[str] = "Scaled"


@computes("train scaled", version=1)
def train_scaled(task: Task) -> None:
    """Descend the gradient at one output scale, and measure how lazy that was."""
    config: ScaledRun = task.config
    run, budget = config.run, config.run.budget
    opened = run.source.open(task.inputs, batch_size=budget.batch_size, seed=run.arm.seed, device=run.device)
    (begun,) = train([run.arm], opened.stream, steps=0, precision=budget.precision)
    start, sae = begun.sae, own_copy(begun.sae)
    held_out = opened.sample[:HELD_OUT]
    x = held_out[: config.laziness_samples]
    with torch.no_grad():
        for step in range(budget.steps):
            descend(sae, start, opened.stream.batch(step), config.alpha, held=config.held)
    kernels = [tangent_kernel(one, x[: config.kernel_samples]) for one in (start, sae)]
    found = linearisation(start, sae, x) | kernel_drift(*kernels)
    before, after = (
        held_output(one, held_out, supports(start if config.held else one, held_out)) for one in (start, sae)
    )
    expected = first_order(start, sae, held_out, supports(start, held_out))
    missed, change = (float((after - other).double().square().sum()) for other in (expected, before))
    found |= {
        "predicted": 1 - missed / change,
        "cosine_decoder": float(row_cosines(sae.W_dec, begun.initial_directions).mean()),
        "cosine_encoder": float(row_cosines(sae.W_enc.T, begun.initial_directions).mean()),
        "explained_variance": float(explained_variance(held_out, config.alpha * (after - before))),
    }
    row = {"alpha": config.alpha, "held": config.held, **found, **run.columns()}
    task.save_table("scaled", pd.DataFrame([row]))


def own_copy(sae: Autoencoder) -> Autoencoder:
    """The same SAE with weights of its own, each matrix with a latent per contiguous row."""
    return dataclasses.replace(
        sae,
        W_enc=sae.W_enc.T.clone().T,
        W_dec=sae.W_dec.clone(),
        b_enc=sae.b_enc.clone(),
        b_dec=sae.b_dec.clone(),
    )


def descend(
    sae: Autoencoder, start: Autoencoder, x: Float[Tensor, "batch d_in"], alpha: float, *, held: bool
) -> None:
    """One step of gradient descent on the batch's loss at scale `alpha`, in place; decoder rows stay unit."""
    first = supports(start, x)
    target = x / alpha + held_output(start, x, first)
    gradients = held_gradients(sae, x, first if held else supports(sae, x), target)
    W_dec = gradients["W_dec"]
    W_dec -= (W_dec * sae.W_dec).sum(1, keepdim=True) * sae.W_dec
    for name, gradient in gradients.items():
        getattr(sae, name).sub_(gradient, alpha=STEP_SIZE * min(1.0, alpha**2))
    sae.W_dec.div_(torch.linalg.vector_norm(sae.W_dec, dim=1, keepdim=True))
