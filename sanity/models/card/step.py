"""One step of a stack of arms, as a graphics card wants it: static shapes, and no number read by the host.

It is `Learner.learn` (see `gradients.py` for the formulas) with a leading dimension of arms. What differs
between arms (rates, what learns, cones, coefficients) are numbers on the device; what the stack shares
(architecture, shapes, hyper-parameters) are branches of Python, which a captured graph has taken once.

Where other processes hold the other latents, `state.shards` asks them for what goes through all of them: the
selection, reconstructions, and a few sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.models.card.entries import Entries, among_best
from sanity.models.card.plain import Adam, Columns, move
from sanity.models.card.state import State
from sanity.models.selection import Above, rounding_error


@dataclass
class StepEntries:
    """The entries that a step works with, sample by sample."""

    entries: Entries
    z: Float[Tensor, " n"]
    held: Bool[Tensor, " n"]
    """What takes part in any gradient."""
    active: Bool[Tensor, " n"]
    near: Bool[Tensor, " n"] | None = None
    """Within reach of a learned threshold."""


def step(state: State) -> None:
    """Learn from the batch in `state.x`, in place."""
    arms, batch = state.arms, len(state.x)
    coefficient = state.coefficient()
    reads, aim = _read(state)
    threshold = state.weights["threshold"].exp() if "threshold" in state.weights else None
    pre = pre_activations(state, reads)
    found = select(state, reads, pre, threshold)
    residuals = decode(state, aim, found)
    errors = [_squares(residual, arms) / batch for residual in residuals]
    active = found.active.view(arms, -1)
    l0 = state.shards.total(active.sum(1).double()) / batch
    loss = sum(errors) + _penalty(state, found, coefficient, l0)
    parts, tables = [columns_of(state, found, coefficient)], _summed(residuals, 2 / batch)
    if state.training.auxiliary:
        dead = state.dead()
        part, table, more = auxiliary(state, reads, pre, residuals[-1], dead)
        parts.append(part)
        tables.append(table)
        loss = loss + more
    gradients = sum_gradients(state, reads, threshold, coefficient, parts, tables)
    state.ask(gradients)
    update(state, gradients)
    smallest = state.shards.least(torch.where(active, found.z.view(arms, -1), torch.inf).amin(1).double())
    fired = _marked(found.entries.latents, found.active, arms * state.d_sae).view(arms, -1)
    state.finish(loss, errors[-1], l0, smallest, fired)


def pre_activations(
    state: State, reads: Float[Tensor, "arms batch d_in"]
) -> Float[Tensor, "arms batch d_sae"]:
    """Of all latents; in bf16 where the precision asks for it."""
    x, W_enc, b_enc = reads, state.weights["W_enc"], state.weights["b_enc"]
    if state.selection.rounded:
        x, W_enc, b_enc = x.bfloat16(), W_enc.bfloat16(), b_enc.bfloat16()
    if state.arms == 1:  # a bias of one dimension is added within the product
        return torch.addmm(b_enc[0], x[0], W_enc[0].T).unsqueeze(0)
    return torch.baddbmm(b_enc.unsqueeze(1), x, W_enc.transpose(1, 2))


def select(
    state: State,
    reads: Float[Tensor, "arms batch d_in"],
    pre: Float[Tensor, "arms batch d_sae"],
    threshold: Float[Tensor, "arms d_sae"] | None,
) -> StepEntries:
    """What the architecture's rule selects, with exact values."""
    selection, lowest, W = state.selection, state.selection.lowest(threshold), state.weights
    uncertain = selection.rounded and isinstance(selection.rule, Above)
    error = rounding_error(reads, W["W_enc"], W["b_enc"]).squeeze(2) if uncertain else None
    found, lost = selection.candidates(pre, lowest, error, state.ops)
    state.overflow.add_(lost)
    values = exact(state, reads, pre, found)
    batch, d_sae = pre.shape[1], state.d_sae
    entries, values, held = selection.chosen(found, values, lowest, batch, d_sae, state.shards)
    if threshold is None:
        return StepEntries(entries, values * held, held, held)
    theta = threshold.view(-1).index_select(0, entries.latents)
    active = held & (values > theta)
    near = held & ((values - theta).abs() < state.bandwidth / 2)
    return StepEntries(entries, values * active, held, active, near)


def exact(
    state: State,
    reads: Float[Tensor, "arms batch d_in"],
    pre: Float[Tensor, "arms batch d_sae"],
    entries: Entries,
) -> Float[Tensor, " n"]:
    """Pre-activations of some entries, recomputed where the dense ones are rounded; of no row: 0."""
    if state.selection.rounded:
        bias = state.weights["b_enc"].view(-1).index_select(0, entries.latents)
        known = state.ops.products(entries, reads.flatten(0, 1), state.weights["W_enc"].flatten(0, 1)) + bias
    else:
        known = pre.view(state.arms, -1).gather(1, entries.flat).view(-1)
    return torch.where(entries.of_a_row().view(-1), known, 0)


