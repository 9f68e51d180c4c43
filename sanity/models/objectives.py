"""Objectives next to reconstruction that might find more features; none looks at the true ones.

An objective is one small frozen dataclass of plain values. It may change the hyper-parameters, add to the
decoder's gradient, interfere after a step, or spend part of the budget on finding directions to start from:

| objective | what it does |
| --- | --- |
| `Plain` | reconstruction alone |
| `Auxiliary` | dead latents fit the residual of the others (Gao et al. 2406.04093) |
| `Incoherence` | each decoder row is pushed away from the one nearest to it (Korznikov et al. 2509.22033) |
| `EvenEncoder` | encoder rows keep one common length |
| `Restarts` | the learning rate falls and starts again, several times (Loshchilov and Hutter 1608.03983) |
| `Resampling` | dead latents are pointed at what is badly reconstructed (Bricken et al. 2023) |
| `Agreement` | short runs from other starts; the last one starts from what they agree on |
| `TopKFirst` | a part of the budget with TopK's rule, then the arm's own |
| `AffineSkip` | transcoders: an affine map of the input learns next to the latents (2501.18823) |

An arm has one, and `train` follows it. Each batch of the budget is learned from once, whatever the objective,
so that budgets are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.models.arm import Arm, Objective
from sanity.models.autoencoder import Autoencoder
from sanity.models.gradients import Gradients, Outcome, Weights
from sanity.models.hyperparameters import Training
from sanity.models.learner import Learner
from sanity.models.sparsity import TopK

Teach = Callable[[Arm, int, int], Autoencoder]


@dataclass(frozen=True)
class Auxiliary(Objective):
    """The auxiliary loss for dead latents, as `Training` has it."""

    weight: float = 1 / 32
    dead_after_tokens: int = 20_000
    """Samples without firing after which a latent counts as dead."""
    name: ClassVar[str] = "auxiliary"
    title: ClassVar[str] = "auxiliary loss"

    @override
    def settings(self, training: Training) -> Training:
        return replace(training, auxiliary=self.weight, dead_after_tokens=self.dead_after_tokens)


@dataclass(frozen=True)
class Incoherence(Objective):
    """Adds `weight * sum_j max_k<>j cos(W_dec[j], W_dec[k])^2` to the loss, negative cosines left alone."""

    weight: float = 0.003
    """On the scale of a sample's squared error, which is d_in for an empty reconstruction."""
    name: ClassVar[str] = "incoherence"
    title: ClassVar[str] = "incoherent decoder"
    repeatable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise BadInputError(f"Incoherence was given weight {self.weight}: it must not be negative")

    def loss(self, W_dec: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, ""]:
        """What is added to the loss."""
        nearest, _ = _nearest(W_dec)
        return self.weight * nearest.square().sum()

    @override
    def add_gradient(self, weights: Weights, gradients: Gradients) -> None:
        if "W_dec" not in gradients:
            return
        W_dec, gradient = weights.W_dec, gradients["W_dec"]
        nearest, who = _nearest(W_dec)
        push = (2 * self.weight * nearest).unsqueeze(1)
        gradient.addcmul_(push, W_dec[who])
        gradient.index_add_(0, who, push * W_dec)


def _nearest(W_dec: Float[Tensor, "d_sae d_in"]) -> tuple[Float[Tensor, " d_sae"], Tensor]:
    """The largest positive inner product of each row with another, and which other it is."""
    products = W_dec @ W_dec.T
    products.fill_diagonal_(-1.0)
    best = products.max(1)
    return best.values.clamp(min=0.0), best.indices


@dataclass(frozen=True)
class EvenEncoder(Objective):
    """Encoder rows are kept at one common length, so that latents compete by direction and bias alone.

    Where latents compete across a batch, one with a long encoder row wins more often and learns more, which
    may make its row longer. (Cosine scoring, 2606.15054, divides by the length of the *input* instead.)
    """

    name: ClassVar[str] = "even_encoder"
    repeatable: ClassVar[bool] = True

    @override
    def after_step(self, learner: Learner, x: Float[Tensor, "batch d_in"], outcome: Outcome | None) -> None:
        rows = learner.weights.W_enc_t
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        rows.mul_(length.mean() / length.clamp(min=1e-12))


@dataclass(frozen=True)
class RestartedTraining(Training):
    """A learning rate that falls along a cosine to 0 and starts again, in cycles of equal length."""

    cycles: int = 4

    @override
    def learning_rate_factor(self, step: int, steps: int) -> float:
        length = steps / self.cycles
        into = (step % length) / length
        rise = (step + 1) / (self.warmup * steps + 1)
        return min(rise, 0.5 * (1 + math.cos(math.pi * into)))


@dataclass(frozen=True)
class Restarts(Objective):
    """Warm restarts of the learning rate, at the same number of steps."""

    cycles: int = 4
    name: ClassVar[str] = "restarts"
    title: ClassVar[str] = "learning-rate restarts"

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise BadInputError(f"Restarts was given {self.cycles} cycles: give at least 1")

    @override
    def settings(self, training: Training) -> Training:
        shared = {name: getattr(training, name) for name in Training.__dataclass_fields__}
        return RestartedTraining(**shared, cycles=self.cycles)


