"""Sparse probing: which tables, how many rows, which k."""

from __future__ import annotations

from sanity.profiles.entry import Entry


class ProbingGrid(Entry):
    """Sparse probing: which tables, how many rows, which k."""
