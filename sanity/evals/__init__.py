"""Evals: each returns a `Score` between a floor and a ceiling."""

from __future__ import annotations

from sanity.evals.across_seeds import AcrossSeeds, agreement_scores
from sanity.evals.alignment import (
    cosine_quantiles,
    cosine_to_init,
    covariance_matched_max_cosine,
    encoder_decoder_cosine,
    encoder_decoder_cosines,
    row_cosines,
)
from sanity.evals.base import Candidate, Eval, Grades, Scored, Setting
from sanity.evals.beyond_affine import BeyondAffine, affine_map
from sanity.evals.causal_editing import CausalEditing
from sanity.evals.cone import (
    log_reachable,
    reach,
    reach_of_anchors,
    share_on_edge,
    simulated_nearest,
)
from sanity.evals.cones import Cones
from sanity.evals.crosscoding import (
    Crosscoding,
    crosscoding_scores,
    layer_agreement,
    layer_cosines,
    relative_norms,
)
from sanity.evals.detection import detection_f1, detection_f1s
from sanity.evals.directions import Directions, smallest_cosine
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
from sanity.evals.geometry import (
    Geometry,
    antipodes,
    directions_geometry,
    span_cosines,
    span_recovery,
    subspace_overlap,
)
from sanity.evals.interpretability import Contexts, Interpretability
from sanity.evals.judging import JudgedInterpretability
from sanity.evals.kernel_drift import TangentKernel, kernel_drift, tangent_kernel
from sanity.evals.latent_detection import Absorption, absorption, latent_f1
from sanity.evals.laziness import (
    first_order,
    held_gradients,
    held_output,
    linearisation,
    overlap,
    support_overlap,
    supports,
)
from sanity.evals.loss import Loss
from sanity.evals.metric import METRICS, Metric, metric_named
from sanity.evals.probes import CosineToInitProbe, HeldOutEVProbe, RecoveryProbe
from sanity.evals.pursuit import Pursuit, orthogonal_matching_pursuit, pursuit_explained_variance
from sanity.evals.reconstruction import (
    ExplainedVariance,
    Reconstruction,
    dead_latents,
    explained_variance,
    firing_frequency,
    l0,
    reconstruction_scores,
)
from sanity.evals.score import Score
from sanity.evals.scrambles import (
    SCRAMBLES,
    MeanMixed,
    mixed_directions,
    repaired_latents,
    replaced_directions,
    silenced_latents,
    tied_autoencoder,
)
from sanity.evals.sparse_probing import Probing, SparseProbing, dense_probes, sparse_probes
from sanity.evals.sparse_probing.texts import TextActivations, pooled_latents
from sanity.evals.sphere import (
    expected_max_cosine,
    log_any_above,
    log_cap_probability,
    log_cone_bound,
    max_cosine_quantile,
    reachable_cosine,
)
from sanity.evals.splicing import LossRecovered, loss_recovered
from sanity.evals.true_features import Recovery
from sanity.evals.true_map import TrueMap, map_scores, true_transcoder

__all__ = [
    "METRICS",
    "SCRAMBLES",
    "Absorption",
    "AcrossSeeds",
    "BeyondAffine",
    "Candidate",
    "CausalEditing",
    "Cones",
    "Contexts",
    "CosineToInitProbe",
    "Crosscoding",
    "Directions",
    "Eval",
    "ExplainedVariance",
    "Geometry",
    "Grades",
    "HeldOutEVProbe",
    "Interpretability",
    "JudgedInterpretability",
    "Loss",
    "LossRecovered",
    "Matching",
    "MeanMixed",
    "Metric",
    "Probing",
    "Pursuit",
    "Reconstruction",
    "Recovery",
    "RecoveryProbe",
    "Score",
    "Scored",
    "Setting",
    "SparseProbing",
    "TangentKernel",
    "TextActivations",
    "TrueMap",
    "absorption",
    "affine_map",
    "agreement_scores",
    "antipodes",
    "cosine_quantiles",
    "cosine_to_init",
    "covariance_matched_max_cosine",
    "crosscoding_scores",
    "dead_latents",
    "dense_probes",
    "detection_f1",
    "detection_f1s",
    "directions_geometry",
    "encoder_decoder_cosine",
    "encoder_decoder_cosines",
    "expected_max_cosine",
    "explained_variance",
    "firing_frequency",
    "first_order",
    "frequency_weighted_recovery",
    "held_gradients",
    "held_output",
    "kernel_drift",
    "l0",
    "latent_f1",
    "layer_agreement",
    "layer_cosines",
    "linearisation",
    "log_any_above",
    "log_cap_probability",
    "log_cone_bound",
    "log_reachable",
    "loss_recovered",
    "map_scores",
    "max_cosine_quantile",
    "max_cosines",
    "mean_matched_cosine",
    "mean_max_cosine",
    "mean_max_cosine_of",
    "metric_named",
    "mixed_directions",
    "nearest_latents",
    "one_to_one",
    "orthogonal_matching_pursuit",
    "overlap",
    "pooled_latents",
    "pursuit_explained_variance",
    "reach",
    "reach_of_anchors",
    "reachable_cosine",
    "reconstruction_scores",
    "recovery",
    "recovery_by_frequency",
    "recovery_of",
    "relative_norms",
    "repaired_latents",
    "replaced_directions",
    "row_cosines",
    "share_on_edge",
    "silenced_latents",
    "simulated_nearest",
    "smallest_cosine",
    "span_cosines",
    "span_recovery",
    "sparse_probes",
    "subspace_overlap",
    "support_overlap",
    "supports",
    "tangent_kernel",
    "tied_autoencoder",
    "true_transcoder",
    "uniqueness",
]
