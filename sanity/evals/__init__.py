"""Evals: each returns a `Score` between a floor and a ceiling."""

from __future__ import annotations

from sanity.evals.alignment import (
    cosine_quantiles,
    cosine_to_init,
    covariance_matched_max_cosine,
    encoder_decoder_cosine,
    encoder_decoder_cosines,
    row_cosines,
)
from sanity.evals.detection import detection_f1
from sanity.evals.feature_recovery import (
    Matching,
    frequency_weighted_recovery,
    max_cosines,
    mean_matched_cosine,
    mean_max_cosine,
    mean_max_cosine_of,
    nearest_latents,
    one_to_one,
    recovery,
    recovery_by_frequency,
    recovery_of,
    uniqueness,
)
from sanity.evals.probes import CosineToInitProbe, HeldOutEVProbe, RecoveryProbe
from sanity.evals.reconstruction import (
    ExplainedVariance,
    dead_latents,
    explained_variance,
    firing_frequency,
    l0,
    reconstruction_scores,
)
from sanity.evals.score import Score
from sanity.evals.sphere import (
    expected_max_cosine,
    log_any_above,
    log_cap_probability,
    log_cone_bound,
    max_cosine_quantile,
    reachable_cosine,
)
from sanity.evals.splicing import LossRecovered, loss_recovered

__all__ = [
    "CosineToInitProbe",
    "ExplainedVariance",
    "HeldOutEVProbe",
    "LossRecovered",
    "Matching",
    "RecoveryProbe",
    "Score",
    "cosine_quantiles",
    "cosine_to_init",
    "covariance_matched_max_cosine",
    "dead_latents",
    "detection_f1",
    "encoder_decoder_cosine",
    "encoder_decoder_cosines",
    "expected_max_cosine",
    "explained_variance",
    "firing_frequency",
    "frequency_weighted_recovery",
    "l0",
    "log_any_above",
    "log_cap_probability",
    "log_cone_bound",
    "loss_recovered",
    "max_cosine_quantile",
    "max_cosines",
    "mean_matched_cosine",
    "mean_max_cosine",
    "mean_max_cosine_of",
    "nearest_latents",
    "one_to_one",
    "reachable_cosine",
    "reconstruction_scores",
    "recovery",
    "recovery_by_frequency",
    "recovery_of",
    "row_cosines",
    "uniqueness",
]
