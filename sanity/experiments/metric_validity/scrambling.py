"""Autoencoders scrambled part by part, and every metric watched: what a score reads when it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.data.synthetic import SyntheticStream, SyntheticWorld
from sanity.engine.cells import Task, computes
from sanity.evals import (
    SCRAMBLES,
    Score,
    encoder_decoder_cosine,
    encoder_decoder_cosines,
    loss_recovered,
    reconstruction_scores,
    row_cosines,
)
from sanity.evals.sparse_probing import score_sae as score_probing
from sanity.experiments.grid import describe
from sanity.experiments.metric_validity.corrupting import corrupted_truth, truth_scores
from sanity.experiments.metric_validity.reading import drawn_rows, drawn_windows, recovered_shares
from sanity.experiments.real_activations import Place
from sanity.experiments.sparse_probing_runs import in_memory
from sanity.experiments.synthetic_recovery import FIRST_CALIBRATION_STEP, FIRST_HELD_OUT_STEP, ToyRun
from sanity.models import Arm, Autoencoder, load_sae
from sanity.models.start import initial_directions
from sanity.subject import ActivationStore

# Latents are compared on so many samples: enough to see any change, and dense codes stay small.
CODED_ROWS = 512

Measure = Callable[[Autoencoder], Iterable[Score]]


def scrambled_rows(
    sae: Autoencoder, measure: Measure, x: Float[Tensor, "n d_in"], *, seed: int
) -> pd.DataFrame:
    """Every metric of `sae` intact and under each scramble.

    Columns: scramble ("none" for the intact one), metric, value, floor, ceiling, n.

    The metric `same_latents` is the share of active latents (on `x`) that stay active with the same value.
    """
    codes = x[:CODED_ROWS]
    intact = sae.encode(codes)
    rows: list[dict[str, Any]] = []
    for name, made in {"none": sae, **{n: s(sae, seed=seed) for n, s in SCRAMBLES.items()}}.items():
        for score in (*measure(made), same_latents(intact, made.encode(codes))):
            ends = {"value": score.value, "floor": score.floor, "ceiling": score.ceiling}
            rows.append({"scramble": name, "metric": score.metric, **ends, "n": score.n})
    return pd.DataFrame(rows)


def same_latents(before: Float[Tensor, "n d_sae"], after: Float[Tensor, "n d_sae"]) -> Score:
    """Share of the activations of latents, before and after together, that are the same in both."""
    active = (before != 0) | (after != 0)
    same = active & torch.isclose(before, after, rtol=1e-4, atol=1e-5)
    n = int(active.sum())
    value = int(same.sum()) / n if n else 1.0
    return Score("same_latents", value, 0.0, 1.0, True, n=max(n, 1), unit="activation", version="1")


@dataclass(frozen=True)
class ToyScrambles:
    """A trained arm and the true dictionary of one world, scrambled."""

    run: ToyRun
    samples: int
    seed: int


@computes(version=1, threads=1)
def scramble_toy(task: Task) -> None:
    """Every metric of a synthetic world, on a trained arm and on the true dictionary, scrambled."""
    config: ToyScrambles = task.config
    run = config.run
    world = SyntheticWorld.from_spec(run.world, device=run.device)
    stream = SyntheticStream(world, batch_size=config.samples, seed=config.seed)
    fitted, held_out = stream.batch(FIRST_CALIBRATION_STEP), stream.sample(FIRST_HELD_OUT_STEP)

    def measure(sae: Autoencoder) -> list[Score]:
        return [*truth_scores(sae, stream, held_out), encoder_decoder_cosine(sae)]

    judged = {
        "trained": load_sae(task.inputs["sae"].folder("sae")).to(device=run.device),
        "true dictionary": corrupted_truth(world, "mixed", 0.0, seed=config.seed, k=run.l0, x=fitted),
    }
    frames = [
        scrambled_rows(sae, measure, fitted, seed=config.seed).assign(sae=name)
        for name, sae in judged.items()
    ]
    task.save_table("scrambled", pd.concat(frames).assign(place=run.world.probabilities))


@dataclass(frozen=True)
class RealScrambles:
    """A trained arm on real activations, scrambled."""

    place: Place
    rows: int
    tokens: int
    seed: int
    device: str


@computes(version=1)
def scramble_real(task: Task) -> None:
    """Reconstruction, cross-entropy and KL of a trained arm, scrambled."""
    config: RealScrambles = task.config
    kept = ActivationStore(task.inputs["train"].folder("activations"))
    held_out = ActivationStore(task.inputs["held_out"].folder("activations"))
    sae = load_sae(task.inputs["sae"].folder("sae")).to(device=config.device)
    x = drawn_rows(held_out, kept.normalisation, config.rows, seed=config.seed).to(config.device)
    everything = {"none": sae, **{name: s(sae, seed=config.seed) for name, s in SCRAMBLES.items()}}
    losses = loss_recovered(
        config.place.load(config.device),
        everything,
        drawn_windows(held_out, config.tokens, seed=config.seed).to(config.device),
        hook=config.place.hook,
        centre=kept.mean,
        factor=kept.factor,
        leave_first=held_out.drop_first,
    )
    spliced = pd.DataFrame(
        [
            {"scramble": name, "metric": score.metric, "value": score.value, "floor": 0.0, "ceiling": 1.0,
             "n": score.n}
            for name, loss in losses.items()
            for score in recovered_shares(loss).values()
        ]
    )  # fmt: skip

    def measure(made: Autoencoder) -> list[Score]:
        return [*reconstruction_scores(made, [x]).values(), encoder_decoder_cosine(made)]

    own = scrambled_rows(sae, measure, x, seed=config.seed)
    task.save_table("scrambled", pd.concat([own, spliced]).assign(sae="trained", place=config.place.hook))


# Sparse probing takes most of a second per autoencoder. Permuting the encoder only renames latents for it.
PROBED = ("encoder rotated", "decoder permuted", "decoder rotated", "latent biases permuted")


@dataclass(frozen=True)
class ProbedScrambles:
    """A trained arm, scrambled and probed with the texts divided as for its seed."""

    place: str
    split_seed: int
    seed: int
    device: str


@computes(version=2)
def scramble_probing(task: Task) -> None:
    """Sparse probing of a trained arm, scrambled."""
    config: ProbedScrambles = task.config
    needed = (task.inputs[name] for name in ("texts", "train", "references"))
    data = in_memory(*needed, seed=config.split_seed, device=config.device)
    sae = load_sae(task.inputs["sae"].folder("sae")).to(device=config.device)
    rows = [
        {"scramble": name, "metric": score.metric, "value": score.value, "floor": score.floor,
         "ceiling": score.ceiling, "n": score.n}
        for name in ("none", *PROBED)
        for score in score_probing(sae if name == "none" else SCRAMBLES[name](sae, seed=config.seed), data)
    ]  # fmt: skip
    task.save_table("scrambled", pd.DataFrame(rows).assign(sae="trained", place=config.place))


@dataclass(frozen=True)
class Alignments:
    """Arms of one place, whose encoders are compared with their decoders and with their start."""

    arms: tuple[tuple[str, Arm, int], ...]
    """Name of the input, arm and L0."""
    place: str


@computes(version=1)
def align_directions(task: Task) -> None:
    """Cosines of each arm's encoder to its decoder and of both to where the decoder started."""
    config: Alignments = task.config
    kept = ActivationStore(task.inputs["train"].folder("activations"))
    rows = []
    for name, arm, l0 in config.arms:
        sae = load_sae(task.inputs[name].folder("sae"))
        start = initial_directions(arm, sae.d_in, lambda: kept.covariance * kept.factor**2)
        rows.append({**describe("metric_validity", config.place, arm, l0), **alignment_columns(sae, start)})
    task.save_table("alignment", pd.DataFrame(rows))


