"""What is known of a synthetic world, and what is measured of an SAE against it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.data import HarderWorld, SyntheticStream
from sanity.evals.alignment import cosine_to_init, encoder_decoder_cosines, row_cosines
from sanity.evals.detection import detection_f1, detection_f1s
from sanity.evals.feature_recovery import (
    mean_matched_cosine,
    mean_max_cosine,
    nearest_latents,
    one_to_one,
    recovery,
    uniqueness,
)
from sanity.evals.geometry import (
    antipodes,
    directions_geometry,
    leading_directions,
    span_recovery,
    subspace_overlap,
    written_moment,
)
from sanity.evals.inputs import SparseAutoencoder
from sanity.evals.latent_detection import absorption, latent_f1
from sanity.evals.pursuit import pursuit_explained_variance
from sanity.evals.reconstruction import reconstruction_scores
from sanity.evals.score import Score
from sanity.models import Autoencoder
from sanity.sources.base import FIRST_HELD_OUT_STEP

PURSUIT_SAMPLES = 2048
"""Held-out samples that pursuit represents; it is slower than an encoder."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a world, with held-out samples in the scale of training."""

    features: Float[Tensor, "n_features d_in"]
    probabilities: Float[Tensor, " n_features"]
    held_out: Float[Tensor, "n d_in"]
    active: Bool[Tensor, "n n_features"]
    """Which features are active in the held-out samples."""
    covariance: Float[Tensor, "d_in d_in"]
    parents: Int[Tensor, " n_features"] | None
    """In a hierarchy: the parent of each feature, -1 for none."""


