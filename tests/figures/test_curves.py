"""Figures of scores along an axis: what is drawn in them."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd

from sanity.figures import budget_curves


def test_every_floor_is_drawn_under_its_own_name() -> None:
    mpl.use("agg")
    rows = [
        {
            "world_or_hook": world,
            "architecture": "topk",
            "seed": seed,
            "samples_seen": samples,
            "a": 0.5,
            "b": 0.4,
        }
        for world in ("constant", "variable")
        for seed in (0, 1)
        for samples in (0, 10, 100)
    ]
    floors = {"a": (0.25, "chance"), "b": (0.0, "mean")}
    figure = budget_curves(pd.DataFrame(rows), metrics={"a": "first", "b": "second"}, floors=floors)
    named = {ax.get_ylabel(): {text.get_text() for text in ax.texts} for ax in figure.axes if ax.get_ylabel()}
    assert named == {"first": {"chance"}, "second": {"mean"}}
