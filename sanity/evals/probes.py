"""Evals along a run: small callables that `train` calls with the SAE at steps of its curve.

Each has a `name` and returns numbers by name, which become the curve's columns `name.number`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.alignment import cosine_quantiles, row_cosines
from sanity.evals.feature_recovery import RECOVERED, max_cosines, mean_max_cosine_of, recovery_of
from sanity.evals.inputs import SparseAutoencoder, require_finite
from sanity.evals.reconstruction import reconstruction_scores


@dataclass(frozen=True, eq=False)
class RecoveryProbe:
    """How much of a synthetic world's features the decoder holds.

    Columns: recovery, mean_max_cosine, and with `probabilities` frequency_weighted_recovery.
    """

    features: Float[Tensor, "n_features d_in"]
    probabilities: Float[Tensor, " n_features"] | None = None
    threshold: float = RECOVERED
    name: str = field(default="recovery", init=False)

    def __call__(self, sae: SparseAutoencoder, step: int) -> Mapping[str, float]:
        """Measure `sae`."""
        W_dec = sae.W_dec.detach()
        cosines = max_cosines(self.features, W_dec)
        scores = [
            recovery_of(cosines, W_dec, threshold=self.threshold),
            mean_max_cosine_of(cosines, W_dec),
        ]
        if self.probabilities is not None:
            weighted = recovery_of(cosines, W_dec, threshold=self.threshold, probabilities=self.probabilities)
            scores.append(weighted)
        return {score.metric: score.value for score in scores}


@dataclass(frozen=True, eq=False)
class CosineToInitProbe:
    """How far the decoder directions have turned from `W0`; without one, from where each run began.

    Columns: mean, and over latents the quantiles q05, q25, q50, q75, q95.
    """

    W0: Float[Tensor, "d_sae d_in"] | None = None
    name: str = field(default="cosine_to_init", init=False)

    def anchored(self, directions: Float[Tensor, "d_sae d_in"]) -> CosineToInitProbe:
        """The probe of a run that began with `directions`; a `W0` that was given stays."""
        return self if self.W0 is not None else replace(self, W0=directions)

    def __call__(self, sae: SparseAutoencoder, step: int) -> Mapping[str, float]:
        """Measure `sae`."""
        if self.W0 is None:
            raise BadInputError(
                "CosineToInitProbe() knows no start: ask `anchored(directions)`, or give it W0 [d_sae, d_in]"
            )
        return cosine_quantiles(row_cosines(sae.W_dec, self.W0, names=("W_dec", "W0")))


@dataclass(frozen=True, eq=False)
class HeldOutEVProbe:
    """Explained variance, L0 and dead latents on samples that are not trained on.

    Columns: explained_variance, l0, dead_latents.
    """

    x: Float[Tensor, "n d_in"]
    target: Float[Tensor, "n d_out"] | None = None
    """Of transcoders, what is to be explained."""
    name: str = field(default="held_out", init=False)

    def __post_init__(self) -> None:
        require_finite("the held-out batch", self.x)
        if len(self.x) < 2:
            raise BadInputError(f"the held-out batch has {len(self.x)} samples: give at least 2")

    def __call__(self, sae: SparseAutoencoder, step: int) -> Mapping[str, float]:
        """Measure `sae`."""
        targets = None if self.target is None else [self.target]
        return {n: score.value for n, score in reconstruction_scores(sae, [self.x], targets=targets).items()}
