"""Objectives that might recover more features."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class ObjectivesGrid(Entry):
    """Objectives that might recover more features."""
