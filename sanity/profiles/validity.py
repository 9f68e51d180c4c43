"""The validity gate of every metric."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class ValidityGrid(Entry):
    """The validity gate of every metric."""
