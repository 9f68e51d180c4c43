"""Cells of the chapter `causal_editing`: facts edited through a learned mask over latents."""

from __future__ import annotations

import pandas as pd

from sanity.cells import Cell, Result
from sanity.profiles import Profile
from sanity.store import LocalStore

EXPERIMENT = "causal_editing"


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return []


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing."""
    return pd.DataFrame(), []