@dataclass(frozen=True)
class Resampling(Objective):
    """Dead latents start again, along the residuals of the samples that are reconstructed worst.

    `times` at even distances within the first `until` of the steps. Samples are drawn in proportion to their
    squared error. Encoder rows get the mean length of the living, thresholds their mean, biases 0.
    """

    times: int = 5
    until: float = 0.6
    dead_after_tokens: int = 20_000
    name: ClassVar[str] = "resampling"
    for_transcoders: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.times < 1 or not 0 < self.until <= 1:
            raise BadInputError(
                f"Resampling was given {self.times} times until {self.until}: at least once, within (0, 1]"
            )

    @override
    def settings(self, training: Training) -> Training:
        return replace(training, dead_after_tokens=self.dead_after_tokens)

    @override
    def after_step(self, learner: Learner, x: Float[Tensor, "batch d_in"], outcome: Outcome) -> None:
        every = max(1, round(self.until * learner.steps / self.times))
        if learner.step % every or learner.step > self.until * learner.steps:
            return
        dead = learner.dead()
        errors = outcome.residual.square().sum(1)
        if not bool(dead.any()) or bool(dead.all()) or not float(errors.sum()) > 0:
            return
        seed = int(digest(["resampling", learner.arm.seed, learner.step])[:8], 16)
        drawn = torch.multinomial(
            errors.double().cpu(), int(dead.sum()), True, generator=torch.Generator().manual_seed(seed)
        )
        rows = functional.normalize(-outcome.residual[drawn.to(x.device)], dim=1)
        _start_again(learner, dead, rows)


def _start_again(learner: Learner, dead: Bool[Tensor, " d_sae"], rows: Float[Tensor, "n d_in"]) -> None:
    """Give dead latents new directions and an even chance, and let the optimiser forget them."""
    weights = learner.weights
    length = torch.linalg.vector_norm(weights.W_enc_t[~dead], dim=1).mean()
    weights.W_dec[dead] = rows
    weights.W_enc_t[dead] = rows * length
    weights.b_enc[dead] = 0.0
    if weights.log_threshold is not None:
        weights.log_threshold[dead] = weights.log_threshold[~dead].mean()
    assert learner.optimiser is not None
    for name, value in weights.by_name().items():
        if name != "b_dec" and name in learner.learns:
            state = learner.optimiser.state[value]
            state["exp_avg"][dead] = 0.0
            state["exp_avg_sq"][dead] = 0.0
    learner.last_fired[dead] = learner.tokens


@dataclass(frozen=True)
class Agreement(Objective):
    """Directions that short runs from other starts agree upon, and the arm's own start for the rest.

    `runs` runs with other Gaussian matrices take `share` of the budget each, on batches of their own. A
    latent of the first is kept when every other run has one within `cosine`, as their mean direction.
    """

    runs: int = 2
    share: float = 0.25
    cosine: float = 0.8
    name: ClassVar[str] = "agreement"
    title: ClassVar[str] = "cross-seed agreement"

    def __post_init__(self) -> None:
        if self.runs < 2 or not 0 < self.share * self.runs < 1 or not 0 < self.cosine <= 1:
            raise BadInputError(
                f"Agreement was given {self.runs} runs of {self.share} of the budget each and cosine "
                f"{self.cosine}: take at least 2 runs, less than the budget in all, and a cosine in (0, 1]"
            )

    @override
    def spent(self, steps: int) -> int:
        return self.runs * round(self.share * steps)

    @override
    def directions(self, teach: Teach, arm: Arm, steps: int) -> Float[Tensor, "d_sae d_in"] | None:
        each = round(self.share * steps)
        others = [replace(arm, seed=_other_seed(arm.seed, run)) for run in range(self.runs)]
        found = [teach(other, run * each, each).W_dec for run, other in enumerate(others)]
        return agreed(found, self.cosine)


def _other_seed(seed: int, run: int) -> int:
    return int(digest(["another start", seed, run])[:8], 16)


def agreed(dictionaries: Sequence[Float[Tensor, "d_sae d_in"]], cosine: float) -> Float[Tensor, "kept d_in"]:
    """Mean directions of the first dictionary's rows that every other one has within `cosine`."""
    first, *others = dictionaries
    total = first + sum(other[(first @ other.T).argmax(1)] for other in others)
    return functional.normalize(total[agreed_latents(first, others, cosine)], dim=1)


def agreed_latents(
    W_dec: Float[Tensor, "d_sae d_in"], others: Sequence[Float[Tensor, "_ d_in"]], cosine: float
) -> Bool[Tensor, " d_sae"]:
    """Which rows every other dictionary has within `cosine`; all rows of length 1."""
    keep = torch.ones(len(W_dec), dtype=torch.bool, device=W_dec.device)
    for other in others:
        keep &= (W_dec @ other.T).amax(1) > cosine
    return keep


@dataclass(frozen=True)
class TopKFirst(Objective):
    """A part of the budget with TopK's rule (k per sample), then the arm's own from those directions."""

    share: float = 0.5
    name: ClassVar[str] = "topk_first"
    title: ClassVar[str] = "TopK first"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise BadInputError(f"TopKFirst was given share {self.share}: choose one between 0 and 1")

    @override
    def spent(self, steps: int) -> int:
        return round(self.share * steps)

    @override
    def directions(self, teach: Teach, arm: Arm, steps: int) -> Float[Tensor, "d_sae d_in"] | None:
        first = replace(arm, architecture=TopK(k=round(arm.architecture.l0)))
        return teach(first, 0, self.spent(steps)).W_dec


@dataclass(frozen=True)
class AffineSkip(Objective):
    """A transcoder's latents add what an affine map of the input leaves over; the map learns next to them.

    It starts at 0 and learns at the arm's rate (Paulo, Shabalin and Belrose 2501.18823).
    """

    name: ClassVar[str] = "affine_skip"
    title: ClassVar[str] = "affine skip"
    has_skip: ClassVar[bool] = True
