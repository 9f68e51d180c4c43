"""Where an arm starts: initial directions, one calibrated scale, and thresholds on target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.models.arm import Arm, gaussian_matrix
from sanity.models.controller import Controller
from sanity.models.gradients import Objective, Weights, dense_gradients, sparse_gradients
from sanity.models.kernels import block_rows, product, select, select_sparse, weighted_sums
from sanity.models.selection import PerBatch, Rule
from sanity.models.sparsity import JumpReLU


@dataclass
class Start:
    """What a `Learner` begins with."""

    directions: Float[Tensor, "d_sae d_in"]
    """The initial unit decoder rows, W0: the anchors of every constraint."""
    weights: Weights
    threshold: float
    """BatchTopK's threshold on the first batch; 0 for the others."""
    controller: Controller | None


def initial_directions(
    arm: Arm,
    d_in: int,
    covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "d_sae d_in"]:
    """The unit rows W0 that an arm's decoder starts with; the same for all arms of one seed and init."""
    directions = arm.init.directions(gaussian_matrix(arm.seed, arm.d_sae, d_in), covariance)
    if directions.shape != (arm.d_sae, d_in) or not bool(directions.isfinite().all()):
        raise BadInputError(
            f"the init {arm.init.name} gave directions {list(directions.shape)}, wanted are finite unit rows "
            f"[{arm.d_sae}, {d_in}]: check the stream's covariance"
        )
    return functional.normalize(directions.to(dtype), dim=1)


def calibrated_start(
    arm: Arm, directions: Float[Tensor, "d_sae d_in"], x: Float[Tensor, "batch d_in"]
) -> Start:
    """The start of an arm with the given directions, calibrated on the first batch `x`.

    The encoder is the transposed decoder times one scalar, the same for all latents: that at which the
    first batch is reconstructed best. Since selection does not depend on the scale of all pre-activations
    together, it has a closed form, alpha = <x, x_1> / <x_1, x_1> with x_1 the reconstruction at alpha = 1.
    Biases start at zero, and JumpReLU's thresholds at the one value that gives the target L0.

    Raises `BadInputError` when nothing can be calibrated on the batch because it is zero.
    """
    architecture = arm.architecture
    rule = (
        PerBatch(architecture.l0) if architecture.threshold == "learned" else architecture.training_rule(None)
    )
    alpha, smallest = _calibrated(x, directions, rule)
    weights = Weights(
        W_enc_t=directions * alpha,
        W_dec=directions.clone() if "W_dec" in arm.constraint.learns else directions,
        b_enc=directions.new_zeros(arm.d_sae),
        b_dec=directions.new_zeros(x.shape[1]),
    )
    if isinstance(architecture, JumpReLU):
        level = architecture.initial_threshold or alpha * smallest * (1 - 1e-6)
        weights.log_threshold = torch.full_like(weights.b_enc, math.log(level))
    controller = _controller(arm, weights, x) if architecture.penalty != "none" else None
    averaged = architecture.threshold == "averaged"
    return Start(directions, weights, alpha * smallest if averaged else 0.0, controller)


def _calibrated(
    x: Float[Tensor, "batch d_in"], directions: Float[Tensor, "d_sae d_in"], rule: Rule
) -> tuple[float, float]:
    """The best scale of a tied encoder, and the smallest value selected at scale 1."""
    no_bias = directions.new_zeros(directions.shape[0])
    find = select if rule.whole_batch else select_sparse
    found = find(x, directions, no_bias, rule)
    along = across = 0.0
    size = x.shape[0] if found is not None else block_rows(x.shape[0], directions.shape[0], x.device)
    for first in range(0, x.shape[0], size):
        part = x[first : first + size]
        if found is not None:
            rebuilt = weighted_sums(found, directions)
        else:
            pre = product(part, directions, no_bias)
            rebuilt = (pre * rule.mask(pre)) @ directions
        along += float((part * rebuilt).sum(dtype=torch.float64))
        across += float(rebuilt.square().sum(dtype=torch.float64))
    if not (along > 0 and across > 0):
        raise BadInputError(
            "the first batch cannot set the encoder's scale, for no latent answers to it: "
            "is the data constant or zero?"
        )
    smallest = float(found.values.min()) if found is not None else 0.0
    return along / across, smallest


def _controller(arm: Arm, weights: Weights, x: Float[Tensor, "batch d_in"]) -> Controller:
    """A controller that starts where the penalty and the reconstruction balance on the first batch.

    JumpReLU: the coefficient at which the thresholds' gradients sum to 0. Since that gradient is linear in
    the coefficient, two evaluations tell. ReLU: the mean size of the reconstruction's pull on active latents.
    """
    architecture = arm.architecture
    if isinstance(architecture, JumpReLU) and weights.log_threshold is not None:
        threshold = weights.log_threshold.exp()
        found = select(x, weights.W_enc_t, weights.b_enc, architecture.training_rule(threshold))
        without, with_one = (
            float(sparse_gradients(weights, x, found, objective).gradients["threshold"].sum())
            for objective in (Objective(architecture, frozenset({"threshold"}), c) for c in (0.0, 1.0))
        )
        balance = -without / (with_one - without) if with_one != without else 0.0
        least = 1e-3 * float(threshold.square().mean())
        return Controller(architecture.l0, math.log(max(balance, least)), 0.01, 1.0)
    outcome = dense_gradients(weights, x, Objective(architecture, frozenset({"b_enc"})))
    pull = float(outcome.gradients["b_enc"].abs().sum()) / max(outcome.l0, 1e-9)
    return Controller(architecture.l0, math.log(max(pull, 1e-6)), 0.01, 1.0)
