"""Evals: each returns a `Score` between a floor and a ceiling."""

from __future__ import annotations

from sanity.evals.across_seeds import AcrossSeeds
from sanity.evals.alignment import (
    cosine_quantiles,
    covariance_matched_max_cosine,
    encoder_decoder_cosines,
    row_cosines,
)
from sanity.evals.base import Candidate, Eval, Grades, Scored, Setting
from sanity.evals.beyond_affine import BeyondAffine
from sanity.evals.causal_editing import CausalEditing
from sanity.evals.cone import log_reachable, reach, reach_of_anchors, simulated_nearest
from sanity.evals.cones import Cones
from sanity.evals.crosscoding import Crosscoding
from sanity.evals.detection import detection_f1
from sanity.evals.directions import Directions, smallest_cosine
from sanity.evals.feature_recovery import (
    max_cosines,
    mean_matched_cosine,
    one_to_one,
    recovery,
    recovery_by_frequency,
    uniqueness,
)
from sanity.evals.geometry import Geometry
from sanity.evals.interpretability import Contexts, Interpretability
from sanity.evals.judging import JudgedInterpretability
from sanity.evals.kernel_drift import TangentKernel, kernel_drift, tangent_kernel
from sanity.evals.latent_detection import Absorption, latent_f1
from sanity.evals.laziness import first_order, held_gradients, held_output, linearisation, supports
from sanity.evals.loss import Loss
from sanity.evals.metric import METRICS, Metric
from sanity.evals.probes import HeldOutEVProbe, RecoveryProbe
from sanity.evals.pursuit import Pursuit, pursuit_explained_variance
from sanity.evals.reconstruction import (
    Reconstruction,
    explained_variance,
    firing_frequency,
    reconstruction_scores,
)
from sanity.evals.score import Score
from sanity.evals.scrambles import SCRAMBLES
from sanity.evals.sparse_probing import SparseProbing
from sanity.evals.sphere import (
    expected_max_cosine,
    log_any_above,
    log_cap_probability,
    log_cone_bound,
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
    "Crosscoding",
    "Directions",
    "Eval",
    "Geometry",
    "Grades",
    "HeldOutEVProbe",
    "Interpretability",
    "JudgedInterpretability",
    "Loss",
    "LossRecovered",
    "Metric",
    "Pursuit",
    "Reconstruction",
    "Recovery",
    "RecoveryProbe",
    "Score",
    "Scored",
    "Setting",
    "SparseProbing",
    "TangentKernel",
    "TrueMap",
    "cosine_quantiles",
    "covariance_matched_max_cosine",
    "detection_f1",
    "encoder_decoder_cosines",
    "expected_max_cosine",
    "explained_variance",
    "firing_frequency",
    "first_order",
    "held_gradients",
    "held_output",
    "kernel_drift",
    "latent_f1",
    "linearisation",
    "log_any_above",
    "log_cap_probability",
    "log_cone_bound",
    "log_reachable",
    "loss_recovered",
    "map_scores",
    "max_cosines",
    "mean_matched_cosine",
    "one_to_one",
    "pursuit_explained_variance",
    "reach",
    "reach_of_anchors",
    "reachable_cosine",
    "reconstruction_scores",
    "recovery",
    "recovery_by_frequency",
    "row_cosines",
    "simulated_nearest",
    "smallest_cosine",
    "supports",
    "tangent_kernel",
    "true_transcoder",
    "uniqueness",
]