def alignment_columns(sae: Autoencoder, start: Float[Tensor, "d_sae d_in"]) -> Mapping[str, float]:
    """Means over latents of three cosines."""
    return {
        "encoder to decoder": float(encoder_decoder_cosines(sae).mean()),
        "encoder to start": float(row_cosines(sae.W_enc.T, start, names=("W_enc.T", "W0")).mean()),
        "decoder to start": float(row_cosines(sae.W_dec, start, names=("W_dec", "W0")).mean()),
    }


def changes(scrambled: pd.DataFrame) -> pd.DataFrame:
    """What each scramble changes: rows of `scrambled` as (score - intact score) / (ceiling - floor).

    Metrics without a ceiling (L0) are given relative to their intact value. Added columns: `intact`,
    `change`.
    """
    by = ["place", "sae", "metric"]
    none = scrambled[scrambled["scramble"] == "none"].set_index(by)["value"].rename("intact")
    rows = scrambled[scrambled["scramble"] != "none"].join(none, on=by)
    span = (rows["ceiling"].astype(float) - rows["floor"].astype(float)).abs()
    span = span.where(span.notna(), rows["intact"].abs())
    return rows.assign(change=(rows["value"] - rows["intact"]) / span).reset_index(drop=True)


def reads(found: pd.DataFrame, *, threshold: float = 0.01) -> pd.DataFrame:
    """With which parts each metric moves, from `changes`: a row per metric, a column per part.

    A part counts as read where a scramble of it that was tried moves the score by more than `threshold` of
    its scale, at any place and autoencoder.
    """
    largest = found.assign(size=found["change"].abs()).pivot_table(
        index="metric", columns="scramble", values="size", aggfunc="max", sort=False
    )
    parts: dict[str, Sequence[str]] = {
        "encoder": ("encoder permuted", "encoder rotated"),
        "decoder": ("decoder permuted", "decoder rotated"),
        "latent biases": ("latent biases permuted",),
        "order of latents": ("both permuted alike",),
    }
    tried = {part: [name for name in names if name in largest] for part, names in parts.items()}
    return pd.DataFrame({part: largest[names].max(axis=1) > threshold for part, names in tried.items()})
