"""Synthetic worlds beyond the paper's limits."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class WorldsGrid(Entry):
    """Synthetic worlds beyond the paper's limits."""
