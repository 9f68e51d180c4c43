"""Alignment of encoder with decoder rows, and of one seed's latents with another's, against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.data.synthetic import SyntheticStream, SyntheticWorld
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.evals import (
    covariance_matched_max_cosine,
    encoder_decoder_cosines,
    max_cosines,
    one_to_one,
)
from sanity.experiments import real_activations, synthetic_recovery
from sanity.experiments.lazy_training_sources import Source
from sanity.experiments.synthetic_recovery import spec_of
from sanity.models import load_sae
from sanity.profiles import Profile
from sanity.subject import ActivationStore

CONSTRAINTS = ("trained", "soft_frozen_decoder", "frozen_encoder", "frozen_decoder")


@dataclass(frozen=True)
class SeedPair:
    """One arm on two seeds."""

    source: Source
    constraint: str
    seeds: tuple[int, int]
    matched_latents: int


@computes(version=1, threads=1)
def compare_seeds(task: Task) -> None:
    """For latents of one seed, the nearest and the one-to-one matched latent of another, and nulls."""
    config: SeedPair = task.config
    a, b = (load_sae(task.inputs[name].folder("sae")) for name in ("a", "b"))
    covariance = _covariance(task)
    chosen = _spread(len(a.W_dec), config.matched_latents)
    rows, m = a.W_dec[chosen], len(b.W_dec)
    own = b.W_dec.T @ b.W_dec / m
    matched = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    found = one_to_one(rows, b.W_dec)
    matched[found.features] = found.cosines.double()
    nulls = {
        name: covariance_matched_max_cosine(rows, matrix, m, seed=config.seeds[0])[0]
        for name, matrix in (("null_activations", covariance), ("null_dictionary", own))
    }
    task.save_table(
        "latents",
        pd.DataFrame(
            {
                "latent": chosen.numpy(),
                "nearest": max_cosines(rows, b.W_dec).numpy(),
                "matched": matched.numpy(),
                **{name: values.numpy() for name, values in nulls.items()},
                "encoder_decoder_cosine": encoder_decoder_cosines(a).numpy()[chosen.numpy()],
            }
        ).assign(
            world_or_hook=config.source.place,
            constraint=config.constraint,
            seeds=f"{config.seeds[0]} and {config.seeds[1]}",
            d_in=a.d_in,
            d_sae=m,
        ),
    )


def _covariance(task: Task) -> Float[Tensor, "d_in d_in"]:
    """Covariance of what the two SAEs were trained on, up to scale."""
    world = task.config.source.world
    if world is None:
        return ActivationStore(task.inputs["train"].folder("activations")).covariance
    return SyntheticStream(SyntheticWorld.from_spec(world), batch_size=1, seed=0).covariance()


def _spread(n: int, most: int) -> Tensor:
    return torch.linspace(0, n - 1, min(n, most)).round().long()


def alignment_cells(profile: Profile, activations: Mapping[str, Cell]) -> list[Cell]:
    """Pairs of the first two seeds, for the arms of the primary grids that the profile trains on two."""
    real = real_activations.plan_place(profile, profile.models[0]).primary
    toy = [
        cell
        for cell in synthetic_recovery.grid_cells(profile)
        if cell.config.arm.architecture.name == profile.toy.architectures[0]
    ]
    made = []
    for world in profile.toy.worlds:
        spec = spec_of(world)
        here = [cell for cell in toy if cell.config.world == spec]
        made += _pairs(profile, Source(world=spec), here, {}, "toy")
    return made + _pairs(profile, Source(hook=profile.models[0].hook), real, activations, "arms")


def _pairs(
    profile: Profile, source: Source, cells: Sequence[Cell], activations: Mapping[str, Cell], stage: str
) -> list[Cell]:
    made = []
    for constraint in CONSTRAINTS:
        name = constraint.replace("_", " ").replace("soft frozen", "soft-frozen")
        both = [
            cell
            for cell in cells
            if cell.config.arm.constraint.name.startswith(name) and cell.config.arm.init.name == "iso"
        ][:2]
        if len(both) < 2:
            continue
        seeds = (both[0].config.arm.seed, both[1].config.arm.seed)
        most, arm = profile.lazy.matched_latents, both[0].config.arm
        n = min(most, arm.d_sae)
        made.append(
            compare_seeds.cell(
                SeedPair(source, constraint, seeds, most),
                inputs={
                    "a": both[0],
                    "b": both[1],
                    **{name: cell for name, cell in activations.items() if name == "train"},
                },
                label=f"{source.place}: {name}, latents of seeds {seeds[0]} and {seeds[1]}",
                stage=stage,
                cost=Cost(0.5 + 1e-10 * n * n * arm.d_sae),
            )
        )
    return made
