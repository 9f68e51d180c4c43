"""The active features of samples: a sparse matrix, or on a graphics card a fixed number of places.

Where their number does not depend on what is drawn, nothing is read back. Independent features get as many
places as they may need; of dependent ones, which are drawn all at once, each has its place in every sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The active features of n samples: three arrays of equal length, sorted by row, then by feature."""

    rows: Int[Tensor, " active"]
    features: Int[Tensor, " active"]
    values: Float[Tensor, " active"]
    row_starts: Int[Tensor, " rows_and_end"]
    """Where each row begins in the three arrays, and at last their length (CSR)."""
    n_features: int

    def dense(self) -> Float[Tensor, "n n_features"]:
        """As a matrix; zero where a feature is not active."""
        out = self.values.new_zeros(len(self.row_starts) - 1, self.n_features)
        out[self.rows, self.features] = self.values
        return out


@dataclass(frozen=True, eq=False)
class Places:
    """Places for the active features of n samples, sorted by row, then by feature; not all are needed."""

    rows: Int[Tensor, " *places"]
    features: Int[Tensor, " *places"]
    row_starts: Int[Tensor, " rows_and_end"]
    """Where each row begins among the places."""
    needed: Bool[Tensor, " *places"]

    @classmethod
    def every(cls, active: Bool[Tensor, "n n_features"]) -> Places:
        """One for every feature of every sample; those of the `active` ones are needed."""
        (n, m), device = active.shape, active.device
        rows, features = torch.arange(n, device=device), torch.arange(m, device=device)
        starts = torch.arange(0, n * m + 1, m, device=device)
        return cls(rows[:, None].expand(n, m), features.expand(n, m), starts, active)

    @classmethod
    def drawn(
        cls, rates: Float[Tensor, " n_features"], events: float, n: int, generator: torch.Generator
    ) -> Places:
        """Of `n` samples, each feature with a Poisson count of its rate in each; `events` is the rates' sum.

        Exact but for one draw in 10^14: so many events, Poisson of mean n * `events`, each of a feature in
        proportion to its rate and of any row. There is room for eight standard deviations more than the mean.
        """
        device, m, mean = rates.device, rates.numel(), n * events
        room = math.ceil(mean + 8 * math.sqrt(mean)) + 32
        count = torch.poisson(torch.full((1,), mean, dtype=torch.float64, device=device), generator=generator)
        uniform = torch.rand(room, generator=generator, device=device, dtype=torch.float64)
        features = torch.searchsorted(rates.cumsum(0) / events, uniform, right=True).clamp_max_(m - 1)
        rows = torch.randint(n, (room,), generator=generator, device=device)
        happened = torch.arange(room, device=device) < count
        cells = torch.where(happened, rows * m + features, n * m).sort().values
        needed = cells < n * m
        needed[1:] &= cells[1:] != cells[:-1]  # two events on one row are one active feature
        row_starts = torch.searchsorted(cells, torch.arange(0, n * m + 1, m, device=device))
        return cls(torch.div(cells, m, rounding_mode="floor"), cells % m, row_starts, needed)

    def active(self) -> tuple[Int[Tensor, " active"], Int[Tensor, " active"], Int[Tensor, " rows_and_end"]]:
        """Rows, features and row starts of the needed places alone; the host waits for their number."""
        before = torch.cat([self.row_starts.new_zeros(1), self.needed.flatten().cumsum(0)])
        return self.rows[self.needed], self.features[self.needed], before[self.row_starts]


@dataclass(frozen=True, eq=False)
class PlacedCoefficients:
    """Places with the coefficients in them: 0 in those that are not needed."""

    places: Places
    values: Float[Tensor, " *places"]
    n_features: int

    def coefficients(self) -> Coefficients:
        """Of the active features alone; the host waits for their number."""
        rows, features, row_starts = self.places.active()
        return Coefficients(rows, features, self.values[self.places.needed], row_starts, self.n_features)

    def dense(self) -> Float[Tensor, "n n_features"]:
        """As a matrix; the host reads nothing."""
        places, m = self.places, self.n_features
        n = len(places.row_starts) - 1
        cells = torch.where(places.needed, places.rows * m + places.features, n * m)
        out = self.values.new_zeros(n * m + 1)  # the last takes what is not needed
        return out.scatter_(0, cells.flatten(), self.values.flatten())[:-1].view(n, m)


@dataclass(frozen=True, eq=False)
class SyntheticBatch:
    """Samples with the features that made them: x = coefficients @ features."""

    x: Float[Tensor, "n d_in"]
    made_of: Coefficients | PlacedCoefficients

    @cached_property
    def coefficients(self) -> Coefficients:
        """The active features; where they were drawn in places, the host waits for their number."""
        return self.made_of if isinstance(self.made_of, Coefficients) else self.made_of.coefficients()

    def dense_coefficients(self) -> Float[Tensor, "n n_features"]:
        """Coefficients as a matrix; zero where a feature is not active. The host reads nothing."""
        return self.made_of.dense()
