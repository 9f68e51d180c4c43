"""What is trained: one arm, on one source, with one budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from typing_extensions import override

from sanity.engine.arguments import CheckedDataclass, Count, Range
from sanity.models import Arm, Training
from sanity.models.footprint import Footprint, footprint
from sanity.models.training import probe_steps
from sanity.sources.base import Source
from sanity.sources.noise import Noise


@dataclass(frozen=True)
class Budget(CheckedDataclass):
    """How long arms train, and on how much at a time."""

    steps: Annotated[int, Range(0)]
    batch_size: Count
    training: Training = Training()
    precision: Literal["float32", "bf16"] = "float32"

    @property
    def samples(self) -> int:
        """Samples seen in training, repeats counted."""
        return self.steps * self.batch_size


@dataclass(frozen=True)
class RunSpec(CheckedDataclass):
    """One arm on one source with one budget: everything that decides which SAE comes out."""

    arm: Arm
    source: Source
    budget: Budget
    device: str = "cpu"

    @property
    def l0(self) -> int:
        """Active latents per sample to which the SAE is brought before it is scored."""
        return round(self.arm.architecture.l0)

    @property
    def steps(self) -> int:
        """After how many steps the SAE is taken."""
        return self.budget.steps

    @property
    def footprint(self) -> Footprint:
        """What it takes of memory in training, at most; on a card in a stack."""
        source, budget = self.source, self.budget
        return footprint(
            self.arm,
            budget.training,
            d_in=source.d_in,
            d_out=source.d_out,
            batch=budget.batch_size,
            stacked=self.device.startswith("cuda"),
        )

    @property
    def label(self) -> str:
        """Arm and source in words."""
        return f"{self.source.where}: {self.arm.label}"

    def columns(self) -> dict[str, Any]:
        """The columns of a tidy row that say which SAE it is about."""
        arm = self.arm
        return {
            "architecture": arm.architecture.name,
            "constraint": arm.constraint.spelled,
            "init": arm.init.spelled,
            "objective": arm.objective.spelled,
            "seed": arm.seed,
            "learning_rate": arm.learning_rate,
            "l0_target": self.l0,
            "d_sae": arm.d_sae,
            "samples": self.steps * self.budget.batch_size,
            "trained_on_noise": isinstance(self.source, Noise),
            "n_features": None,
            **self.source.columns(),
        }


@dataclass(frozen=True)
class Snapshot(RunSpec):
    """A run as it is after a share of its steps, with the schedule of the whole."""

    at: float = 0.5

    @property
    @override
    def steps(self) -> int:
        last = self.budget.steps
        probed = probe_steps(last, self.budget.training.probe_points) - {0, last}
        return min(probed or {last}, key=lambda step: abs(step - self.at * last))

    @property
    @override
    def label(self) -> str:
        return f"{super().label} after {self.at:.0%} of its steps"