def truth_of(stream: SyntheticStream, n: int) -> Truth:
    """What is known of a stream's world, and `n` held-out samples with the features active in them."""
    batches = [stream.sample(FIRST_HELD_OUT_STEP + i) for i in range(-(-n // stream.batch_size))]
    active = torch.cat([batch.dense_coefficients() > 0 for batch in batches])[:n]
    x = torch.cat([(batch.x - stream.centre) * stream.factor for batch in batches])[:n]
    world = stream.world
    nested = isinstance(world, HarderWorld) and bool((world.parents >= 0).any())
    return Truth(
        world.features,
        world.probabilities,
        x,
        active,
        stream.covariance(),
        world.parents if isinstance(world, HarderWorld) and nested else None,
    )


def truth_scores(sae: SparseAutoencoder, truth: Truth) -> list[Score]:
    """What a corrupted true dictionary is read by: reconstruction, recovery, detection, turning."""
    features = truth.features
    scores = [
        *reconstruction_scores(sae, [truth.held_out]).values(),
        recovery(features, sae.W_dec),
        recovery(features, sae.W_dec, probabilities=truth.probabilities),
        mean_max_cosine(features, sae.W_dec),
        mean_matched_cosine(features, sae.W_dec),
        detection_f1(sae, truth.held_out, features=features, active=truth.active),
    ]
    if sae.W_dec.shape == features.shape:
        scores.append(cosine_to_init(sae.W_dec, features))
    return scores


def recovery_scores(sae: SparseAutoencoder, truth: Truth) -> list[Score]:
    """Which features an SAE has, and how well its latents detect them."""
    features = truth.features
    known: dict[str, Any] = {"features": features, "active": truth.active}
    return [
        recovery(features, sae.W_dec),
        recovery(features, sae.W_dec, probabilities=truth.probabilities),
        mean_max_cosine(features, sae.W_dec),
        mean_matched_cosine(features, sae.W_dec),
        uniqueness(features, sae.W_dec),
        detection_f1(sae, truth.held_out, **known),
        latent_f1(sae, truth.held_out, **known),
    ]


def absorption_of(sae: SparseAutoencoder, truth: Truth) -> tuple[list[Score], pd.DataFrame]:
    """In a hierarchy, whether latents of recovered parents fall silent when a child is active."""
    if truth.parents is None:
        return [], pd.DataFrame()
    known: dict[str, Any] = {"features": truth.features, "active": truth.active}
    found = absorption(sae, truth.held_out, parents=truth.parents, **known)
    return ([], pd.DataFrame()) if found is None else ([found.score()], pd.DataFrame([asdict(found)]))


def spanned(sae: Autoencoder, truth: Truth, latents: pd.DataFrame, *, l0: int) -> list[Score]:
    """What the dictionary as a whole could do: its span, its leading subspace, and pursuit with it."""
    sample = truth.held_out[:PURSUIT_SAMPLES]
    return [
        span_recovery(truth.features, sae.W_dec),
        _leading_subspace(sae, latents, truth),
        pursuit_explained_variance(sample, sae.W_dec, l0, centre=sae.b_dec),
    ]


def feature_table(sae: Autoencoder, truth: Truth, times_seen: Int[Tensor, " n_features"]) -> pd.DataFrame:
    """Per feature: how often it is active and was seen, its nearest and its matched latent, and their use."""
    cosines, nearest = nearest_latents(truth.features, sae.W_dec)
    matching = one_to_one(truth.features, sae.W_dec)
    matched = torch.full((len(cosines),), torch.nan, dtype=torch.float64)
    matched[matching.features] = matching.cosines
    columns = {
        "probability": truth.probabilities,
        "times_seen": times_seen,
        "max_cosine": cosines,
        "latent": nearest,
        "matched_cosine": matched,
        "f1": detection_f1s(sae, truth.held_out, features=truth.features, active=truth.active),
    }
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    return table.rename_axis("feature").reset_index()


def latent_table(sae: Autoencoder, truth: Truth, start: Float[Tensor, "d_sae d_in"] | None) -> pd.DataFrame:
    """Per latent: how often and how strongly it fires, how far it turned, what it is nearest to."""
    rows = sae.encode_sparse(truth.held_out)
    n = len(truth.held_out)
    fired = torch.bincount(rows.latents, minlength=sae.d_sae).double() / n
    squares = torch.zeros(sae.d_sae, dtype=torch.float64, device=rows.values.device)
    squares.index_add_(0, rows.latents.long(), rows.values.double().square())
    cosines, nearest = nearest_latents(sae.W_dec, truth.features)
    alive = fired.to(sae.W_dec.device) > 0
    opposite = torch.full((sae.d_sae,), torch.nan, dtype=torch.float64, device=sae.W_dec.device)
    opposite[alive] = antipodes(sae.W_dec[alive]).double()
    turned = {}
    if start is not None:
        turned = {
            "cosine_to_init": row_cosines(sae.W_dec, start),
            "encoder_cosine_to_init": row_cosines(sae.W_enc.T, start),
        }
    columns = {
        "frequency": fired,
        "mean_square": squares / n,
        **turned,
        "encoder_decoder_cosine": encoder_decoder_cosines(sae),
        "max_cosine": cosines,
        "feature": nearest,
        "antipode": opposite,
    }
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    return table.rename_axis("latent").reset_index()


def _leading_subspace(sae: Autoencoder, latents: pd.DataFrame, truth: Truth) -> Score:
    """How far the leading quarter of the dimensions of what the SAE writes is that of the data."""
    weights = torch.tensor(latents["mean_square"].to_numpy())
    size = max(1, sae.d_in // 4)
    moments = (written_moment(sae.W_dec, weights), truth.covariance)
    return subspace_overlap(*(leading_directions(moment, size) for moment in moments))


def geometry_table(sae: Autoencoder, latents: pd.DataFrame) -> pd.DataFrame:
    """How the latents that fire at all lie to each other; a row of NaN where none does."""
    alive = torch.tensor((latents["frequency"] > 0).to_numpy(), device=sae.W_dec.device)
    found = asdict(directions_geometry(sae.W_dec[alive])) if bool(alive.any()) else {"directions": 0}
    share = latents["frequency"].nlargest(2 * sae.d_in).sum() / max(latents["frequency"].sum(), 1e-300)
    return pd.DataFrame([found | {"activations_of_2d": share}])
