"""The figures of harder worlds and of objectives: a mark per arm or objective and seed, where it belongs."""

from __future__ import annotations

import matplotlib
import pandas as pd

matplotlib.use("Agg")

from sanity import figures
from sanity.models import Objective


def rows(**about: object) -> list[dict[str, object]]:
    """EV 0.1, 0.2, ... and recovery twice as much, for two seeds."""
    return [
        {**about, "init": "iso", "seed": seed, "metric": metric, "value": (seed + 1) * scale}
        for seed in (0, 1)
        for metric, scale in (("explained_variance", 0.1), ("recovery", 0.2))
    ]


def test_a_panel_per_world_and_a_dot_per_arm_and_seed() -> None:
    scores = pd.DataFrame(
        [
            row
            for world in ("a", "b", "c", "d")
            for arm in ("trained", "untrained")
            for row in rows(world_or_hook=world, constraint=arm)
        ]
    )
    figure = figures.recovery_against_variance(scores)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") or ax.get_title() for ax in shown] == ["a", "b", "c", "d"]
    dots = [collection.get_offsets().tolist() for collection in shown[0].collections]
    assert dots == [[[0.1, 0.2], [0.2, 0.4]]] * 2


def test_a_mark_per_objective_and_seed_and_the_way_of_the_first_seed() -> None:
    objectives = ("plain", "topk_first")
    scores = pd.DataFrame(
        [row for objective in objectives for row in rows(architecture="batchtopk", objective=objective)]
    )
    curves = pd.DataFrame(
        [
            {"architecture": "batchtopk", "objective": objective, "seed": seed, "recovery": y}
            | {"explained_variance_held_out": y / 2}
            for objective in objectives
            for seed in (0, 1)
            for y in (0.0, 0.2)
        ]
    )
    figure = figures.recovery_by_objective(scores, curves)
    (ax,) = figure.axes
    assert [len(collection.get_offsets()) for collection in ax.collections] == [2, 2]
    assert len(ax.lines) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        Objective.named(spelled).title or spelled for spelled in objectives
    ]


def test_every_misfit_has_its_arrow_and_every_seed_its_misses() -> None:
    table = pd.DataFrame({"EV": [0.7, 0.5], "recovered": [0.8, 0.9]}, index=["fitting", "half the L0"])
    (ax,) = figures.misfit_moves(table).axes
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["fitting", "half the L0"]
    missed = pd.DataFrame(
        {"constraint": "trained", "init": "iso", "missed_alone": [0.1, 0.2], "missed_with_child": [0.5, 0.6]}
    )
    (ax,) = figures.misses_of_parents(missed).axes
    assert sum(len(line.get_xdata()) for line in ax.lines) == 2 * (2 + 1 + 1)
