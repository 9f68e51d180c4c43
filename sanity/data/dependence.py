"""Features that depend on each other: by a Gaussian copula, or as children of a parent in a forest.

The definitions are those of SynthSAEBench (Chanin and Garriga-Alonso, 2602.14687), as sae-lens makes them:

* Correlation: a Gaussian copula. Feature i is active when g_i > Phi^-1(1 - p_i), with g a Gaussian vector of
  correlation F F^T + diag, F of low rank. Every feature keeps its own frequency.
* Hierarchy: a forest, breadth first. A child is active only when its parent is; of an exclusive family's
  children that would be active at once one is kept, at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.data.synthetic import seed_of
from sanity.engine.arguments import CheckedDataclass
from sanity.errors import BadInputError

# Of a row of F; what is left to a feature's own part keeps thresholds finite (sae-lens caps there, too).
_LARGEST_SHARED = 0.99
# The copula's series ends after so many terms, or when the powers of the correlation are below this.
_TERMS, _SMALL = 2000, 1e-13


@dataclass(frozen=True)
class Correlation(CheckedDataclass):
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


@dataclass(frozen=True, eq=False)
class Copula:
    """What a `Correlation` makes of features: each is active when its own Gaussian is above a threshold."""

    factor: Float[Tensor, "n rank"]

    def active(
        self, p: Float[Tensor, " n"], n_samples: int, generator: torch.Generator
    ) -> Bool[Tensor, "n_samples n"]:
        """Which features are active in each sample."""
        factor = self.factor.float()
        device, own = factor.device, (1 - factor.square().sum(1)).sqrt()
        threshold = torch.special.ndtri(1 - p.double()).float()
        causes = torch.randn(n_samples, factor.shape[1], generator=generator, device=device)
        g = torch.randn(n_samples, factor.shape[0], generator=generator, device=device)
        return g > torch.addmm(threshold / own, causes, (factor / own[:, None]).T, alpha=-1)

    def joint(self, p: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
        """P(g_i > t_i and g_j > t_j) by the tetrachoric series, in powers of the correlation r:

        p_i p_j + phi(t_i) phi(t_j) sum_k r^(k+1) He_k(t_i) He_k(t_j) / (k+1)!

        (of two different features).
        """
        t = torch.special.ndtri(1 - p)
        density = torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi)
        r = self.factor @ self.factor.T
        r.fill_diagonal_(0.0)
        # h_k = He_k / sqrt(k!), which stays of moderate size: the k-th term is r^(k+1) h_k h_k / (k + 1).
        before, h = torch.zeros_like(t), density.clone()
        joint, power = p[:, None] * p, r.clone()
        for k in range(_TERMS):
            joint += power * (h[:, None] * h) / (k + 1)
            power *= r
            before, h = h, (t * h - math.sqrt(k) * before) / math.sqrt(k + 1)
            if float(power.abs().max()) < _SMALL:
                break
        return joint


@dataclass(frozen=True)
class Hierarchy(CheckedDataclass):
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

    def active(
        self, p: Float[Tensor, " n"], n_samples: int, generator: torch.Generator
    ) -> Bool[Tensor, "n_samples n"]:
        """Roots by independent coins, then generation by generation the children of what is active."""
        sizes = self.level_sizes(len(p))
        u = torch.rand(n_samples, len(p), generator=generator, device=p.device)
        parts = torch.split(u, sizes, dim=1)
        level = parts[0] < p[0]
        levels = [level]
        for size, coins in zip(sizes[1:], parts[1:], strict=True):
            families = coins.view(n_samples, size // self.branching, self.branching)
            wanted = families < self.child_probability
            if self.exclusive:
                # Given that it is below the bar, a coin is uniform below it: the smallest is a fair draw.
                wanted &= families == families.amin(2, keepdim=True)
            level = (wanted & level[:, :, None]).view(n_samples, size)
            levels.append(level)
        return torch.cat(levels, dim=1)

    def joint(self, p: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
        """How often two features are active together.

        Given their last common ancestor, two branches are independent, or never active at once.
        """
        joint = p[:, None] * p
        lines = [torch.arange(len(p), device=p.device)]  # each feature's line of ancestors, itself first
        parents = self.parents(len(p)).to(p.device)
        while bool((lines[-1] >= 0).any()):
            lines.append(torch.where(lines[-1] >= 0, parents[lines[-1].clamp(min=0)], -1))
        # From the oldest generation to the youngest: the last common ancestor is the one that stays.
        for ancestor in _from_roots(lines):
            together = (ancestor[:, None] == ancestor) & (ancestor >= 0)
            common = p[ancestor.clamp(min=0)]
            apart = torch.zeros_like(joint) if self.exclusive else p[:, None] * p / common[:, None]
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
