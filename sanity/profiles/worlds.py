"""Synthetic worlds beyond the paper's limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sanity.profiles.entry import ArchitectureName, ArmNames, Entry, Positive

Share = Annotated[float, Field(ge=0)]


class ZipfEntry(Entry):
    """Frequencies that fall with rank as a power law."""

    exponent: float = 1.0
    highest: float = 0.3
    lowest: float = 0.001


class CorrelationEntry(Entry):
    """A Gaussian copula of low rank."""

    rank: Positive = 16
    scale: Share = 0.15


class HierarchyEntry(Entry):
    """Trees of features: a child is active only when its parent is."""

    branching: Positive = 4
    depth: Positive = 1
    child_probability: float = 0.25
    exclusive: bool = True


class HarderWorldEntry(Entry):
    """The paper's constant world with what is named; with nothing, that world itself."""

    name: str
    zipf: ZipfEntry | None = None
    correlation: CorrelationEntry | None = None
    hierarchy: HierarchyEntry | None = None
    noise: Share = 0.0


class Misfit(Entry):
    """The first world, with a dictionary of another sparsity or size than the world's."""

    name: str
    l0: Positive | None = None
    d_sae: Positive | None = None


class WorldsGrid(Entry):
    """Arms on worlds beyond the paper's limits; features and L0 are the dictionary's where none is named."""

    d_in: Positive = 100
    d_sae: Positive = 3200
    """Latents, and features of every world."""
    l0: Positive = 20
    """Active latents per sample, and active features per sample where a world does not say otherwise."""
    worlds: tuple[HarderWorldEntry, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    architecture: ArchitectureName = "topk"
    arms: tuple[ArmNames, ...] = (ArmNames(constraint="trained"),)
    misfit_arms: tuple[ArmNames, ...] = (ArmNames(constraint="trained"),)
    seeds: tuple[int, ...] = (0,)
    misfit_seeds: tuple[int, ...] = (0,)
    batch_size: Positive = 4096
    steps: Positive = 10000
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
