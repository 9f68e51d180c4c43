"""Scores along an axis: samples seen, tokens seen, achieved L0."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from sanity.figures.style import (
    ARCHITECTURE_COLOURS,
    ARCHITECTURE_NAMES,
    ARM_COLOURS,
    LINES,
    MARKS,
    WIDE,
    arm_name,
    legend_below,
    panel_grid,
    reference,
    with_data,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@with_data
def budget_curves(
    curves: pd.DataFrame,
    *,
    metrics: Mapping[str, str],
    floors: Mapping[str, tuple[float, str]] | None = None,
) -> Figure:
    """For each world (column) and metric (row): the metric against samples seen, a line per architecture.

    `floors` gives a metric's floor and what it is called in the figure.
    """
    worlds = list(dict.fromkeys(curves["world_or_hook"]))
    figure, axes = panel_grid(
        len(metrics), len(worlds), (4.6 * len(worlds), 2.5 * len(metrics) + 0.4), sharex="col", sharey="row"
    )
    for column, world in enumerate(worlds):
        for row, (metric, name) in enumerate(metrics.items()):
            ax = axes[row, column]
            part = curves[(curves["world_or_hook"] == world) & (curves["samples_seen"] > 0)]
            for architecture, lines in part.groupby("architecture", sort=False):
                mean_and_seeds(
                    ax,
                    lines,
                    x="samples_seen",
                    y=metric,
                    label=ARCHITECTURE_NAMES[str(architecture)],
                    colour=ARCHITECTURE_COLOURS[str(architecture)],
                )
            if floors and metric in floors:
                reference(ax, *floors[metric], kind="floor")
            ax.set_xscale("log")
            if row == 0:
                ax.set_title(f"{world} probabilities")
            if column == 0:
                ax.set_ylabel(name)
        axes[-1, column].set_xlabel("samples seen")
    legend_below(figure, axes[0, -1])
    return figure


@with_data
def gap_against_tokens(curves: pd.DataFrame, *, metric: str, name: str) -> Figure:
    """Two panels: the metric of every arm against tokens seen, and the trained arm's lead over each."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDE, 3.9), layout="constrained")
    index = ["seed", "samples_seen"]
    trained = curves[curves["constraint"] == "trained"].set_index(index)[metric]
    for (constraint, init), part in curves[curves["samples_seen"] > 0].groupby(
        ["constraint", "init"], sort=False
    ):
        look: dict[str, Any] = {
            "label": arm_name(str(constraint), str(init)),
            "colour": ARM_COLOURS[str(constraint)],
            "line": LINES[str(init)],
        }
        mean_and_seeds(left, part, x="samples_seen", y=metric, **look)
        if constraint != "trained":
            gap = part.assign(gap=trained.reindex(part.set_index(index).index).to_numpy() - part[metric])
            mean_and_seeds(right, gap, x="samples_seen", y="gap", **look)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("tokens seen (repeats counted)")
    left.set_ylabel(name)
    left.set_title("every arm")
    right.set_ylabel(fill(f"trained minus arm, {name}", 28))
    right.set_title("the trained arm's lead")
    reference(right, 0.0, "no lead", kind="floor")
    legend_below(figure, left, ncols=3)
    return figure


@with_data
def against_l0(scores: pd.DataFrame, *, metric: str, name: str) -> Figure:
    """One panel per architecture: the metric against achieved L0, a line per arm."""
    names = list(dict.fromkeys(scores["architecture"]))
    figure, axes = panel_grid(1, len(names), (3.3 * len(names), 3.9), sharey=True)
    for ax, architecture in zip(axes[0], names, strict=True):
        part = scores[scores["architecture"] == architecture]
        for (constraint, init), arm in part.groupby(["constraint", "init"], sort=False):
            points = arm.groupby("l0_target")[["l0", metric]].mean().sort_values("l0")
            ax.plot(
                points["l0"],
                points[metric],
                marker=MARKS[str(init)],
                markersize=5,
                linestyle=LINES[str(init)],
                color=ARM_COLOURS[str(constraint)],
                label=arm_name(str(constraint), str(init)),
            )
        ax.set_title(ARCHITECTURE_NAMES[architecture])
        ax.set_xlabel("achieved L0 (held-out tokens)")
        ax.set_xscale("log")
        ends = sorted(set(part["l0_target"]))
        ax.set_xticks(ends, [f"{end:g}" for end in ends])
        ax.minorticks_off()
    axes[0, 0].set_ylabel(name)
    legend_below(figure, *axes[0], ncols=3)
    return figure


def mean_and_seeds(
    ax: Axes, curves: pd.DataFrame, *, x: str, y: str, label: str, colour: str, line: str = "-"
) -> None:
    """The mean over seeds as a line, and the range over seeds as a band (none for a single seed)."""
    table = curves.dropna(subset=[y]).pivot_table(index=x, columns="seed", values=y).dropna()
    ax.plot(table.index, table.mean(axis=1), color=colour, linestyle=line, label=label, linewidth=1.8)
    if table.shape[1] > 1:
        ax.fill_between(
            table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.18, linewidth=0
        )
