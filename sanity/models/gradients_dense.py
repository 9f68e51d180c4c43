"""Loss and gradients by dense products and masks: cheaper than by entries when many latents are active."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.products import product
from sanity.models.gradients import LossSpec, Outcome, Weights, finish, penalty, squares
from sanity.models.kernels import block_rows
from sanity.models.selection import Rule


def dense_gradients(
    weights: Weights,
    x: Float[Tensor, "batch d_in"],
    spec: LossSpec,
    target: Float[Tensor, "batch d_out"] | None = None,
) -> Outcome:
    """What `sparse_gradients` gives, by dense products and masks.

    It works through blocks of rows, except for rules that need the whole batch.
    """
    rule = spec.architecture.training_rule(weights.threshold)
    batch, d_sae = x.shape[0], weights.W_dec.shape[0]
    size = batch if rule.whole_batch else block_rows(batch, d_sae, x.device)
    fired = torch.zeros(d_sae, dtype=torch.bool, device=x.device)
    total = Outcome(0.0, 0.0, 0.0, fired, math.inf, x)
    residuals = []
    for first in range(0, batch, size):
        rows = slice(first, first + size)
        part = _dense_block(weights, x[rows], x[rows] if target is None else target[rows], batch, rule, spec)
        residuals.append(part.residual)
        _add(total, part)
    total.residual = torch.cat(residuals)
    if not total.l0:
        total.smallest = math.nan
    if spec.learns:
        through_decoder = total.gradients.pop("through_decoder")
        finish(weights, total.gradients, through_decoder, spec.learns, tied=target is None)
    return total


def _add(total: Outcome, part: Outcome) -> None:
    total.squared_error += part.squared_error
    total.loss += part.loss
    total.l0 += part.l0
    total.fired |= part.fired
    total.smallest = min(total.smallest, part.smallest)
    for name, value in part.gradients.items():
        total.gradients[name] = total.gradients[name] + value if name in total.gradients else value


def _dense_block(
    weights: Weights,
    x: Float[Tensor, "rows d_in"],
    target: Float[Tensor, "rows d_out"],
    batch: int,
    rule: Rule,
    spec: LossSpec,
) -> Outcome:
    """What some rows of a batch add to its loss and gradients."""
    u, threshold = product(x, weights.W_enc_t, weights.b_enc), weights.threshold
    active = rule.mask(u) if threshold is None else u > threshold
    z = u * active
    residuals, residual = [], -target
    spans = spec.spans(u.shape[1])
    for lo, hi in spans:
        residual = residual + z[:, lo:hi] @ weights.W_dec[lo:hi]
        residuals.append(residual)
    errors = [squares(residual) / batch for residual in residuals]
    values = z[active]
    outcome = Outcome(
        squared_error=errors[-1],
        loss=sum(errors) + penalty(spec, values, values.numel(), batch),
        l0=values.numel() / batch,
        fired=active.any(0),
        smallest=float(values.min()) if values.numel() else math.inf,
        residual=residual,
    )
    if not spec.learns:
        return outcome
    gradients = outcome.gradients
    G = torch.stack(residuals).flip(0).cumsum(0).flip(0) * (2 / batch)
    gradients["through_decoder"] = G[0].sum(0)
    if "W_skip" in spec.learns:
        gradients["W_skip"] = x.T @ G[0]
    dz = torch.cat([G[i] @ weights.W_dec[lo:hi].T for i, (lo, hi) in enumerate(spans)], dim=1)
    du = dz * active
    if spec.architecture.penalty == "l1":
        du = du + active.to(du.dtype) * (spec.coefficient / batch)
    if "W_dec" in spec.learns:
        gradients["W_dec"] = torch.cat([z[:, lo:hi].T @ G[i] for i, (lo, hi) in enumerate(spans)])
    if "W_enc" in spec.learns:
        gradients["W_enc"] = du.T @ x
    gradients["b_enc"] = du.sum(0)
    if threshold is not None and "threshold" in spec.learns:
        near = (u - threshold).abs() < spec.bandwidth / 2
        slope = ((threshold * dz + spec.coefficient / batch) * near).sum(0)
        gradients["threshold"] = slope * threshold / -spec.bandwidth
    return outcome
