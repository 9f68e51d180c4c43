"""Where an arm starts: initial directions, one calibrated scale, and thresholds on target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.models.arm import Arm, gaussian_matrix
from sanity.models.controller import Controller
from sanity.models.encoding import select
from sanity.models.gradients import LossSpec, Weights, sparse_gradients
from sanity.models.kernels import weighted_sums
from sanity.models.selection import PerBatch, PerRow
from sanity.models.sparsity import JumpReLU, TopK


@dataclass
class Start:
    """What a `Learner` begins with."""

    directions: Float[Tensor, "d_sae d_out"]
    """The initial unit decoder rows, W0: the anchors of every constraint."""
    weights: Weights
    threshold: float
    """BatchTopK's threshold on the first batch; 0 for the others."""
    controller: Controller | None
    encoder_directions: Float[Tensor, "d_sae d_in"] | None = None
    """A transcoder's initial unit encoder rows; an SAE's encoder starts as its decoder."""


def initial_directions(
    arm: Arm,
    d_in: int,
    covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    dtype: torch.dtype = torch.float32,
    *,
    encoder: bool = False,
) -> Float[Tensor, "d_sae d_in"]:
    """The unit rows W0 that an arm's decoder starts with; the same for all arms of one seed and init.

    With `encoder`, those that a transcoder's encoder starts with: of inputs `d_in` wide.
    """
    drawn = gaussian_matrix(arm.seed, arm.d_sae, d_in, encoder=encoder)
    directions = arm.init.directions(drawn, covariance)
    if directions.shape != (arm.d_sae, d_in) or not bool(directions.isfinite().all()):
        raise BadInputError(
            f"the init {arm.init.label} gave directions {list(directions.shape)}, but finite unit "
            f"rows [{arm.d_sae}, {d_in}] are needed: check the stream's covariance"
        )
    return functional.normalize(directions.to(dtype), dim=1)


def calibrated_start(
    arm: Arm, directions: Float[Tensor, "d_sae d_in"], x: Float[Tensor, "batch d_in"]
) -> Start:
    """The start of an arm with the given directions, calibrated on the first batch `x`.

    The encoder is the transposed decoder times one scalar, the same for all latents: the one that
    reconstructs the first batch best. Scaling all pre-activations and thresholds together does not change
    which latents are active, so it has a closed form: alpha = <x, x_1> / <x_1, x_1>, with x_1 the
    reconstruction at alpha = 1. L0 starts on target for all: TopK and BatchTopK have it by their rule,
    JumpReLU by one shared threshold, ReLU by one shared encoder bias. All other biases start at zero.

    Raises `BadInputError` when nothing can be calibrated on the batch because it is zero.
    """
    architecture, batch = arm.architecture, x.shape[0]
    no_bias = directions.new_zeros(arm.d_sae)
    rule = PerRow(architecture.k) if isinstance(architecture, TopK) else PerBatch(architecture.l0)
    found = select(x, directions, no_bias, rule)
    # A little below the smallest selected value, which must stay selected.
    level = float(found.values.min()) * (1 - 1e-6) if found.values.numel() else 0.0
    if architecture.penalty == "l1":
        found.values = found.values - level
    rebuilt = weighted_sums(found, directions)
    along = float(torch.linalg.vecdot(x, rebuilt).sum(dtype=torch.float64)) / batch
    across = float(torch.linalg.vecdot(rebuilt, rebuilt).sum(dtype=torch.float64)) / batch
    if not (along > 0 and across > 0):
        raise BadInputError(
            "the first batch cannot set the encoder's scale, since no latent is active on it: "
            "is the data constant or zero?"
        )
    alpha = along / across
    weights = Weights(
        W_enc_t=directions * alpha,
        W_dec=directions.clone() if "W_dec" in arm.constraint.learns else directions,
        b_enc=no_bias - alpha * level if architecture.penalty == "l1" else no_bias,
        b_dec=directions.new_zeros(x.shape[1]),
    )
    if isinstance(architecture, JumpReLU):
        first = architecture.initial_threshold or alpha * level
        weights.log_threshold = torch.full_like(no_bias, math.log(max(first, 1e-12)))
    controller = _balanced(arm, weights, x) if architecture.penalty != "none" else None
    averaged = architecture.threshold == "averaged"
    return Start(directions, weights, alpha * level if averaged else 0.0, controller)


def paired_start(
    arm: Arm,
    encoder_directions: Float[Tensor, "d_sae d_in"],
    directions: Float[Tensor, "d_sae d_out"],
    x: Float[Tensor, "batch d_in"],
) -> Start:
    """The start of a transcoder: an encoder as that of an SAE of its inputs, and a decoder of its own.

    They live in two spaces, so that the encoder cannot start as the decoder. Its scale, thresholds and
    coefficient are those with which an SAE of the inputs `x` would start; the skip starts at 0.
    """
    start = calibrated_start(arm, encoder_directions, x)
    weights = start.weights
    weights.W_dec = directions.clone() if "W_dec" in arm.constraint.learns else directions
    weights.b_dec = directions.new_zeros(directions.shape[1])
    if arm.objective.has_skip:
        weights.W_skip = directions.new_zeros(x.shape[1], directions.shape[1])
    if not arm.constraint.latents_fire:
        weights.W_enc_t.zero_()
        weights.b_enc.fill_(-1.0)
    return replace(start, directions=directions, encoder_directions=encoder_directions)


def _balanced(arm: Arm, weights: Weights, x: Float[Tensor, "batch d_in"]) -> Controller:
    """A controller that starts where penalty and reconstruction balance on the first batch.

    That is the coefficient at which the gradients of the thresholds (ReLU: of the encoder's biases) sum to
    0. They are linear in it, so two evaluations give it.
    """
    architecture = arm.architecture
    threshold = weights.threshold
    found = select(x, weights.W_enc_t, weights.b_enc, architecture.training_rule(threshold))
    moved = "b_enc" if threshold is None else "threshold"
    without, with_one = (
        float(sparse_gradients(weights, x, found, spec).gradients[moved].sum())
        for spec in (LossSpec(architecture, frozenset({moved}), c) for c in (0.0, 1.0))
    )
    balance = -without / (with_one - without) if with_one != without else 0.0
    unit = float(found.values.square().mean()) if threshold is not None else float(found.values.mean())
    return Controller(architecture.l0, unit, balance / unit, gain=8.0 if threshold is None else 4.0)
