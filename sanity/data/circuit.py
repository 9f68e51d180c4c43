"""A synthetic circuit: known features in, a known sparse nonlinear map, known features out.

    x = sum_i c_i f_i,      a_j = ReLU(sum of c_i over what j reads - threshold),      t = sum_j a_j g_j

c are the sparse coefficients of a synthetic world, f its features, g unit directions uniform on the sphere.
Each input feature is read by one output feature, each output feature reads as many. So an MLP is known whose
latents, as many as output features, would compute it with the fewest active: each reads `reading[j]` and
writes `out_features[j]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld, seed_of
from sanity.data.worlds import world_of
from sanity.engine.arguments import CheckedDataclass
from sanity.engine.config import digest
from sanity.errors import BadInputError

_MOMENT_SAMPLES = 65_536
"""Samples from which mean and covariance of the targets are estimated: nobody knows them in closed form."""


@dataclass(frozen=True)
class CircuitSpec(CheckedDataclass):
    """Everything that defines a circuit."""

    world: SyntheticSpec = SyntheticSpec(d_in=32, n_features=384, expected_l0=5.0)
    """Of the inputs."""
    d_out: int = 32
    reads: int = 2
    """Input features that each output feature reads."""
    threshold: float = 0.5
    """What is taken off their sum before the ReLU; an active coefficient is about 1."""

    def __post_init__(self) -> None:
        n = self.world.n_features
        if self.d_out < 2 or self.reads < 1 or n % self.reads:
            raise BadInputError(
                f"a circuit has {n} input features, {self.reads} read by each output feature, and d_out "
                f"{self.d_out}: the first must be a multiple of the second, and d_out at least 2"
            )

    @property
    def n_out(self) -> int:
        """Output features."""
        return self.world.n_features // self.reads


class Circuit:
    """Features in, features out, and which reads which.

    `out_features` [n_out, d_out] and `reading` [n_out, d_in] have unit rows; `reading` is the direction along
    which an output feature's own input features lie. `parents` [n_out, reads] are their numbers.
    """

    def __init__(self, spec: CircuitSpec, world: SyntheticWorld) -> None:
        self.spec, self.world = spec, world
        draw = torch.Generator().manual_seed(seed_of("circuit", spec.world.seed))
        gaussian = torch.randn(spec.n_out, spec.d_out, generator=draw, dtype=torch.float64)
        order = torch.randperm(spec.world.n_features, generator=draw)
        self.out_features: Tensor = functional.normalize(gaussian, dim=1).to(world.features)
        self.parents: Tensor = order.view(spec.n_out, spec.reads).to(world.features.device)
        self.reading: Tensor = functional.normalize(world.features[self.parents].sum(1), dim=1)
        self.probabilities: Tensor = 1 - (1 - world.probabilities[self.parents]).prod(1)

    def computed(self, coefficients: Float[Tensor, "n n_features"]) -> Float[Tensor, "n n_out"]:
        """The true activations of the output features."""
        return torch.relu(coefficients[:, self.parents].sum(2) - self.spec.threshold)


class CircuitStream:
    """Inputs and targets of a circuit, both centred and scaled: a `PairedStream`; see `SyntheticStream`."""

    def __init__(self, circuit: Circuit, *, batch_size: int, seed: int) -> None:
        self.circuit = circuit
        self._inputs = SyntheticStream(circuit.world, batch_size=batch_size, seed=seed)
        self.d_in, self.d_out, self.batch_size = self._inputs.d_in, circuit.spec.d_out, batch_size
        self.target_centre, self._covariance = _target_moments(circuit.spec, circuit.out_features.device)
        self.target_factor = math.sqrt(self.d_out / float(self._covariance.trace()))
        self.key = f"circuit-{digest([circuit.spec, self._inputs.key])}"
        self._drawn: tuple[int, Tensor, Tensor] = (-1, torch.empty(0), torch.empty(0))

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The inputs of a step."""
        return self.sample(step)[0]

    def targets(self, step: int) -> Float[Tensor, "batch d_out"]:
        """The targets of a step."""
        found: Tensor = self.sample(step)[1] @ self.circuit.out_features
        return (found - self.target_centre) * self.target_factor

    def sample(self, step: int) -> tuple[Float[Tensor, "batch d_in"], Float[Tensor, "batch n_out"]]:
        """The inputs of a step, and the true activations of the output features."""
        if self._drawn[0] != step:
            drawn = self._inputs.sample(step)
            x = (drawn.x - self._inputs.centre) * self._inputs.factor
            self._drawn = (step, x, self.circuit.computed(drawn.dense_coefficients()))
        return self._drawn[1:]

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """The exact covariance of what `batch` gives."""
        return self._inputs.covariance()

    def target_covariance(self) -> Float[Tensor, "d_out d_out"]:
        """The covariance of what `targets` gives, estimated."""
        return self._covariance * self.target_factor**2


@lru_cache(maxsize=8)
def circuit_of(spec: CircuitSpec, device: str = "cpu") -> Circuit:
    """The circuit that `spec` defines."""
    return Circuit(spec, world_of(spec.world, device=device))


@lru_cache(maxsize=8)
def _target_moments(spec: CircuitSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the raw targets, from samples that depend on the circuit alone."""
    circuit = circuit_of(spec, str(device))
    draw = torch.Generator(device).manual_seed(seed_of("moments", spec))
    parts = []
    for _ in range(16):
        drawn = circuit.world.sample(_MOMENT_SAMPLES // 16, generator=draw)
        parts.append(circuit.computed(drawn.dense_coefficients()) @ circuit.out_features)
    targets = torch.cat(parts).double()
    if not float(targets.var(0).sum()) > 0:
        raise BadInputError(
            f"the circuit's targets have zero variance: no input reaches the threshold of {spec.threshold}"
        )
    return targets.mean(0).to(parts[0]), torch.cov(targets.T).to(parts[0])
