"""The paper's synthetic world: sparse sums of known unit features (Section 3, Appendix B).

    x = sum_i b_i c_i f_i,   b_i ~ Bernoulli(p_i),   c_i ~ LogNormal(0, sigma),   f_i uniform on the sphere,

all independent, without noise or bias. The mean and covariance of x are known in closed form, so nothing
has to be estimated before a run, and drawing n samples costs time in proportion to the features that are
active in them rather than to all that exist: a batch of 4,096 of the paper's world takes about 2 ms of one
core, a hundredth of what it takes when every one of the 3,200 coins is tossed. On a graphics card they are
drawn in a fixed number of places, so that nothing is read back (see `places`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sanity.data.places import Coefficients, PlacedCoefficients, Places, SyntheticBatch
from sanity.engine.arguments import CheckedDataclass, Seed, checked, usable_device
from sanity.engine.config import digest
from sanity.engine.progress import track
from sanity.errors import BadInputError

# PyTorch's generator on the CPU keeps 32 bits of its seed.
_SEEDS = 2**32


@dataclass(frozen=True)
class SyntheticSpec(CheckedDataclass):
    """Everything that defines a world.

    Raises `BadInputError` for values that define none.

    >>> SyntheticSpec(probabilities="variable").n_features
    3200
    """

    d_in: int = 100
    """Width of the samples."""
    n_features: int = 3200
    """Number of true features."""
    probabilities: str = "constant"
    """constant: the same p for every feature. variable: p ~ LogUniform."""
    expected_l0: float = 20.0
    """constant: features active per sample, on average; p = expected_l0 / n_features."""
    log10_low: float = -5.5
    """variable: log10 of the smallest p."""
    log10_high: float = -1.2
    """variable: log10 of the largest p."""
    coefficient_sigma: float = 0.25
    """Sigma of the lognormal coefficients (the paper does not say whether 0.25 is sigma or variance)."""
    seed: Seed = 0
    """Draws features and probabilities. Worlds of one seed and one size share their features."""

    def __post_init__(self) -> None:
        if self.d_in < 1 or self.n_features < 1:
            raise BadInputError(
                f"a synthetic world has d_in={self.d_in} and n_features={self.n_features}: "
                "both must be at least 1"
            )
        if self.probabilities not in ("constant", "variable"):
            raise BadInputError(
                f"a synthetic world has probabilities={self.probabilities!r}: choose 'constant' or 'variable'"
            )
        if self.probabilities == "constant" and not 0 < self.expected_l0 < self.n_features:
            raise BadInputError(
                f"a synthetic world has expected_l0={self.expected_l0}: "
                f"it must lie above 0 and below n_features={self.n_features}"
            )
        if self.probabilities == "variable" and not -300 <= self.log10_low < self.log10_high < 0:
            raise BadInputError(
                f"a synthetic world has probabilities from 10^{self.log10_low} to 10^{self.log10_high}: "
                "the exponents must rise and stay below 0"
            )
        if not 0 <= self.coefficient_sigma < 10:
            raise BadInputError(
                f"a synthetic world has coefficient_sigma={self.coefficient_sigma}: it must lie in [0, 10)"
            )


class SyntheticWorld:
    """Known features, how often each is active, and samples made of them.

    `features` [n_features, d_in] has unit rows; `probabilities` [n_features] lies in (0, 1); `mean` [d_in]
    and `covariance` [d_in, d_in] are the exact moments of the samples.
    """

    def __init__(
        self,
        spec: SyntheticSpec,
        features: Float[Tensor, "n_features d_in"],
        probabilities: Float[Tensor, " n_features"],
    ) -> None:
        self.spec = spec
        self.features = features
        self.probabilities = probabilities
        p, f = probabilities.double(), features.double()
        first, second = math.exp(spec.coefficient_sigma**2 / 2), math.exp(2 * spec.coefficient_sigma**2)
        variances = p * second - (p * first) ** 2
        self.mean: Float[Tensor, " d_in"] = ((p * first) @ f).to(features.dtype)
        self.covariance: Float[Tensor, "d_in d_in"] = (f.T @ (variances[:, None] * f)).to(features.dtype)
        self.variance = float(variances.sum())
        """E||x - mean||^2: since the features have length 1, the sum of the coefficients' variances."""
        self._rates = -torch.log1p(-p)
        self._events = float(self._rates.sum())
        self.in_places = features.device.type != "cpu"
        """Whether samples are drawn in a fixed number of places, without a read by the host."""

    @classmethod
    @checked
    def from_spec(
        cls, spec: SyntheticSpec, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> SyntheticWorld:
        """The world that `spec` defines: the same on every device, up to rounding to `dtype`."""
        device = usable_device(device)
        directions = torch.Generator().manual_seed(seed_of("features", spec.seed))
        gaussian = torch.randn(spec.n_features, spec.d_in, generator=directions, dtype=torch.float64)
        features = functional.normalize(gaussian, dim=1)
        if spec.probabilities == "constant":
            p = torch.full((spec.n_features,), spec.expected_l0 / spec.n_features, dtype=torch.float64)
        else:
            exponents = torch.Generator().manual_seed(seed_of("probabilities", spec.seed))
            uniform = torch.rand(spec.n_features, generator=exponents, dtype=torch.float64)
            p = 10 ** (spec.log10_low + (spec.log10_high - spec.log10_low) * uniform)
        return cls(spec, features.to(device=device, dtype=dtype), p.to(device))

    @checked
    def sample(self, n: int, *, generator: torch.Generator) -> SyntheticBatch:
        """Draw `n` samples, on a card without a read; `generator` must live on the world's device."""
        if self.in_places:
            places, values, x = self._drawn_in_places(n, generator)
            return SyntheticBatch(x, PlacedCoefficients(places, values, self.spec.n_features))
        rows, features, row_starts = self._support(n, generator)
        values = self._values(len(rows), generator)
        x = self._finished(self._sums(features, row_starts[:-1], values), generator)
        return SyntheticBatch(x, Coefficients(rows, features, values, row_starts, self.spec.n_features))

    def _drawn_in_places(
        self, n: int, generator: torch.Generator
    ) -> tuple[Places, Float[Tensor, " *places"], Float[Tensor, "n d_in"]]:
        """Active features in places, their coefficients (0 where a place is not needed), and the samples."""
        self._check_request(n, generator)
        places = Places.drawn(self._rates, self._events, n, generator)
        values = self._values(len(places.rows), generator) * places.needed
        # A last bag takes the places after the last row.
        x = self._sums(places.features, places.row_starts, values)[:-1]
        return places, values, self._finished(x, generator)

    def _values(self, many: int, generator: torch.Generator) -> Float[Tensor, " many"]:
        """Lognormal coefficients."""
        device, dtype = self.features.device, self.features.dtype
        noise = torch.randn(many, generator=generator, device=device, dtype=dtype)
        return noise.mul_(self.spec.coefficient_sigma).exp_()

    def _sums(
        self, features: Int[Tensor, " active"], starts: Int[Tensor, " bags"], values: Float[Tensor, " active"]
    ) -> Float[Tensor, "bags d_in"]:
        """A bag of embeddings is the product of a sparse matrix (CSR) with a dense one."""
        return functional.embedding_bag(
            features, self.features, starts, mode="sum", per_sample_weights=values
        )

    def _finished(self, x: Float[Tensor, "n d_in"], generator: torch.Generator) -> Float[Tensor, "n d_in"]:
        """Samples with what comes on top of their features: here nothing."""
        return x

    def _support(
        self, n: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Int[Tensor, " rows_and_end"]]:
        """Rows, features and row starts of the active features of `n` samples.

        Exact: a coin with probability p shows heads just when a Poisson count of mean -log(1 - p) is not 0.
        The counts of one feature over all rows sum to one Poisson count, whose events fall on rows
        uniformly and independently; two events on one row are one active feature.
        """
        self._check_request(n, generator)
        if self.in_places:
            return Places.drawn(self._rates, self._events, n, generator).active()
        device, m = self.features.device, self.spec.n_features
        counts = torch.poisson(self._rates * n, generator=generator).long()
        events = torch.repeat_interleave(counts)
        index_type = torch.int32 if n * m < 2**31 else torch.int64
        rows = torch.randint(n, events.shape, generator=generator, device=device, dtype=index_type)
        cells = torch.unique_consecutive(rows.mul_(m).add_(events).sort().values)
        rows = torch.div(cells, m, rounding_mode="floor")
        features = (cells - rows * m).long()
        row_starts = torch.zeros(n + 1, dtype=torch.int64, device=device)
        torch.cumsum(torch.bincount(rows, minlength=n), 0, out=row_starts[1:])
        return rows.long(), features, row_starts

    def _check_request(self, n: int, generator: torch.Generator) -> None:
        device = self.features.device
        if n < 1:
            raise BadInputError(f"{n} samples were asked of a synthetic world: ask for at least 1")
        if generator.device.type != device.type:
            raise BadInputError(
                f"the generator lives on {generator.device} and the synthetic world on {device}: "
                f"make it with torch.Generator(device={device.type!r})"
            )


class SyntheticStream:
    """Batches of a world, each a pure function of (world, seed, batch_size, step), in any order.

    `batch` gives (x - centre) * factor: mean 0 and E||x||^2 = d_in, both exactly and not by estimation.
    `sample` gives the same samples as the world makes them, with their coefficients.

    Attributes: d_in; batch_size; key, which names the data and their order; centre [d_in] (zeros with
    `centre=False`); factor (1 with `scale=False`).
    """

    @checked
    def __init__(
        self,
        world: SyntheticWorld,
        *,
        batch_size: int,
        seed: Seed,
        centre: bool = True,
        scale: bool = True,
    ) -> None:
        if batch_size < 1:
            raise BadInputError(f"a synthetic stream has batch_size={batch_size}: it must be at least 1")
        self.world = world
        self.d_in = world.spec.d_in
        self.batch_size = batch_size
        self.centre = world.mean if centre else torch.zeros_like(world.mean)
        offset = 0.0 if centre else float(world.mean.double().square().sum())
        self.factor = math.sqrt(self.d_in / (world.variance + offset)) if scale else 1.0
        self._first_seed = seed_of(world.spec, seed, batch_size)
        # Generators of different devices, and draws of different precision, give different numbers.
        drawn = [str(world.features.dtype), world.features.device.type, *["places"] * world.in_places]
        self.key = f"synthetic-{digest([world.spec, seed, batch_size, centre, scale, drawn])}"

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of a step, centred and scaled."""
        return self.sample(step).x.sub_(self.centre).mul_(self.factor)

    def sample(self, step: int) -> SyntheticBatch:
        """The batch of a step, raw, with the features that are active in it."""
        return self.world.sample(self.batch_size, generator=self._generator(step))

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """The exact covariance of what `batch` gives."""
        return self.world.covariance * self.factor**2

    def times_active(self, steps: int) -> Int[Tensor, " n_features"]:
        """How often each feature was active in the batches of steps 0 to `steps` - 1.

        Draws the supports again, without the samples: about two thirds of the cost of the batches.
        """
        times = torch.zeros_like(self.world.probabilities, dtype=torch.int64)
        for step in track(range(steps), description="counting active features", unit="batch"):
            _, features, _ = self.world._support(self.batch_size, self._generator(step))
            times += torch.bincount(features, minlength=len(times))
        return times

    def _generator(self, step: int) -> torch.Generator:
        return generator_of_step(self._first_seed, step, self.world.features.device)


def seed_of(*parts: object) -> int:
    """A seed in [0, 2^32) from configurations, names and numbers."""
    return int(digest(list(parts))[:16], 16) % _SEEDS


def generator_of_step(first_seed: int, step: int, device: torch.device) -> torch.Generator:
    """The generator that draws the batch of a step, in a stream that begins with the seed `first_seed`.

    Steps walk through the seeds by an odd stride, so that no two batches of a run share one; hashing each
    step would repeat about two batches in 122,000.
    """
    if not 0 <= step < _SEEDS:
        raise BadInputError(f"step {step} was asked of a stream: steps run from 0 to {_SEEDS - 1}")
    return torch.Generator(device).manual_seed((first_seed + step * 0x9E3779B1) % _SEEDS)
