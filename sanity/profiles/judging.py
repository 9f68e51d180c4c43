"""Auto-interpretability with a language model as judge."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class JudgingGrid(Entry):
    """Auto-interpretability with a language model as judge."""
