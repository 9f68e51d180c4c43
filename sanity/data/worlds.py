"""Worlds beyond the paper's limits: features of Zipf's frequencies, correlated, in a hierarchy, in noise.

The definitions are those of SynthSAEBench (Chanin and Garriga-Alonso, 2602.14687), as sae-lens makes them:

* Zipf: feature of rank r is active with lowest + (highest - lowest) s_r, s_r = r^-exponent brought to [0, 1].
* Correlated: a Gaussian copula. Feature i is active when g_i > Phi^-1(1 - p_i), with g a Gaussian vector of
  correlation F F^T + diag, F of low rank. Every feature keeps its own frequency.
* Hierarchy: a forest, breadth first. A child is active only when its parent is; of an exclusive family's
  children that would be active at once one is kept, by lot.

Two things stay the paper's: features are uniform on the sphere (the benchmark makes them almost orthogonal),
and coefficients are lognormal (there: normal, cut at 0). Noise is ours. Mean and covariance remain exact.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from sanity.data.synthetic import SyntheticBatch, SyntheticSpec, SyntheticWorld, seed_of
from sanity.errors import BadInputError

# Of a row of F; what is left to a feature's own part keeps thresholds finite (sae-lens caps there, too).
_LARGEST_SHARED = 0.99


@dataclass(frozen=True)
class Zipf:
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
class Correlation:
    """A low-rank Gaussian copula between features."""

    rank: int = 16
    """Number of hidden causes that features share."""
    scale: float = 0.15
    """Standard deviation of a feature's weight on a cause: about scale^2 * rank of its variance is shared."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.scale < 0:
            raise BadInputError(
                f"a correlation was given rank {self.rank} and scale {self.scale}: "
                "the rank must be at least 1 and the scale not negative"
            )

    def factor(self, n: int, seed: int) -> Float[Tensor, "n rank"]:
        """F, one row per feature, none longer than sqrt(0.99)."""
        generator = torch.Generator().manual_seed(seed_of("correlation", seed))
        factor = self.scale * torch.randn(n, self.rank, generator=generator, dtype=torch.float64)
        shared = factor.square().sum(1, keepdim=True)
        return factor * (_LARGEST_SHARED / shared).sqrt().clamp(max=1.0)


