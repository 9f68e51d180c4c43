"""The lazy-training analysis: cones, supports, cosines to init."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class LazyGrid(Entry):
    """The lazy-training analysis: cones, supports, cosines to init."""
