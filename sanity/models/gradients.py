"""Hand-written gradients of one batch: sparse where the mathematics is sparse, and a plain dense way.

    u = (x - b_dec) W_enc + b_enc          z = u where selected          x_hat_p = z[:, :p] W_dec[:p] + b_dec
    loss = 1/B sum_x ( sum_p ||x_hat_p - x||^2 + penalty )

over the nested prefixes p of the dictionary (one, except for Matryoshka). With g_p = 2/B (x_hat_p - x) and
G_j the sum of g_p over the prefixes that hold latent j:

    dz_j = <G_j, W_dec[j]>     dW_dec[j] = sum_x z_j G_j     dW_enc[:, j] = sum_x du_j (x - b_dec)
    db_dec = sum_x sum_p g_p - W_enc db_enc

where du_j = dz_j for selected latents. The L1 penalty adds c/B to their du. For JumpReLU (2407.14435,
equations 11 and 12) dtheta_j = -1/w sum over |u_j - theta_j| < w/2 of (theta_j dz_j + c/B), where c is the
coefficient of L0 and w the bandwidth; it is taken with respect to log theta.

A transcoder reads x as it is, and a target t stands for the x of the loss; its skip adds x W_skip to x_hat.
Then db_dec has no second term, and dW_skip = sum_x x^T sum_p g_p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sanity.models.kernels import row_sums, sampled_products, transposed, weighted_sums
from sanity.models.selection import Rows
from sanity.models.sparsity import Architecture, JumpReLU

Gradients = dict[str, Tensor]
Spans = list[tuple[int, int]]


@dataclass
class Weights:
    """Parameters as the kernels read them: both matrices with a latent per contiguous row.

    An SAE's d_out is its d_in.
    """

    W_enc_t: Float[Tensor, "d_sae d_in"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_enc: Float[Tensor, " d_sae"]
    b_dec: Float[Tensor, " d_out"]
    log_threshold: Float[Tensor, " d_sae"] | None = None
    W_skip: Float[Tensor, "d_in d_out"] | None = None

    @property
    def threshold(self) -> Float[Tensor, " d_sae"] | None:
        """Above which a latent is active; None where no threshold is learned."""
        return None if self.log_threshold is None else self.log_threshold.exp()

    def by_name(self) -> dict[str, Tensor]:
        """The tensors by the names that constraints use."""
        named = {"W_enc": self.W_enc_t, "W_dec": self.W_dec, "b_enc": self.b_enc, "b_dec": self.b_dec}
        more = {"threshold": self.log_threshold, "W_skip": self.W_skip}
        return named | {name: value for name, value in more.items() if value is not None}


@dataclass
class Outcome:
    """What one batch says about an arm."""

    squared_error: float
    """Mean over samples of ||x - x_hat||^2, by the whole dictionary."""
    loss: float
    """All that is minimised, penalty included."""
    l0: float
    fired: Bool[Tensor, " d_sae"]
    smallest: float
    """The smallest value of an active latent, for BatchTopK's threshold; NaN without one."""
    residual: Float[Tensor, "batch d_out"]
    """x_hat - x by the whole dictionary; a transcoder's: less its target."""
    gradients: Gradients = field(default_factory=dict)


@dataclass(frozen=True)
class LossSpec:
    """What is minimised, and with respect to what."""

    architecture: Architecture
    learns: frozenset[str]
    coefficient: float = 0.0
    """Of the penalty, on the scale of a single sample's squared error."""

    @property
    def bandwidth(self) -> float:
        """Of the straight-through kernel; 0 where no threshold has a gradient."""
        return self.architecture.bandwidth if isinstance(self.architecture, JumpReLU) else 0.0

    def spans(self, d_sae: int) -> Spans:
        """Ranges of latents between one prefix's end and the next."""
        ends = self.architecture.prefixes(d_sae)
        return list(zip((0, *ends[:-1]), ends, strict=True))


