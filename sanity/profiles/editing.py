"""Causal editing: which facts, arms and mask sizes."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class EditingGrid(Entry):
    """Causal editing: which facts, arms and mask sizes."""
