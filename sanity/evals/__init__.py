"""Evals: each returns a `Score` between a floor and a ceiling."""

from __future__ import annotations

from sanity.engine.naming import import_modules
from sanity.evals.across_seeds import AcrossSeeds
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting
from sanity.evals.beyond_affine import BeyondAffine
from sanity.evals.causal_editing import CausalEditing
from sanity.evals.cone import reach_of_anchors
from sanity.evals.cones import Cones
from sanity.evals.crosscoding import Crosscoding
from sanity.evals.directions import Directions, smallest_cosine
from sanity.evals.feature_recovery import max_cosines, recovery, recovery_by_frequency
from sanity.evals.geometry import Geometry
from sanity.evals.interpretability import Contexts, Interpretability
from sanity.evals.judging import JudgedInterpretability
from sanity.evals.loss import Loss
from sanity.evals.metric import METRICS, Metric
from sanity.evals.probes import HeldOutEVProbe, RecoveryProbe
from sanity.evals.reconstruction import Reconstruction, explained_variance
from sanity.evals.score import Score
from sanity.evals.sparse_probing import SparseProbing
from sanity.evals.sphere import expected_max_cosine, log_any_above, reachable_cosine
from sanity.evals.splicing import LossRecovered, loss_recovered
from sanity.evals.true_features import Recovery
from sanity.evals.true_map import TrueMap, map_scores, true_transcoder

__all__ = [
    "METRICS",
    "AcrossSeeds",
    "BeyondAffine",
    "Candidate",
    "CausalEditing",
    "Cones",
    "Contexts",
    "Crosscoding",
    "Directions",
    "Eval",
    "EvalResult",
    "Geometry",
    "Grades",
    "HeldOutEVProbe",
    "Interpretability",
    "JudgedInterpretability",
    "Loss",
    "LossRecovered",
    "Metric",
    "Reconstruction",
    "Recovery",
    "RecoveryProbe",
    "Score",
    "Setting",
    "SparseProbing",
    "TrueMap",
    "expected_max_cosine",
    "explained_variance",
    "log_any_above",
    "loss_recovered",
    "map_scores",
    "max_cosines",
    "reach_of_anchors",
    "reachable_cosine",
    "recovery",
    "recovery_by_frequency",
    "smallest_cosine",
    "true_transcoder",
]

import_modules(__name__)
