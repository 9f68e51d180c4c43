"""Auto-interpretability without a judge: how many latents and contexts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sanity.profiles.entry import Entry, Positive


class InterpretabilityGrid(Entry):
    """Auto-interpretability without a judge: how many latents and contexts."""

    extra_tokens: Annotated[int, Field(ge=0)] = 32_768
    """Unseen tokens read beyond the held-out ones, at the same place; contexts come from both."""
    window: Annotated[int, Field(ge=8)] = 32
    """Tokens per context, at most."""
    latents: Positive = 200
    """Latents drawn at random among the eligible of each SAE; the paper's number."""
    fewest: Annotated[int, Field(ge=3)] = 10
    """A latent is eligible with at least so many contexts in which it fires, and as many others, per part."""
    examples: Positive = 15
    """Strongest contexts that stand for a latent's description; the paper's number."""
    intruder_sets: Positive = 20
    """Sets of examples with one intruder, per latent."""
    shown: Positive = 3
    """Latents per arm in the table of examples, the first ones drawn."""
    seed: int = 0
    """Of the parts, of the order in which latents are drawn, and of intruders. An arm's own seed is added:
    all arms of a seed are asked the same, and every seed draws anew. The text is one for all."""
    reseeds: Annotated[int, Field(ge=2)] = 6
    """Draws of the graded corruption of known concepts."""
