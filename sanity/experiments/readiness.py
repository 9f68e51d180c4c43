"""What has to be here before cells are computed: models and texts, said and fetched all at once."""

from __future__ import annotations

from collections.abc import Sequence

from sanity import assets
from sanity.engine.cells import Cell
from sanity.engine.computing import require_card
from sanity.engine.store import LocalStore, missing, open_store


def needed(cells: Sequence[Cell]) -> set[str]:
    """The assets that computing `cells` needs where their inputs are there."""
    return set().union(*(assets.needed(cell.config) for cell in cells))


def make_ready(
    cells: Sequence[Cell], store: LocalStore | None = None, *, scheduler: str | None = None
) -> None:
    """Fetch what computing the missing ones among `cells` and their inputs needs; see `assets.ready`.

    A graphics card that they want has to be here, unless the workers of a `scheduler` compute them.
    """
    absent = missing(cells, store or open_store())
    if scheduler is None:
        require_card(absent)
    assets.ready(needed(absent))