def decode(
    state: State, aim: Float[Tensor, "arms batch d_out"], found: StepEntries
) -> list[Float[Tensor, "rows d_out"]]:
    """x_hat - x for every nested prefix of the dictionary; a transcoder's: less its target."""
    residuals: list[Tensor] = []
    places = state.places(found.entries)
    for lo, hi in state.spans:
        z = found.z if len(state.spans) == 1 else found.z * ((places >= lo) & (places < hi))
        rebuilt = state.rebuilt(found.entries, z)
        residuals.append(rebuilt + residuals[-1] if residuals else rebuilt - aim.flatten(0, 1))
    return residuals


def columns_of(state: State, found: StepEntries, coefficient: Float[Tensor, " arms"]) -> Columns:
    """The entries with their part in the gradients; not yet ordered."""
    entries, kind = found.entries, found.z.dtype
    active = found.active.to(kind)
    shift = torch.zeros_like(found.z)
    if state.penalty == "l1":
        shift = found.active * _of_rows(state, coefficient / len(state.x), entries.rows).to(kind)
    g_rows = entries.rows
    if len(state.spans) > 1:
        span = torch.searchsorted(state.ends, state.places(entries), right=True)
        g_rows = g_rows + state.n_rows * span
    near = torch.zeros_like(found.z) if found.near is None else found.near.to(kind)
    latents = torch.where(found.held, entries.latents, state.width)
    return Columns(entries.spans[0], latents, g_rows, entries.rows, found.z, active, shift, near)


