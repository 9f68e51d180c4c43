"""References corrupted in grades: the true dictionary of a synthetic world, and a real activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from sanity.data.synthetic import SyntheticBatch, SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.cells import Task, computes
from sanity.evals import (
    MeanMixed,
    Score,
    cosine_to_init,
    detection_f1,
    explained_variance,
    frequency_weighted_recovery,
    loss_recovered,
    mean_matched_cosine,
    mean_max_cosine,
    mixed_directions,
    reconstruction_scores,
    recovery,
    repaired_latents,
    replaced_directions,
    silenced_latents,
    tied_autoencoder,
)
from sanity.experiments.metric_validity.reading import drawn_rows, drawn_windows, recovered_shares
from sanity.experiments.real_activations import Place
from sanity.experiments.synthetic_recovery import FIRST_CALIBRATION_STEP, FIRST_HELD_OUT_STEP
from sanity.models import Autoencoder, TopK
from sanity.subject import ActivationStore

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "mixed": "each true direction mixed with a random one",
        "replaced": "true directions dropped for random ones",
        "re-paired": "decoder rows exchanged between latents",
        "silenced": "latents silenced",
    }
)
"""Corruptions of the true dictionary (its encoder tied to it), in words."""


@dataclass(frozen=True)
class TruthCorruption:
    """One corruption of the true dictionary of one world, read at several levels and seeds."""

    world: SyntheticSpec
    l0: int
    kind: str
    levels: tuple[float, ...]
    seeds: tuple[int, ...]
    samples: int
    device: str


@computes(version=1, threads=1)
def corrupt_truth(task: Task) -> None:
    """Every metric of the synthetic worlds, on the true dictionary corrupted in grades."""
    config: TruthCorruption = task.config
    world = SyntheticWorld.from_spec(config.world, device=config.device)
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        stream = SyntheticStream(world, batch_size=config.samples, seed=seed)
        fitted, held_out = stream.batch(FIRST_CALIBRATION_STEP), stream.sample(FIRST_HELD_OUT_STEP)
        for level in config.levels:
            sae = corrupted_truth(world, config.kind, level, seed=seed, k=config.l0, x=fitted)
            scores = truth_scores(sae, stream, held_out)
            rows += [graded_row(score, level, seed) for score in scores]
    about = {"place": config.world.probabilities, "kind": config.kind}
    task.save_table("graded", pd.DataFrame(rows).assign(**about))


def corrupted_truth(
    world: SyntheticWorld, kind: str, level: float, *, seed: int, k: int, x: Float[Tensor, "n d_in"]
) -> Autoencoder:
    """The true dictionary with its tied encoder, corrupted; one scalar fits the encoder's scale to `x`.

    A corrupted dictionary has its own encoder tied to it; only exchanged decoder rows leave the encoder.
    """
    dictionaries: dict[str, Callable[..., Tensor]] = {
        "mixed": mixed_directions,
        "replaced": replaced_directions,
    }
    if kind in dictionaries:
        return tied_autoencoder(dictionaries[kind](world.features, level, seed=seed), TopK(k=k), x)
    latents: dict[str, Callable[..., Autoencoder]] = {
        "re-paired": repaired_latents,
        "silenced": silenced_latents,
    }
    return latents[kind](tied_autoencoder(world.features, TopK(k=k), x), level, seed=seed)


def truth_scores(sae: Autoencoder, stream: SyntheticStream, held_out: SyntheticBatch) -> list[Score]:
    """Every metric that a world with known features has, on raw held-out samples of its stream."""
    world = stream.world
    x = (held_out.x - stream.centre) * stream.factor
    scores = [
        *reconstruction_scores(sae, [x]).values(),
        recovery(world.features, sae.W_dec),
        frequency_weighted_recovery(world.features, sae.W_dec, world.probabilities),
        mean_max_cosine(world.features, sae.W_dec),
        mean_matched_cosine(world.features, sae.W_dec),
        detection_f1(sae, x, features=world.features, active=held_out.dense_coefficients() > 0),
    ]
    if sae.W_dec.shape == world.features.shape:
        scores.append(cosine_to_init(sae.W_dec, world.features))
    return scores


def graded_row(score: Score, level: float, seed: int) -> dict[str, Any]:
    """A score as the gate reads it."""
    ends = {"value": score.value, "floor": score.floor, "ceiling": score.ceiling, "n": score.n}
    return {"metric": score.metric, "level": level, "seed": seed, **ends}


@dataclass(frozen=True)
class ActivationCorruption:
    """The activation at a place moved towards its mean, read on several draws of held-out text."""

    place: Place
    levels: tuple[float, ...]
    seeds: tuple[int, ...]
    rows: int
    tokens: int
    device: str


@computes(version=1)
def corrupt_activation(task: Task) -> None:
    """What reconstruction metrics say of the activation itself, on its way to mean ablation."""
    config: ActivationCorruption = task.config
    kept = ActivationStore(task.inputs["train"].folder("activations"))
    held_out = ActivationStore(task.inputs["held_out"].folder("activations"))
    subject = config.place.load(config.device)
    mixed = {f"{level:g}": MeanMixed(kept.d_in, level, config.device) for level in config.levels}
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        for level in config.levels:
            x = drawn_rows(held_out, kept.normalisation, config.rows, seed=seed).to(config.device)
            rows.append(graded_row(explained_variance(x, x * (1 - level)), level, seed))
        found = loss_recovered(
            subject,
            mixed,
            drawn_windows(held_out, config.tokens, seed=seed).to(config.device),
            hook=config.place.hook,
            centre=kept.mean,
            factor=kept.factor,
            leave_first=held_out.drop_first,
        )
        for name, loss in found.items():
            rows += [graded_row(score, float(name), seed) for score in recovered_shares(loss).values()]
    task.save_table("graded", pd.DataFrame(rows).assign(place=config.place.hook, kind="mean"))
