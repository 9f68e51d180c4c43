"""What has to be here before cells are computed: models and texts, said and fetched all at once."""

from __future__ import annotations

from collections.abc import Sequence

from sanity import assets
from sanity.engine.cells import Cell
from sanity.engine.store import LocalStore, missing, open_store


def needed(cells: Sequence[Cell]) -> set[str]:
    """The assets that computing `cells` needs where their inputs are there."""
    return set().union(*(assets.needed(cell.config) for cell in cells))


def make_ready(cells: Sequence[Cell], store: LocalStore | None = None) -> None:
    """Fetch what computing the missing ones among `cells` and their inputs needs; see `assets.ready`."""
    assets.ready(needed(missing(cells, store or open_store())))
