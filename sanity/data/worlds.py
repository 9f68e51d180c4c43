"""Worlds beyond the paper's limits: features of Zipf's frequencies, correlated, in a hierarchy, in noise.

Frequencies and dependence (see `dependence`) are those of SynthSAEBench (Chanin and Garriga-Alonso,
2602.14687), as sae-lens makes them: under Zipf, the feature of rank r is active with probability
lowest + (highest - lowest) s_r, where s_r = r^-exponent brought to [0, 1].

Two things stay the paper's: features are uniform on the sphere (the benchmark makes them almost orthogonal),
and coefficients are lognormal (there: normal, cut at 0). Noise is ours. Mean and covariance remain exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from sanity.data.dependence import Copula, Correlation, Hierarchy
from sanity.data.layered import LayeredSpec
from sanity.data.places import Places
from sanity.data.synthetic import SyntheticSpec, SyntheticWorld
from sanity.engine.arguments import CheckedDataclass
from sanity.errors import BadInputError


@dataclass(frozen=True)
class Zipf(CheckedDataclass):
    """Frequencies that fall with rank as a power law, from `highest` to `lowest`."""

    exponent: float = 1.0
    highest: float = 0.3
    lowest: float = 0.001

    def __post_init__(self) -> None:
        if self.exponent <= 0 or not 0 < self.lowest < self.highest < 1:
            raise BadInputError(
                f"Zipf frequencies were given exponent {self.exponent} from {self.highest} to {self.lowest}: "
                "the exponent must be above 0, and 0 < lowest < highest < 1"
            )

    def probabilities(self, n: int) -> Float[Tensor, " n"]:
        """From the most to the least frequent of `n` features."""
        powers = torch.arange(1, n + 1, dtype=torch.float64) ** -self.exponent
        spread = (powers - powers[-1]) / (powers[0] - powers[-1]) if n > 1 else torch.ones(1)
        return self.lowest + (self.highest - self.lowest) * spread


@dataclass(frozen=True)
class HarderSpec(SyntheticSpec):
    """A world with any of the extensions; with none it is the paper's.

    `zipf` replaces `probabilities`. A hierarchy has frequencies of its own that sum to `expected_l0`, and
    goes with noise but neither with Zipf nor with correlation.
    """

    zipf: Zipf | None = None
    correlation: Correlation | None = None
    hierarchy: Hierarchy | None = None
    noise: float = 0.0
    """E||noise||^2 as a share of the variance that the features make."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise < 0:
            raise BadInputError(f"a synthetic world has noise={self.noise}: it must not be negative")
        if self.hierarchy is not None:
            if self.zipf is not None or self.correlation is not None or self.probabilities != "constant":
                raise BadInputError(
                    "a hierarchy sets the features' frequencies and dependence: "
                    "leave zipf and correlation out, and probabilities at 'constant'"
                )
            self.hierarchy.level_sizes(self.n_features)


def world_of(
    spec: SyntheticSpec, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> SyntheticWorld:
    """The world that `spec` defines, the paper's, one of several layers, or a harder one.

    The directions behind its features depend on seed and size alone.
    """
    paper = SyntheticWorld.from_spec(spec, device=device, dtype=dtype)
    if isinstance(spec, LayeredSpec):
        return SyntheticWorld(spec, spec.layered(paper.features), paper.probabilities)
    if not isinstance(spec, HarderSpec):
        return paper
    p = paper.probabilities
    if spec.zipf is not None:
        p = spec.zipf.probabilities(spec.n_features).to(device)
    elif spec.hierarchy is not None:
        p = spec.hierarchy.probabilities(spec.n_features, spec.expected_l0).to(device)
    return HarderWorld(spec, paper.features, p)


class HarderWorld(SyntheticWorld):
    """A world with Zipf frequencies, dependent features, noise, or several of these."""

    spec: HarderSpec

    def __init__(
        self,
        spec: HarderSpec,
        features: Float[Tensor, "n_features d_in"],
        probabilities: Float[Tensor, " n_features"],
    ) -> None:
        super().__init__(spec, features, probabilities)
        device, n = features.device, spec.n_features
        self._dependence: Copula | Hierarchy | None = spec.hierarchy
        self.parents: Int[Tensor, " n_features"] = torch.full((n,), -1, device=device)
        """Of each feature; -1 for those that have none."""
        if spec.hierarchy is not None:
            self.parents = spec.hierarchy.parents(n).to(device)
        if spec.correlation is not None:
            self._dependence = Copula(spec.correlation.factor(n, spec.seed).to(device))
        if self._dependence is not None:
            self._set_dependent_moments()
        self.noise_sigma = math.sqrt(spec.noise * self.variance / spec.d_in)
        """Standard deviation of the noise in each dimension."""
        if spec.noise:
            self.covariance = self.covariance + self.noise_sigma**2 * torch.eye(spec.d_in).to(features)
            self.variance *= 1 + spec.noise

    def _set_dependent_moments(self) -> None:
        """Covariance of x from the probabilities that two features are active together."""
        first, second = (math.exp(k * k * self.spec.coefficient_sigma**2 / 2) for k in (1, 2))
        p, f = self.probabilities.double(), self.features.double()
        excess = self.joint_probabilities() - p[:, None] * p
        coefficients = excess.mul_(first**2)
        coefficients.diagonal().copy_(p * second - (p * first) ** 2)
        covariance = f.T @ coefficients @ f
        self.covariance = covariance.to(self.features.dtype)
        self.variance = float(covariance.trace())

    def joint_probabilities(self) -> Float[Tensor, "n_features n_features"]:
        """How often two features are active together, in float64; how often each is, on the diagonal."""
        p = self.probabilities.double()
        joint = self._dependence.joint(p) if self._dependence is not None else p[:, None] * p
        joint.diagonal().copy_(p)
        return joint

    @override
    def _finished(self, x: Float[Tensor, "n d_in"], generator: torch.Generator) -> Float[Tensor, "n d_in"]:
        if self.noise_sigma:
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            x.add_(noise, alpha=self.noise_sigma)
        return x

    @override
    def _drawn_in_places(
        self, n: int, generator: torch.Generator
    ) -> tuple[Places, Float[Tensor, " *places"], Float[Tensor, "n d_in"]]:
        """Dependent features are summed by a dense product: which of them are active, only the card knows."""
        if self._dependence is None:
            return super()._drawn_in_places(n, generator)
        self._check_request(n, generator)
        active = self._dependence.active(self.probabilities, n, generator)
        values = self._values(active.numel(), generator).view_as(active).mul_(active)
        return Places.every(active), values, self._finished(values @ self.features, generator)

    @override
    def _support(
        self, n: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Int[Tensor, " rows_and_end"]]:
        """As for independent features; dependent ones cost time in proportion to all that exist."""
        if self._dependence is None:
            return super()._support(n, generator)
        self._check_request(n, generator)
        active = self._dependence.active(self.probabilities, n, generator)
        rows, features = active.nonzero(as_tuple=True)
        row_starts = torch.zeros(n + 1, dtype=torch.int64, device=active.device)
        torch.cumsum(active.sum(1), 0, out=row_starts[1:])
        return rows, features, row_starts