def sparse_gradients(
    weights: Weights,
    x: Float[Tensor, "batch d_in"],
    found: Rows,
    spec: LossSpec,
    target: Float[Tensor, "batch d_out"] | None = None,
) -> Outcome:
    """Loss and gradients at the cost of the selected entries; `found` holds pre-activations.

    `x` is what the encoder reads, `target` what the latents are to sum up to; None: `x`, as in an SAE.
    """
    batch, spans = x.shape[0], spec.spans(found.width)
    z, n_active = found, found.values.numel()
    if (threshold := weights.threshold) is not None:  # some entries are there for its gradient only
        active = found.values > threshold[found.latents.long()]
        z, n_active = replace(found, values=found.values * active), int(active.sum())
    residuals = _residuals(weights, x if target is None else target, z, spans)
    errors = [squares(residual) / batch for residual in residuals]
    columns, order = transposed(z)  # latent by latent: products then read each latent's rows once
    averaged = spec.architecture.threshold == "averaged" and n_active > 0
    outcome = Outcome(
        squared_error=errors[-1],
        loss=sum(errors) + penalty(spec, z.values, n_active, batch),
        l0=n_active / batch,
        fired=columns.counts > 0 if z is found else row_sums(columns, columns.values) > 0,
        smallest=float(z.values.min()) if averaged else math.nan,
        residual=residuals[-1],
    )
    if spec.learns:
        # From the residual of each prefix to the sum over all prefixes from it on.
        for longer, shorter in pairwise(reversed(residuals)):
            shorter.add_(longer)
        pre = found.values.index_select(0, order)
        outcome.gradients = _latent_gradients(weights, x, columns, pre, residuals, spans, spec)
        if "W_skip" in spec.learns:
            outcome.gradients["W_skip"] = (x.T @ residuals[0]).mul_(2 / batch)
        through_decoder = residuals[0].sum(0) * (2 / batch)
        finish(weights, outcome.gradients, through_decoder, spec.learns, tied=target is None)
    return outcome


def _residuals(
    weights: Weights, target: Float[Tensor, "batch d_out"], z: Rows, spans: Spans
) -> list[Float[Tensor, "batch d_out"]]:
    """x_hat less its target for every prefix."""
    residuals: list[Tensor] = []
    for lo, hi in spans:
        part = z if len(spans) == 1 else z.where((z.latents >= lo) & (z.latents < hi))
        rebuilt = weighted_sums(part, weights.W_dec)
        residuals.append(rebuilt.add_(residuals[-1]) if residuals else rebuilt.sub_(target))
    return residuals


def _latent_gradients(
    weights: Weights,
    x: Float[Tensor, "batch d_in"],
    columns: Rows,
    pre: Float[Tensor, " n"],
    residuals: list[Float[Tensor, "batch d_out"]],
    spans: Spans,
    spec: LossSpec,
) -> Gradients:
    """Gradients of everything that belongs to a latent; G of a span is 2 / B times its residual.

    `columns` holds latent values and `pre` the pre-activations of the same entries, latent by latent.
    """
    learns, scale, out = spec.learns, 2 / x.shape[0], Gradients()
    parts = [(columns.rows_from(lo, hi), G) for (lo, hi), G in zip(spans, residuals, strict=True)]
    if "W_dec" in learns:
        out["W_dec"] = torch.cat([weighted_sums(part, G, part.values * scale) for part, G in parts])
    if not learns - {"W_dec"}:
        return out
    rows = [weights.W_dec[lo:hi] for lo, hi in spans]
    dz = torch.cat([sampled_products(part, W, G) for W, (part, G) in zip(rows, parts, strict=True)]) * scale
    du, penalty = dz, spec.coefficient / x.shape[0]
    if (threshold := weights.threshold) is not None:
        theta = threshold.repeat_interleave(columns.counts)
        if "threshold" in learns:
            near = (pre - theta).abs() < spec.bandwidth / 2
            total = row_sums(columns, (theta * dz + penalty) * near)
            out["threshold"] = total * threshold / -spec.bandwidth
        du = dz * (pre > theta)
    elif spec.architecture.penalty == "l1":
        du = dz + penalty
    if "W_enc" in learns:
        out["W_enc"] = weighted_sums(columns, x, du)
    out["b_enc"] = row_sums(columns, du)
    return out


def finish(
    weights: Weights,
    gradients: Gradients,
    through_decoder: Float[Tensor, " d_out"],
    learns: frozenset[str],
    *,
    tied: bool,
) -> None:
    """Add the gradient of `b_dec`, which in an SAE acts on both sides, and keep those of what learns."""
    if "b_dec" in learns:
        gradients["b_dec"] = (
            through_decoder - weights.W_enc_t.T @ gradients["b_enc"] if tied else through_decoder
        )
    for name in gradients.keys() - learns:
        del gradients[name]


def squares(residual: Float[Tensor, "rows d_in"]) -> float:
    """Sum of squares, in float64 over rows."""
    return float(torch.linalg.vecdot(residual, residual).sum(dtype=torch.float64))


def penalty(spec: LossSpec, values: Float[Tensor, " n"], n_active: int, batch: int) -> float:
    """What the active latents of a batch add to its loss."""
    if spec.architecture.penalty == "l0":
        return spec.coefficient * n_active / batch
    if spec.architecture.penalty == "l1":
        return spec.coefficient * float(values.sum(dtype=torch.float64)) / batch
    return 0.0
