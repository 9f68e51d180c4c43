"""What an arm of an experiment is, and the small protocols by which baselines take part in training.

    arm = architecture x constraint x init x seed x objective

`sparsity.py` knows how latents become sparse, a constraint knows what may move, an init knows where the
directions start. They are frozen dataclasses of plain values, so that an arm is its own key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.engine.arguments import CheckedDataclass, Seed
from sanity.engine.config import digest
from sanity.engine.naming import FamilyMember
from sanity.errors import BadInputError
from sanity.models.autoencoder import Autoencoder
from sanity.models.hyperparameters import Training
from sanity.models.sparsity import Architecture

PARAMETERS = frozenset({"W_enc", "W_dec", "b_enc", "b_dec", "threshold", "W_skip"})
"""What can learn; "threshold" is learned by JumpReLU and estimated by BatchTopK, transcoders have W_skip."""


@runtime_checkable
class Stream(Protocol):
    """Batches of activations, centred to mean 0 and times one factor so that E||x||^2 = d_in."""

    @property
    def d_in(self) -> int:
        """Width of the activations."""

    @property
    def batch_size(self) -> int:
        """Samples per batch."""

    @property
    def key(self) -> str:
        """Names the data and its order: a resumed run must find the same."""

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of any step >= 0, always the same; walking through steps in order is the fast way."""

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of what `batch` gives."""


@runtime_checkable
class PairedStream(Stream, Protocol):
    """A stream of inputs with a target for each: an arm that is trained on one is a transcoder."""

    @property
    def d_out(self) -> int:
        """Width of the targets."""

    def targets(self, step: int) -> Float[Tensor, "batch d_out"]:
        """What belongs to the inputs of `batch(step)`, centred and scaled so that E||t||^2 = d_out."""

    def target_covariance(self) -> Float[Tensor, "d_out d_out"]:
        """Covariance of what `targets` gives."""


@dataclass(frozen=True)
class Constraint(FamilyMember, family="constraint"):
    """What may move while an arm trains. By default everything may."""

    @property
    def learns(self) -> frozenset[str]:
        """Which of `PARAMETERS` learn; the others cost neither gradients nor optimiser state."""
        return PARAMETERS

    @property
    def encoder_turns(self) -> bool:
        """Whether an encoder that learns may change its directions, or their lengths alone."""
        return True

    @property
    def latents_fire(self) -> bool:
        """Whether latents take part at all; without them a transcoder is its affine skip alone."""
        return True

    @property
    def cone(self) -> float | None:
        """The least cosine of a decoder row with its start, where `project` asks for that and nothing else.

        -1 where rows may go anywhere. None: `project` has a rule of its own, for which a card calls it.
        """
        return -1.0 if type(self).project is Constraint.project else None

    @property
    def cone_blocks(self) -> int:
        """In how many parts of equal width a row is held to its `cone`, each by itself, at its own length."""
        return 1

    def project(self, W_dec: Float[Tensor, "d_sae d_in"], anchor: Float[Tensor, "d_sae d_in"]) -> None:
        """Bring unit decoder rows back to where they may be, in place, after every optimiser step."""


@dataclass(frozen=True)
class Init(FamilyMember, family="init"):
    """Where the directions start."""

    def on(self, source: Any) -> Init:
        """The init for arms on a `sanity.sources.Source`, for one that has to know it: itself otherwise."""
        return self

    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        """Unit rows made of a standard Gaussian matrix, the same one for every init of a seed."""
        raise BadInputError(f"{type(self).__name__} does not say where directions start: define directions")


@dataclass(frozen=True)
class Objective(FamilyMember, family="objective"):
    """What is asked for next to reconstruction. By default nothing; see `sanity.models.objectives`.

    An objective may change the hyper-parameters, add to the gradient, interfere after a step, or spend a
    part of the budget on finding directions to start from.
    """

    has_skip: ClassVar[bool] = False
    """Whether an affine map of the input learns next to the latents: for transcoders only."""
    for_transcoders: ClassVar[bool] = True
    """Whether it makes sense where latents read one space and write to another."""
    repeatable: ClassVar[bool] = False
    """Whether `add_gradient` and `after_step` launch the same operations in every step, on tensors that stay
    where they are, and read no number back: then a card repeats them with the rest of its step. There
    `after_step` is given no outcome."""

    @property
    def acts(self) -> bool:
        """Whether it has a part in every step."""
        kind = type(self)
        return kind.add_gradient is not Objective.add_gradient or kind.after_step is not Objective.after_step

    def settings(self, training: Training) -> Training:
        """The hyper-parameters to train with."""
        return training

    def spent(self, steps: int) -> int:
        """Steps of the budget that `directions` uses."""
        return 0

    def directions(
        self, teach: Callable[[Arm, int, int], Autoencoder], arm: Arm, steps: int
    ) -> Float[Tensor, "n d_in"] | None:
        """Unit rows to start from; None: those of the arm's init.

        `teach(arm, first step, steps)` is what plain training on those batches gives.
        """
        return None

    def add_gradient(self, weights: Any, gradients: Any) -> None:
        """Add the gradients of what is asked for next to reconstruction, in place.

        `weights` and `gradients` are those of `sanity.models.gradients`.
        """

    def after_step(self, learner: Any, x: Float[Tensor, "batch d_in"], outcome: Any) -> None:
        """Change a `Learner` after a step on `x`; its `outcome` is from before the step."""


@dataclass(frozen=True)
class Plain(Objective):
    """Reconstruction alone."""

    name: ClassVar[str] = "plain"


@runtime_checkable
class Probe(Protocol):
    """Something measured on the way, at log-spaced steps."""

    @property
    def name(self) -> str:
        """Prefix of its columns in the curve."""

    def __call__(self, sae: Autoencoder, step: int) -> Mapping[str, float]:
        """Numbers by name; a pure function of the SAE and the step."""


@runtime_checkable
class AnchoredProbe(Probe, Protocol):
    """A probe that compares with where a run began; `train` tells it before it asks."""

    def anchored(self, directions: Float[Tensor, "d_sae d_in"]) -> Probe:
        """The probe of a run whose decoder rows began as `directions`."""


@dataclass(frozen=True)
class Trained(Constraint):
    """Freezes nothing: the ordinary sparse autoencoder."""

    name: ClassVar[str] = "trained"


@dataclass(frozen=True)
class Iso(Init):
    """Directions uniform on the unit sphere."""

    name: ClassVar[str] = "iso"

    @override
    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        return functional.normalize(gaussian, dim=1)


@dataclass(frozen=True)
class Arm(CheckedDataclass):
    """One sparse autoencoder of an experiment.

    Arms of one seed and size share the Gaussian matrix behind their init, and on one stream the batches.
    """

    architecture: Architecture
    d_sae: int
    """Number of latents."""
    constraint: Constraint = Trained()
    init: Init = Iso()
    seed: Seed = 0
    """Draws the Gaussian matrix behind the initial directions, and nothing else."""
    learning_rate: float = 3e-4
    objective: Objective = Plain()

    def __post_init__(self) -> None:
        self.architecture.check(self.d_sae)
        if self.learning_rate <= 0:
            raise BadInputError(f"{self.label} has learning rate {self.learning_rate}: it must be above 0")
        if unknown := sorted(self.constraint.learns - PARAMETERS):
            raise BadInputError(
                f"{self.constraint.label} lets {unknown} learn; there are {sorted(PARAMETERS)}"
            )

    @property
    def label(self) -> str:
        """Such as `topk-32 frozen decoder (iso) seed 0`; the learning rate is added when it is not 3e-4."""
        words = f"{self.architecture.label} {self.constraint.label} ({self.init.label}) seed {self.seed}"
        words = words if self.learning_rate == 3e-4 else f"{words} lr {self.learning_rate:g}"
        return words if self.objective == Plain() else f"{words}, {self.objective.label}"


def gaussian_matrix(
    seed: int, d_sae: int, d_in: int, *, encoder: bool = False
) -> Float[Tensor, "d_sae d_in"]:
    """The standard Gaussian matrix behind every arm of a seed; float32 on the CPU, whatever the stream.

    A transcoder's encoder does not start tied to its decoder, so that it has a matrix of its own.
    """
    drawn = int(digest(["encoder", seed])[:15], 16) if encoder else seed
    return torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(drawn))