def auxiliary(
    state: State,
    reads: Float[Tensor, "arms batch d_in"],
    pre: Float[Tensor, "arms batch d_sae"],
    residual: Float[Tensor, "rows d_out"],
    dead: Bool[Tensor, "arms d_sae"],
) -> tuple[Columns, Float[Tensor, "rows d_out"], Float[Tensor, " arms"]]:
    """The part of the auxiliary loss (see `auxiliary.py`): entries, the gradient they multiply, the loss."""
    weight, batch = state.training.auxiliary, pre.shape[1]
    k = min(state.training.auxiliary_k or max(1, reads.shape[2] // 2), state.whole)
    ranked = torch.where(dead.unsqueeze(1), pre, -torch.inf)
    best = ranked.topk(min(k, state.d_sae), dim=2, sorted=False).indices
    first = torch.arange(0, batch * state.d_sae, state.d_sae, device=pre.device).unsqueeze(1)
    flat = (best + first).view(state.arms, -1)
    entries = Entries.of(flat, batch, state.d_sae)
    held = dead.view(-1).index_select(0, entries.latents)
    z = exact(state, reads, pre, entries).relu() * held
    z = z * among_best(z.view(state.n_rows, -1), k, state.shards).view(-1)
    error = state.rebuilt(entries, z) + residual
    any_dead = state.shards.total(dead.sum(1)) > 0
    loss = weight * _squares(error, state.arms) / batch * any_dead
    part = columns_of(state, StepEntries(entries, z, z > 0, z > 0), torch.zeros_like(loss))
    part.shift, part.g_rows = torch.zeros_like(z), entries.rows + state.n_rows * len(state.spans)
    return part, error * (2 * weight / batch), loss


def sum_gradients(
    state: State,
    reads: Float[Tensor, "arms batch d_in"],
    threshold: Float[Tensor, "arms d_sae"] | None,
    coefficient: Float[Tensor, " arms"],
    parts: list[Columns],
    tables: list[Float[Tensor, "rows d_out"]],
) -> dict[str, Tensor]:
    """Gradients of everything, by name, with the arms in front."""
    arms, columns = state.arms, ordered(parts, state.width)
    G = tables[0] if len(tables) == 1 else torch.cat(tables)
    sums = state.ops.latent_gradients(columns, state.weights["W_dec"].flatten(0, 1), G, reads.flatten(0, 1))
    shape = arms, state.d_sae, -1
    b_enc = sums.b_enc.view(arms, -1)
    through_decoder = tables[0].view(arms, len(state.x), -1)
    gradients = {
        "W_dec": sums.W_dec.view(shape),
        "W_enc": sums.W_enc.view(shape),
        "b_enc": b_enc,
        "b_dec": through_decoder.sum(1),
    }
    if state.target is None:  # b_dec is subtracted from what is read, too
        through_encoder = torch.bmm(b_enc.unsqueeze(1), state.weights["W_enc"]).squeeze(1)
        gradients["b_dec"] -= state.shards.total(through_encoder)
    if "W_skip" in state.weights:
        gradients["W_skip"] = state.x.T @ through_decoder
    if threshold is not None:
        penalty = (coefficient / len(state.x)).unsqueeze(1)
        slope = threshold * sums.near_dz.view(arms, -1) + penalty * sums.near.view(arms, -1)
        gradients["threshold"] = (slope * threshold / -state.bandwidth).to(threshold.dtype)
    return gradients


def ordered(parts: list[Columns], width: int) -> Columns:
    """The entries of all parts latent by latent, those that take part in nothing last."""
    joined = {
        name: values[0] if len(parts) == 1 else torch.cat(values)
        for name in Columns.__dataclass_fields__
        if (values := [getattr(part, name) for part in parts])
    }
    latents, order = joined["latents"].sort(stable=True)
    edges = torch.arange(width + 1, device=latents.device)
    rest: dict[str, Any] = {
        name: value.index_select(0, order)
        for name, value in joined.items()
        if name not in ("starts", "latents")
    }
    return Columns(starts=torch.searchsorted(latents, edges), latents=latents, **rest)


def update(state: State, gradients: dict[str, Tensor]) -> None:
    """One step of AdamW for all that learns, within the constraints."""
    if state.training.gradient_clip is not None:
        _clip(state, gradients, state.training.gradient_clip)
    factor, corrections = state.schedule()
    for name, moments in state.moments.items():
        weight, rate = state.weights[name], (factor * state.peak[name])
        decay = state.training.weight_decay if weight.ndim == 3 else 0.0
        rate, corrections = rate.to(weight.dtype), corrections.to(weight.dtype)
        adam = Adam(*state.adam, decay, rate, corrections, state.learns[name], state.count)
        if name in ("W_dec", "W_enc"):
            held = state.anchors[name], state.bounds[name]
            kind = {"decoder": name == "W_dec", "blocks": state.blocks}
            state.ops.move_rows(weight, gradients[name], moments, adam, *held, **kind)
        else:
            move(weight, gradients[name], moments, adam)


def _clip(state: State, gradients: dict[str, Tensor], largest: float) -> None:
    """Shorten the gradients of arms that are longer, after what constraints leave of them."""
    W_dec, anchor = state.weights["W_dec"], state.anchors["W_enc"]
    gradients["W_dec"].sub_(torch.linalg.vecdot(gradients["W_dec"], W_dec).unsqueeze(2) * W_dec)
    if anchor is not None:
        along = torch.linalg.vecdot(gradients["W_enc"], anchor).unsqueeze(2) * anchor
        fixed = state.bounds["W_enc"].view(-1, 1, 1) >= 1
        gradients["W_enc"] = torch.where(fixed, along, gradients["W_enc"])
    squares = [
        gradients[name].square().flatten(1).sum(1) * state.learns[name] / state.shards.holders(name)
        for name in state.moments
    ]
    norm = state.shards.total(torch.stack(squares).sum(0)).sqrt()
    shrink = (largest / (norm + 1e-6)).clamp_max(1.0)
    for name in state.moments:
        gradients[name].mul_(shrink.view(-1, *(1,) * (gradients[name].ndim - 1)))


def _read(state: State) -> tuple[Float[Tensor, "arms batch d_in"], Float[Tensor, "arms batch d_out"]]:
    """What the encoders read, and what the latents are to sum up to; see `Learner`."""
    b_dec, skip = state.weights["b_dec"].unsqueeze(1), state.weights.get("W_skip")
    if state.target is None:
        reads = state.x - b_dec
        return reads, reads
    aim = state.target - b_dec
    return state.x.expand(state.arms, -1, -1), aim if skip is None else aim - state.x @ skip


def _squares(residual: Float[Tensor, "rows d"], arms: int) -> Float[Tensor, " arms"]:
    total: Tensor = torch.linalg.vecdot(residual, residual).view(arms, -1).sum(1, dtype=torch.float64)
    return total


def _summed(residuals: list[Float[Tensor, "rows d"]], scale: float) -> list[Float[Tensor, "rows d"]]:
    """From the residual of each prefix to the gradient of all prefixes from it on."""
    tables = [residual * scale for residual in residuals]
    for longer, shorter in pairwise(reversed(tables)):
        shorter.add_(longer)
    return tables


def _penalty(
    state: State, found: StepEntries, coefficient: Float[Tensor, " arms"], l0: Float[Tensor, " arms"]
) -> Float[Tensor, " arms"]:
    if state.penalty == "l1":
        total = state.shards.total(found.z.view(state.arms, -1).sum(1, dtype=torch.float64))
        return coefficient * total / len(state.x)
    return coefficient * l0


def _of_rows(state: State, values: Float[Tensor, " arms"], rows: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """A value of each arm for each of its entries."""
    return values.index_select(0, rows // len(state.x))


def _marked(latents: Int[Tensor, " n"], which: Bool[Tensor, " n"], width: int) -> Bool[Tensor, " width"]:
    """Which latents any of the entries names."""
    marks = torch.zeros(width + 1, dtype=torch.bool, device=latents.device)
    return marks.index_fill_(0, torch.where(which, latents, width), True)[:width]
