"""Auto-interpretability without a judge: how many latents and contexts."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class InterpretabilityGrid(Entry):
    """Auto-interpretability without a judge: how many latents and contexts."""
