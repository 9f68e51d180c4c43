"""Checks of what an arm is made of: architecture, constraint, init."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from sanity.experiments.steps import at_matched_l0
from sanity.models import Architecture, Arm, Constraint, Init, Run, TopK, load_sae, save_sae, train
from sanity.models import initial_directions as start_of
from sanity.sources import OpenedSource
from sanity.testing.contract import SMALL_WORLD, check_name, require

D_SAE, L0, STEPS = 32, 3, 40


def _opened(seed: int = 0) -> OpenedSource:
    return SMALL_WORLD.open({}, batch_size=128, seed=seed, device="cpu")


def _trained(arms: Sequence[Arm]) -> list[Run]:
    return train(arms, _opened().stream, steps=STEPS)


def check_architecture(architecture: Architecture) -> None:
    """It trains, alone as in company, to finite weights; reaches its L0; and survives saving and loading."""
    check_name(architecture)
    kind = type(architecture)
    one = kind.with_l0(L0)
    require(abs(one.l0 - L0) < 1e-9, f"{kind.__name__}.with_l0({L0}) asks for an L0 of {one.l0:g}")
    other = Arm(TopK(L0), D_SAE, seed=1)
    (alone,) = _trained([Arm(one, D_SAE)])
    together, _ = _trained([Arm(one, D_SAE), other])
    same = [torch.equal(getattr(alone.sae, w), getattr(together.sae, w)) for w in ("W_enc", "W_dec")]
    require(all(same), f"{one.label} trains to other weights in company than alone")
    x = _opened().sample
    sae = at_matched_l0(alone.sae, x, L0)
    z = sae.encode(x)
    require(bool(z.isfinite().all() and (z >= 0).all()), f"{one.label} gives negative latents, or NaN")
    with tempfile.TemporaryDirectory() as folder:
        again = load_sae(save_sae(sae, Path(folder) / "sae"))
    require(
        torch.equal(again.reconstruct(x), sae.reconstruct(x)),
        f"{one.label} reconstructs differently after it was saved and loaded",
    )


def check_constraint(constraint: Constraint) -> None:
    """What it freezes stays; what it projects stays put when projected again; the start is inside."""
    check_name(constraint)
    label = constraint.label
    arm = Arm(TopK(L0), D_SAE, constraint, learning_rate=1e-2)
    stream = _opened().stream
    start = start_of(arm, stream.d_in, stream.covariance)
    inside = start.clone()
    constraint.project(inside, start)
    require(torch.allclose(inside, start, atol=1e-6), f"{label} moves decoder rows away from their own start")
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(start.shape, generator=generator), dim=1)
    constraint.project(rows, start)
    twice = rows.clone()
    constraint.project(twice, start)
    require(torch.allclose(twice, rows, atol=1e-5), f"{label} projects twice to two different places")
    (run,) = _trained([arm])
    if "W_dec" not in constraint.learns:
        require(torch.equal(run.sae.W_dec, start), f"{label} says that W_dec does not learn, and it moved")
    allowed = run.sae.W_dec.clone()
    constraint.project(allowed, start)
    within = torch.allclose(allowed, run.sae.W_dec, atol=1e-5)
    require(within, f"{label} leaves trained rows outside of what it allows")
    _require_unit(run.sae.W_dec, label)


def check_init(init: Init) -> None:
    """Its directions are finite unit rows, the same for one seed."""
    check_name(init)
    stream = _opened().stream
    init = init.on(SMALL_WORLD)

    def directions(seed: int, d_sae: int) -> torch.Tensor:
        return start_of(Arm(TopK(L0), d_sae, init=init, seed=seed), stream.d_in, stream.covariance)

    first = directions(0, D_SAE)
    _require_unit(first, init.label)
    require(torch.equal(first, directions(0, D_SAE)), f"{init.label} is not the same for the same seed")


def _require_unit(rows: torch.Tensor, label: str) -> None:
    lengths = torch.linalg.vector_norm(rows, dim=1)
    unit = bool(rows.isfinite().all()) and torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4)
    require(unit, f"{label} gives decoder rows that are not finite and of length one")
