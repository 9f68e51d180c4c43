"""What a profile may say, and what each entry means."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from sanity.errors import BadInputError
from sanity.profiles.editing import EditingGrid
from sanity.profiles.entry import ArchitectureName, ArmNames, Entry, Positive, Seconds, World
from sanity.profiles.interpretability import InterpretabilityGrid
from sanity.profiles.judging import JudgingGrid
from sanity.profiles.lazy import LazyGrid
from sanity.profiles.objectives import ObjectivesGrid
from sanity.profiles.probing import ProbingGrid
from sanity.profiles.validity import ValidityGrid
from sanity.profiles.worlds import WorldsGrid


class LanguageModel(Entry):
    """A language model, the place in it that is read, and the text it reads."""

    subject: str
    backend: Literal["transformer_lens", "nnsight"] = "transformer_lens"
    hook: str
    d_model: Positive
    """Width of the activations, known before the model is loaded so that costs can be told."""
    d_sae: Positive | None = None
    """Number of latents at this place, where it is not the grid's."""
    model_dtype: Literal["float32", "bfloat16"] = "float32"
    context: Positive = 128
    sources: tuple[str, ...]
    train_tokens: Positive
    heldout_tokens: Positive
    shard_tokens: Positive = 8192
    storage_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    drop_first: bool = True
    tokens_per_second: Annotated[float, Field(gt=0)]
    """Harvest speed that the cost estimate assumes."""


class Sweep(Entry):
    """Cells beyond the primary grid: one architecture at several L0s, for the named arms and seeds."""

    architecture: ArchitectureName
    l0: tuple[Positive, ...]
    arms: tuple[ArmNames, ...]
    seeds: tuple[int, ...] = (0,)


class Width(Entry):
    """Cells beyond the primary grid: another number of latents, for the named arms and seeds."""

    d_sae: Positive
    arms: tuple[ArmNames, ...]
    seeds: tuple[int, ...] = (0,)


class RealGrid(Entry):
    """Sparse autoencoders on a language model's activations."""

    d_sae: Positive
    architecture: ArchitectureName
    l0: Positive
    arms: tuple[ArmNames, ...]
    seeds: tuple[int, ...]
    batch_size: Positive
    steps: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    other_learning_rates: tuple[float, ...] = ()
    learning_rate_arms: tuple[ArmNames, ...] = ()
    """The arms tried at the other learning rates, on the first seed."""
    sweeps: tuple[Sweep, ...] = ()
    widths: tuple[Width, ...] = ()
    """The primary grid's architecture and L0 at other numbers of latents."""
    pilot_seeds: tuple[int, ...] = ()
    """Seeds on which ranges and reseed noise are measured, and nothing is judged (see the book's ledger)."""
    pilot_arms: tuple[ArmNames, ...] = (ArmNames(constraint="trained"),)
    loss_tokens: Positive
    """Held-out tokens on which cross-entropy and KL are measured."""


class AuxiliaryLoss(Entry):
    """The auxiliary loss for dead latents, and the architectures that are tried with it."""

    weight: Annotated[float, Field(gt=0)]
    dead_after_samples: Positive
    architectures: tuple[ArchitectureName, ...]


class ToyGrid(Entry):
    """Sparse autoencoders on synthetic worlds."""

    worlds: tuple[World, ...]
    d_sae: Positive
    l0: Positive
    architectures: tuple[ArchitectureName, ...]
    arms: tuple[ArmNames, ...]
    seeds: tuple[int, ...]
    batch_size: Positive
    steps: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    other_learning_rates: tuple[float, ...] = ()
    """Tried for the trained arm, on the first seed."""
    learning_rate_architectures: tuple[ArchitectureName, ...] = ()
    """The architectures that are tried at the other learning rates."""
    auxiliary: AuxiliaryLoss | None = None
    """Tried for the trained arm, on the first seed."""
    reference_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of the arms that start at the true dictionary; 0 for none. It needs d_sae = n_features."""

    @model_validator(mode="after")
    def _truth_fits(self) -> ToyGrid:
        for world in self.worlds:
            if self.reference_steps and world.n_features != self.d_sae:
                raise ValueError(
                    f"reference_steps asks for {world.n_features} true features in {self.d_sae} latents: "
                    "give as many latents as features, or reference_steps 0"
                )
        return self


class Profile(Entry):
    """How much of everything a run does. `ledger` holds measured seconds per stage on two cores."""

    name: str
    about: str
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bf16"] = "float32"
    models: tuple[LanguageModel, ...]
    real: RealGrid
    toy: ToyGrid
    probing: ProbingGrid = ProbingGrid()
    editing: EditingGrid = EditingGrid()
    interpretability: InterpretabilityGrid = InterpretabilityGrid()
    judging: JudgingGrid = JudgingGrid()
    validity: ValidityGrid = ValidityGrid()
    lazy: LazyGrid = LazyGrid()
    objectives: ObjectivesGrid = ObjectivesGrid()
    worlds: WorldsGrid = WorldsGrid()
    seconds_per_product: Annotated[float, Field(gt=0)]
    """Training cost that the estimate assumes: seconds per sample x latent x width, for the products."""
    seconds_per_latent: Annotated[float, Field(gt=0)]
    """The same, seconds per sample x latent, for selection and what else does not depend on the width."""
    left_out: tuple[str, ...]
    """What this profile does not do, in words for the pages."""
    ledger: dict[str, Seconds]

    def training_seconds(self, *, batch_size: int, steps: int, d_sae: int, d_in: int) -> float:
        """What training one arm is expected to take."""
        each = d_in * self.seconds_per_product + self.seconds_per_latent
        return 1.0 + steps * batch_size * d_sae * each

    @model_validator(mode="after")
    def _sparsity_fits(self) -> Profile:
        for grid, where in ((self.real, "real"), (self.toy, "toy")):
            if grid.l0 > grid.d_sae:
                raise ValueError(f"{where}: an L0 of {grid.l0} does not fit into d_sae {grid.d_sae}")
        return self


def names() -> list[str]:
    """The profiles that exist, from small to large."""
    found = {
        p.name.removesuffix(".yaml")
        for p in resources.files(__package__).iterdir()
        if p.name.endswith(".yaml")
    }
    order = ["smoke", "quick", "overnight", "gpu", "paper"]
    return [n for n in order if n in found] + sorted(found - set(order))


def load(name: str, **changes: Any) -> Profile:
    """The profile `name`, with top-level entries replaced by `changes`; unknown names are refused."""
    if name not in names():
        raise BadInputError(f"no profile is called {name!r}; there are: {', '.join(names())}")
    text = (resources.files(__package__) / f"{name}.yaml").read_text()
    try:
        return Profile.model_validate({"name": name, **yaml.safe_load(text), **changes})
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'profile'}: {e['msg']}" for e in error.errors())
        raise BadInputError(f"profile {name!r} cannot be used: {lines}") from error