@dataclass(frozen=True)
class Hierarchy:
    """Trees of features, all of one shape; roots come first, then their children, and so on."""

    branching: int = 4
    """Children of every parent."""
    depth: int = 1
    """Generations below the roots."""
    child_probability: float = 0.25
    """With which a child would be active, given its parent, if it had no siblings to exclude it."""
    exclusive: bool = True
    """Whether at most one child of a parent is active at a time."""

    def __post_init__(self) -> None:
        if self.branching < 1 or self.depth < 1 or not 0 < self.child_probability < 1:
            raise BadInputError(
                f"a hierarchy was given branching {self.branching}, depth {self.depth} and child_probability "
                f"{self.child_probability}: the first two must be at least 1, the last between 0 and 1"
            )

    def level_sizes(self, n: int) -> list[int]:
        """Features per generation; `BadInputError` when `n` features are not a whole number of trees."""
        shape = [self.branching**level for level in range(self.depth + 1)]
        if n % sum(shape):
            raise BadInputError(
                f"{n} features do not make whole trees of {sum(shape)} "
                f"(branching {self.branching}, depth {self.depth}): choose a multiple"
            )
        return [n // sum(shape) * size for size in shape]

    def parents(self, n: int) -> Int[Tensor, " n"]:
        """The parent of each feature; -1 for roots."""
        sizes = self.level_sizes(n)
        parts, first = [torch.full((sizes[0],), -1, dtype=torch.int64)], 0
        for size in sizes[1:]:
            parts.append(first + torch.arange(size) // self.branching)
            first += size // self.branching
        return torch.cat(parts)

    def share(self) -> float:
        """Probability that a child is active, given that its parent is."""
        if not self.exclusive:
            return self.child_probability
        # One of those that would be active is kept: the chance that any would, divided among them all.
        return -math.expm1(self.branching * math.log1p(-self.child_probability)) / self.branching

    def probabilities(self, n: int, expected_l0: float) -> Float[Tensor, " n"]:
        """How often each feature is active, with `expected_l0` active ones on average."""
        sizes = self.level_sizes(n)
        relative = torch.cat(
            [torch.full((s,), self.share() ** k, dtype=torch.float64) for k, s in enumerate(sizes)]
        )
        p = relative * (expected_l0 / float(relative.sum()))
        if float(p[0]) >= 1:
            raise BadInputError(
                f"a hierarchy with {sizes[0]} roots cannot have {expected_l0:g} active features on average: "
                "their probability would be above 1"
            )
        return p


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
    """The world that `spec` defines, of whichever kind; features depend on seed and size alone."""
    plain = SyntheticSpec(
        **{field.name: getattr(spec, field.name) for field in dataclasses.fields(SyntheticSpec)}
    )
    paper = SyntheticWorld.from_spec(plain, device=device, dtype=dtype)
    if not isinstance(spec, HarderSpec):
        return paper
    p = paper.probabilities
    if spec.zipf is not None:
        p = spec.zipf.probabilities(spec.n_features).to(device)
    elif spec.hierarchy is not None:
        p = spec.hierarchy.probabilities(spec.n_features, spec.expected_l0).to(device)
    return HarderWorld(spec, paper.features, p)


class HarderWorld(SyntheticWorld):
    """A world whose features are not independent, not equally frequent, or not all that there is."""

    spec: HarderSpec

    def __init__(
        self,
        spec: HarderSpec,
        features: Float[Tensor, "n_features d_in"],
        probabilities: Float[Tensor, " n_features"],
    ) -> None:
        super().__init__(spec, features, probabilities)
        device, n = features.device, spec.n_features
        self.parents: Int[Tensor, " n_features"] = (
            torch.full((n,), -1) if spec.hierarchy is None else spec.hierarchy.parents(n)
        ).to(device)
        self._factor: Tensor | None = None
        if spec.correlation is not None:
            self._factor = spec.correlation.factor(n, spec.seed).to(device)
        if self._factor is not None or spec.hierarchy is not None:
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
        if self.spec.hierarchy is not None:
            joint = _joint_in_forest(p, self.parents, exclusive=self.spec.hierarchy.exclusive)
        elif self._factor is not None:
            joint = _joint_under_copula(p, self._factor)
        else:
            joint = p[:, None] * p
        joint.diagonal().copy_(p)
        return joint

    @override
    def sample(self, n: int, *, generator: torch.Generator) -> SyntheticBatch:
        """Draw `n` samples; `generator` must live on the world's device."""
        batch = super().sample(n, generator=generator)
        if self.noise_sigma:
            noise = torch.randn(
                batch.x.shape, generator=generator, device=batch.x.device, dtype=batch.x.dtype
            )
            batch.x.add_(noise, alpha=self.noise_sigma)
        return batch

    @override
    def _support(
        self, n: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Int[Tensor, " rows_and_end"]]:
        """As for independent features; dependent ones cost time in proportion to all that exist."""
        if self._factor is None and self.spec.hierarchy is None:
            return super()._support(n, generator)
        self._check_request(n, generator)
        active = self._copula(n, generator) if self._factor is not None else self._forest(n, generator)
        rows, features = active.nonzero(as_tuple=True)
        row_starts = torch.zeros(n + 1, dtype=torch.int64, device=active.device)
        torch.cumsum(active.sum(1), 0, out=row_starts[1:])
        return rows, features, row_starts

    def _copula(self, n: int, generator: torch.Generator) -> Bool[Tensor, "n n_features"]:
        """Features whose Gaussian is above their threshold."""
        assert self._factor is not None
        factor = self._factor.float()
        device, own = factor.device, (1 - factor.square().sum(1)).sqrt()
        threshold = torch.special.ndtri(1 - self.probabilities.double()).float()
        causes = torch.randn(n, factor.shape[1], generator=generator, device=device)
        g = torch.randn(n, factor.shape[0], generator=generator, device=device)
        return g > torch.addmm(threshold / own, causes, (factor / own[:, None]).T, alpha=-1)

    def _forest(self, n: int, generator: torch.Generator) -> Bool[Tensor, "n n_features"]:
        """Roots by independent coins, then generation by generation the children of what is active."""
        tree, device = self.spec.hierarchy, self.features.device
        assert tree is not None
        sizes = tree.level_sizes(self.spec.n_features)
        u = torch.rand(n, self.spec.n_features, generator=generator, device=device)
        parts = torch.split(u, sizes, dim=1)
        level = parts[0] < float(self.probabilities[0])
        levels = [level]
        for size, coins in zip(sizes[1:], parts[1:], strict=True):
            families = coins.view(n, size // tree.branching, tree.branching)
            wanted = families < tree.child_probability
            if tree.exclusive:
                # Given that it is below the bar, a coin is uniform below it: the smallest is a fair lot.
                wanted &= families == families.amin(2, keepdim=True)
            level = (wanted & level[:, :, None]).view(n, size)
            levels.append(level)
        return torch.cat(levels, dim=1)


def _joint_under_copula(p: Float[Tensor, " n"], factor: Float[Tensor, "n rank"]) -> Float[Tensor, "n n"]:
    """P(g_i > t_i and g_j > t_j) by the tetrachoric series, in powers of the correlation r:

    p_i p_j + phi(t_i) phi(t_j) sum_k r^(k+1) He_k(t_i) He_k(t_j) / (k+1)!
    """
    t = torch.special.ndtri(1 - p)
    density = torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi)
    r = factor @ factor.T
    r.fill_diagonal_(0.0)
    # h_k = He_k / sqrt(k!), which stays of moderate size; then the k-th term is r^(k+1) h_k h_k / (k + 1).
    before, h = torch.zeros_like(t), density.clone()
    joint, power = p[:, None] * p, r.clone()
    for k in range(_TERMS):
        joint += power * (h[:, None] * h) / (k + 1)
        power *= r
        before, h = h, (t * h - math.sqrt(k) * before) / math.sqrt(k + 1)
        if float(power.abs().max()) < _SMALL:
            break
    return joint


_TERMS, _SMALL = 2000, 1e-13


def _joint_in_forest(
    p: Float[Tensor, " n"], parents: Int[Tensor, " n"], *, exclusive: bool
) -> Float[Tensor, "n n"]:
    """Given their last common ancestor, two branches are independent, or never active at once."""
    joint = p[:, None] * p
    lines = [torch.arange(len(p), device=p.device)]  # each feature's line of ancestors, itself first
    while bool((lines[-1] >= 0).any()):
        lines.append(torch.where(lines[-1] >= 0, parents[lines[-1].clamp(min=0)], -1))
    # From the oldest generation to the youngest: the last common ancestor is the one that stays.
    for ancestor in _from_roots(lines):
        together = (ancestor[:, None] == ancestor) & (ancestor >= 0)
        common = p[ancestor.clamp(min=0)]
        apart = torch.zeros_like(joint) if exclusive else p[:, None] * p / common[:, None]
        joint = torch.where(together, apart, joint)
        itself = together & (ancestor == torch.arange(len(p), device=p.device))
        joint = torch.where(itself | itself.T, torch.minimum(p[:, None], p), joint)
    return joint


def _from_roots(lines: list[Int[Tensor, " n"]]) -> list[Int[Tensor, " n"]]:
    """The ancestor (or self) of each feature in generation 0, 1, ...; -1 where it is older than that."""
    table = torch.stack(lines[:-1])
    age = (table >= 0).sum(0) - 1
    generations = []
    for generation in range(int(age.max()) + 1):
        steps = age - generation
        found = table.gather(0, steps.clamp(min=0)[None])[0]
        generations.append(torch.where(steps >= 0, found, -1))
    return generations
