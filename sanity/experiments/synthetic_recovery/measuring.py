"""What is measured of a sparse autoencoder whose world is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.evals import (
    Score,
    antipodes,
    cosine_to_init,
    detection_f1,
    detection_f1s,
    directions_geometry,
    encoder_decoder_cosine,
    encoder_decoder_cosines,
    frequency_weighted_recovery,
    mean_matched_cosine,
    mean_max_cosine,
    nearest_latents,
    one_to_one,
    pursuit_explained_variance,
    reconstruction_scores,
    recovery,
    row_cosines,
    span_recovery,
    subspace_overlap,
    uniqueness,
)
from sanity.models import Autoencoder

PURSUIT_SAMPLES = 2048
"""Held-out samples that pursuit represents; it is slower than an encoder."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a world, with held-out samples in the scale of training."""

    features: Float[Tensor, "n_features d_in"]
    probabilities: Float[Tensor, " n_features"]
    times_seen: Int[Tensor, " n_features"]
    """In how many training samples each feature was active."""
    held_out: Float[Tensor, "n d_in"]
    active: Bool[Tensor, "n n_features"]
    """Which features are active in the held-out samples."""
    covariance: Float[Tensor, "d_in d_in"]


@dataclass(frozen=True, eq=False)
class Measured:
    """The scores of an SAE, and one row per feature, per latent, and for the dictionary's geometry."""

    scores: list[Score]
    features: pd.DataFrame
    latents: pd.DataFrame
    geometry: pd.DataFrame


def measured(sae: Autoencoder, initial: Float[Tensor, "d_sae d_in"], truth: Truth, *, l0: int) -> Measured:
    """Everything that the chapter asks of one SAE; `initial` are the directions its decoder began with."""
    features = _features(sae, truth)
    latents = _latents(sae, initial, truth)
    scores = [
        *reconstruction_scores(sae, [truth.held_out]).values(),
        recovery(truth.features, sae.W_dec),
        frequency_weighted_recovery(truth.features, sae.W_dec, truth.probabilities),
        mean_max_cosine(truth.features, sae.W_dec),
        mean_matched_cosine(truth.features, sae.W_dec),
        uniqueness(truth.features, sae.W_dec),
        detection_f1(sae, truth.held_out, features=truth.features, active=truth.active),
        span_recovery(truth.features, sae.W_dec),
        _leading_subspace(sae, latents, truth),
        pursuit_explained_variance(truth.held_out[:PURSUIT_SAMPLES], sae.W_dec, l0, centre=sae.b_dec),
        cosine_to_init(sae.W_dec, initial),
        encoder_decoder_cosine(sae),
    ]
    return Measured(scores, features, latents, _geometry(sae, latents))


def _features(sae: Autoencoder, truth: Truth) -> pd.DataFrame:
    """Per feature: how often it is active and was seen, its nearest and its matched latent, and their use."""
    cosines, nearest = nearest_latents(truth.features, sae.W_dec)
    matching = one_to_one(truth.features, sae.W_dec)
    matched = torch.full((len(cosines),), torch.nan, dtype=torch.float64)
    matched[matching.features] = matching.cosines
    columns = {
        "probability": truth.probabilities,
        "times_seen": truth.times_seen,
        "max_cosine": cosines,
        "latent": nearest,
        "matched_cosine": matched,
        "f1": detection_f1s(sae, truth.held_out, features=truth.features, active=truth.active),
    }
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    return table.rename_axis("feature").reset_index()


def _latents(sae: Autoencoder, initial: Tensor, truth: Truth) -> pd.DataFrame:
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
    columns = {
        "frequency": fired,
        "mean_square": squares / n,
        "cosine_to_init": row_cosines(sae.W_dec, initial),
        "encoder_cosine_to_init": row_cosines(sae.W_enc.T, initial),
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
    W_dec = sae.W_dec.double().cpu()
    written = W_dec.T @ (weights[:, None] * W_dec)
    size = max(1, sae.d_in // 4)
    leading = [
        torch.linalg.eigh(moment.double().cpu()).eigenvectors[:, -size:]
        for moment in (written, truth.covariance)
    ]
    return subspace_overlap(*leading)


def _geometry(sae: Autoencoder, latents: pd.DataFrame) -> pd.DataFrame:
    """How the latents that fire at all lie to each other; a row of NaN where none does."""
    alive = torch.tensor((latents["frequency"] > 0).to_numpy(), device=sae.W_dec.device)
    found = asdict(directions_geometry(sae.W_dec[alive])) if bool(alive.any()) else {"directions": 0}
    share = latents["frequency"].nlargest(2 * sae.d_in).sum() / max(latents["frequency"].sum(), 1e-300)
    return pd.DataFrame([found | {"d_in": sae.d_in, "activations_of_2d": share}])
