"""How latents become sparse: one small class per architecture.

An architecture names the rule by which latents are selected in training and at inference, the penalty (if
any) that pulls L0 to its target, and the nested prefixes of the dictionary that must each reconstruct.
Everything else (encoder, decoder, gradients, baselines) is shared. A new architecture is one more class.

Pre-activations are always `(x - b_dec) W_enc + b_enc`; a selected latent keeps `ReLU` of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.engine.naming import FamilyMember
from sanity.errors import BadInputError
from sanity.models.selection import Above, PerBatch, PerRow, Rule

Threshold = Float[Tensor, " d_sae"] | None


@dataclass(frozen=True)
class Architecture(FamilyMember, family="architecture"):
    """What every architecture answers; the defaults are those of a plain TopK.

    A new one is a subclass with a `name` (for profiles and tables) and a `title` (for readers).
    """

    penalty: ClassVar[Literal["none", "l0", "l1"]] = "none"
    """What a controlled coefficient multiplies in the loss."""
    threshold: ClassVar[Literal["none", "averaged", "learned"]] = "none"
    """Whether inference needs a threshold, and how training finds it."""

    @property
    def l0(self) -> float:
        """Active latents per sample that the architecture asks for: its first field, unless it says more."""
        return float(getattr(self, dataclasses.fields(self)[0].name))

    @classmethod
    def with_l0(cls, l0: int) -> Architecture:
        """The architecture with (a target of) `l0` active latents per sample, by its first field."""
        return cls(**{dataclasses.fields(cls)[0].name: l0})

    def at_l0(self, l0: int) -> Architecture:
        """This one with another target."""
        return dataclasses.replace(self, **{dataclasses.fields(self)[0].name: l0})

    @property
    @override
    def label(self) -> str:
        """Name and target, such as `topk-32`."""
        return f"{self.name}-{self.l0:g}"

    def training_rule(self, threshold: Threshold) -> Rule:
        """The rule that selects latents of a training batch, given the present thresholds."""
        raise BadInputError(f"{type(self).__name__} has no rule to select latents: define training_rule")

    def inference_rule(self, threshold: Threshold) -> Rule:
        """The rule that selects latents of any batch, one row at a time."""
        return self.training_rule(threshold)

    def prefixes(self, d_sae: int) -> tuple[int, ...]:
        """Ends of the nested prefixes of the dictionary whose reconstruction losses are summed."""
        return (d_sae,)

    def check(self, d_sae: int) -> None:
        """Raise `BadInputError` when the target does not fit a dictionary of `d_sae` latents."""
        if not 0 < self.l0 <= d_sae:
            raise BadInputError(
                f"{self.label} wants {self.l0:g} active latents of {d_sae}: "
                "choose a target above 0 and at most d_sae"
            )
        self.prefixes(d_sae)


@dataclass(frozen=True)
class TopK(Architecture):
    """The k largest pre-activations of each sample, after ReLU (Gao et al. 2406.04093).

    Of equal pre-activations the lowest latents are taken, so that a selection is never a matter of chance.
    """

    k: int
    """Active latents per sample."""
    name: ClassVar[str] = "topk"
    title: ClassVar[str] = "TopK"

    @override
    def training_rule(self, threshold: Threshold) -> Rule:
        return PerRow(self.k)


@dataclass(frozen=True)
class BatchTopK(Architecture):
    """The k x batch largest pre-activations of a batch, after ReLU (Bussmann et al. 2412.06410).

    At inference a latent is active above one threshold: the running average, over the training steps, of
    the smallest selected value.
    """

    k: int
    """Active latents per sample, on average over a batch."""
    threshold_decay: float = 0.95
    """Weight of the past in the running average of the threshold, per step. In trials L0 at inference was
    1 % off with 0.95 after 150 to 300 steps, and 13 to 23 % with 0.99, which lags behind the weights."""
    name: ClassVar[str] = "batchtopk"
    title: ClassVar[str] = "BatchTopK"
    threshold: ClassVar[Literal["none", "averaged", "learned"]] = "averaged"

    @override
    def training_rule(self, threshold: Threshold) -> Rule:
        return PerBatch(self.k)

    @override
    def inference_rule(self, threshold: Threshold) -> Rule:
        return Above(threshold)


@dataclass(frozen=True)
class Matryoshka(BatchTopK):
    """BatchTopK whose nested prefixes must each reconstruct (Bussmann et al. 2503.17547).

    The loss is the sum of the reconstruction losses of the prefixes.
    """

    fractions: tuple[float, ...] = (0.5, 0.3, 0.2)
    """Share of the latents that each prefix adds to the one before (the paper's appendix: .5, .3, .2)."""
    name: ClassVar[str] = "matryoshka"
    title: ClassVar[str] = "Matryoshka"

    def __post_init__(self) -> None:
        if not self.fractions or min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise BadInputError(
                f"Matryoshka was given fractions {self.fractions}: they must be above 0 and sum to 1"
            )

    @override
    def prefixes(self, d_sae: int) -> tuple[int, ...]:
        ends = [round(share * d_sae) for share in accumulate(self.fractions)]
        if len({0, *ends}) != len(ends) + 1:
            raise BadInputError(
                f"Matryoshka's fractions {self.fractions} leave a prefix of {d_sae} latents empty: "
                "use fewer prefixes or more latents"
            )
        return tuple(ends)


@dataclass(frozen=True)
class JumpReLU(Architecture):
    """Latents above their own learned threshold (Rajamanoharan et al. 2407.14435).

    The thresholds (kept as logarithms, so always positive) learn by the straight-through estimator with a
    rectangular kernel; the penalty on L0 is controlled so that L0 arrives at the target.
    """

    target_l0: float
    """Active latents per sample that the penalty is controlled to reach."""
    bandwidth: float = 0.1
    """Width of the kernel, in units of the pre-activations of data scaled to E||x||^2 = d_in."""
    threshold_rate: float = 6e-3
    """Learning rate of the log thresholds, whatever the arm's, on the same schedule. At an arm's 3e-4 they
    cannot follow the encoder, each of whose rows moves in d_in coordinates at once, and L0 ends far from its
    target (1.6 times it after 300 steps in a trial); faster than 1e-2, L0 oscillates."""
    initial_threshold: float | None = None
    """The threshold that all latents start with; None: the one at which L0 is on target at the start."""
    name: ClassVar[str] = "jumprelu"
    title: ClassVar[str] = "JumpReLU"
    penalty: ClassVar[Literal["none", "l0", "l1"]] = "l0"
    threshold: ClassVar[Literal["none", "averaged", "learned"]] = "learned"

    def __post_init__(self) -> None:
        if min(self.bandwidth, self.threshold_rate) <= 0 or (
            self.initial_threshold is not None and self.initial_threshold <= 0
        ):
            raise BadInputError(
                f"JumpReLU was given bandwidth {self.bandwidth}, threshold_rate {self.threshold_rate} and "
                f"initial_threshold {self.initial_threshold}: all must be above 0"
            )

    @override
    def training_rule(self, threshold: Threshold) -> Rule:
        return Above(threshold, margin=self.bandwidth / 2)

    @override
    def inference_rule(self, threshold: Threshold) -> Rule:
        return Above(threshold)


@dataclass(frozen=True)
class ReLU(Architecture):
    """All positive pre-activations, under an L1 penalty controlled so that L0 arrives at the target.

    The penalty is on each latent's value times the norm of its decoder row, which is 1.
    """

    target_l0: float
    """Active latents per sample that the penalty is controlled to reach."""
    name: ClassVar[str] = "relu"
    title: ClassVar[str] = "ReLU"
    penalty: ClassVar[Literal["none", "l0", "l1"]] = "l1"

    @override
    def training_rule(self, threshold: Threshold) -> Rule:
        return Above(threshold)


def architecture_from_json(fields: Mapping[str, Any]) -> Architecture:
    """The architecture whose `to_json` is `fields`; `BadInputError` for an unknown kind or field."""
    kinds = {kind.__name__: kind for kind in Architecture.known.values()}
    kind = kinds.get(str(fields.get("kind")))
    if kind is None:
        raise BadInputError(
            f"there is no architecture {fields.get('kind')!r}: choose one of {', '.join(kinds)}"
        )
    known = {field.name for field in dataclasses.fields(kind)}
    given = {name: value for name, value in fields.items() if name not in ("kind", "definition")}
    if unknown := sorted(given.keys() - known):
        raise BadInputError(f"{kind.__name__} has no field {', '.join(unknown)}; it has {sorted(known)}")
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    if lacking := sorted(needed - given.keys()):
        raise BadInputError(f"{kind.__name__} lacks {', '.join(lacking)}: say what it is")
    made: Architecture = kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()})
    return made
