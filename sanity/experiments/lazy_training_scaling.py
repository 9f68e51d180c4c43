"""Lazy by scale: the model of Chizat, Oyallon and Bach, whose output is multiplied by alpha.

What is trained is alpha (h(w) - h(w_0)), with h the autoencoder's reconstruction, on

    1 / alpha^2 E || x - alpha (h(w; x) - h(w_0; x)) ||^2  =  E || (x / alpha + h(w_0; x)) - h(w; x) ||^2,

by plain gradient descent, to which the theory applies (Adam's steps do not shrink with the gradient). The
larger alpha, the less the weights have to move: training becomes lazy. Where an ordinary training lies on
this scale says how lazy it is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.cells import Cell, Cost, Task, computes
from sanity.evals import explained_variance, kernel_drift, linearisation, row_cosines, tangent_kernel
from sanity.experiments.lazy_training_sources import LazyRun, about, open_source, toy_run
from sanity.models import Autoencoder, TopK, train
from sanity.profiles import Profile

STEP_SIZE = 0.3


@dataclass(frozen=True)
class Scaled:
    """A run of the centred model at one output scale."""

    run: LazyRun
    alpha: float
    steps: int
    batch_size: int
    laziness_samples: int
    kernel_samples: int


@computes(version=1, threads=1)
def train_scaled(task: Task) -> None:
    """Descend the gradient at one output scale, and measure how lazy that was."""
    config: Scaled = task.config
    run = dataclasses.replace(config.run, batch_size=config.batch_size)
    opened = open_source(run, task.inputs)
    (begun,) = train([run.arm], opened.stream, steps=0, precision=run.precision)
    start, sae = begun.sae, own_copy(begun.sae)
    with torch.no_grad():
        for step in range(config.steps):
            descend(sae, start, opened.stream.batch(step), config.alpha)
    x, held_out = opened.held_out[: config.laziness_samples], opened.held_out
    kernels = [tangent_kernel(one, x[: config.kernel_samples]) for one in (start, sae)]
    output = config.alpha * (sae.reconstruct(held_out) - start.reconstruct(held_out))
    found = {
        **linearisation(start, sae, x),
        **kernel_drift(*kernels),
        "cosine_decoder": float(row_cosines(sae.W_dec, begun.initial_directions).mean()),
        "cosine_encoder": float(row_cosines(sae.W_enc.T, begun.initial_directions).mean()),
        "explained_variance": float(explained_variance(held_out, output)),
    }
    task.save_table("scaled", pd.DataFrame([{"alpha": config.alpha, **found, **about(run)}]))


def own_copy(sae: Autoencoder) -> Autoencoder:
    """The same SAE with weights of its own, each matrix with a latent per contiguous row."""
    return dataclasses.replace(
        sae,
        W_enc=sae.W_enc.T.clone().T,
        W_dec=sae.W_dec.clone(),
        b_enc=sae.b_enc.clone(),
        b_dec=sae.b_dec.clone(),
    )


def descend(sae: Autoencoder, start: Autoencoder, x: Float[Tensor, "batch d_in"], alpha: float) -> None:
    """One step of gradient descent on the batch's loss at scale `alpha`, in place; decoder rows stay unit."""
    target = x / alpha + start.reconstruct(x)
    gradients = scaled_gradients(sae, x, target)
    W_dec = gradients["W_dec"]
    W_dec -= (W_dec * sae.W_dec).sum(1, keepdim=True) * sae.W_dec
    for name, gradient in gradients.items():
        getattr(sae, name).sub_(gradient, alpha=STEP_SIZE)
    sae.W_dec.div_(torch.linalg.vector_norm(sae.W_dec, dim=1, keepdim=True))


def scaled_gradients(
    sae: Autoencoder, x: Float[Tensor, "batch d_in"], target: Float[Tensor, "batch d_in"]
) -> dict[str, Tensor]:
    """Gradients of the batch's mean ||h(x) - target||^2 with supports as they are; z is dense."""
    z = sae.encode(x)
    residual = (z @ sae.W_dec + sae.b_dec - target) * (2 / len(x))
    through = (residual @ sae.W_dec.T) * (z > 0)
    b_enc = through.sum(0)
    return {
        "W_dec": z.T @ residual,
        "W_enc": ((x - sae.b_dec).T @ through),
        "b_enc": b_enc,
        "b_dec": residual.sum(0) - sae.W_enc @ b_enc,
    }


def scaling_cells(profile: Profile) -> list[Cell]:
    """One cell per output scale, on the synthetic world, with TopK whatever else the profile trains."""
    grid = profile.lazy
    run = toy_run(profile, "constant", seed=grid.course_seeds[0])
    topk = dataclasses.replace(run, arm=dataclasses.replace(run.arm, architecture=TopK(k=run.l0)))
    return [
        train_scaled.cell(
            Scaled(
                topk,
                alpha,
                grid.scaling_steps,
                grid.scaling_batch,
                grid.laziness_samples,
                grid.kernel_samples,
            ),
            label=f"output scale {alpha:g}",
            stage="toy",
            cost=Cost(
                1.0
                + 2.5e-11
                * grid.scaling_steps
                * grid.scaling_batch
                * run.arm.d_sae
                * profile.toy.worlds[0].d_in
            ),
        )
        for alpha in grid.output_scales
    ]
