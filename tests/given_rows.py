"""Rows of a probing pool from texts of a test's own."""

from __future__ import annotations

from dataclasses import dataclass

from sanity.data.documents import opening
from sanity.data.probing import Row


@dataclass(frozen=True)
class GivenRows:
    """The texts of one class."""

    label: str
    texts: tuple[str, ...]

    def rows(self) -> tuple[list[Row], int]:
        """All that are not blank."""
        return [Row(opening(text), text) for text in self.texts if text.strip()], 0
