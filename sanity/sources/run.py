"""What is trained: one arm, on one source, with one budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sanity.engine.arguments import Checked
from sanity.models import Arm, Training
from sanity.sources.base import Source
from sanity.sources.noise import Noise


@dataclass(frozen=True)
class Budget(Checked):
    """How long arms train, and on how much at a time."""

    steps: int
    batch_size: int
    training: Training = Training()
    precision: Literal["float32", "bf16"] = "float32"

    @property
    def samples(self) -> int:
        """Samples seen in training, repeats counted."""
        return self.steps * self.batch_size


@dataclass(frozen=True)
class RunSpec(Checked):
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
            "samples": self.budget.samples,
            "trained_on_noise": isinstance(self.source, Noise),
            "n_features": None,
            **self.source.columns(),
        }
