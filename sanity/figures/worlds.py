"""Arms on harder worlds: what explained variance says about recovery, world by world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from sanity.figures.style import ARM_COLOURS, MARKS, WIDE, arm_name, panel_grid, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = 3


@with_data
def recovery_against_variance(
    scores: pd.DataFrame, *, metric: str = "recovery", name: str = "features recovered"
) -> Figure:
    """One panel per world: `metric` against explained variance, a dot per arm and seed, means joined.

    The line joins the arms' means in the order of explained variance: where it falls, a higher explained
    variance goes with less recovery.
    """
    worlds = list(dict.fromkeys(scores["world_or_hook"]))
    lines = -(-len(worlds) // COLUMNS)
    figure, axes = panel_grid(lines, COLUMNS, (WIDE, 2.7 * lines + 0.6), used=len(worlds), sharey=True)
    index = ["constraint", "init", "seed"]
    for ax, world in zip(axes.flat, worlds, strict=False):
        part = scores[scores["world_or_hook"] == world]
        wide = part.pivot_table(index=index, columns="metric", values="value", sort=False)
        means = (
            wide.groupby(level=["constraint", "init"], sort=False).mean().sort_values("explained_variance")
        )
        ax.plot(means["explained_variance"], means[metric], color="#bbbbbb", linewidth=1.2, zorder=1)
        for (constraint, init), seeds in wide.groupby(level=["constraint", "init"], sort=False):
            ax.scatter(
                seeds["explained_variance"],
                seeds[metric],
                s=34,
                color=ARM_COLOURS[str(constraint)],
                marker=MARKS[str(init)],
                alpha=0.85,
                label=arm_name(str(constraint), str(init)),
            )
        ax.set_title(world)
        ax.set_ylim(-0.04, 1.04)
    for ax in axes[:, 0]:
        ax.set_ylabel(name)
    for ax in axes.flat[max(0, len(worlds) - COLUMNS) : len(worlds)]:
        ax.set_xlabel("explained variance")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@with_data
def misses_of_parents(absorption: pd.DataFrame) -> Figure:
    """For each arm: how often a recovered parent is missed, alone and with a child, a dot per seed."""
    arms = list(dict.fromkeys(zip(absorption["constraint"], absorption["init"], strict=True)))
    figure, ax = plt.subplots(figsize=(7.4, 0.5 * len(arms) + 1.3), layout="constrained")
    for height, (constraint, init) in enumerate(arms):
        part = absorption[(absorption["constraint"] == constraint) & (absorption["init"] == init)]
        colour = ARM_COLOURS[constraint]
        for row in part.itertuples():
            ends = np.array([row.missed_alone, row.missed_with_child], dtype=float)
            ax.plot(ends, [height, height], color=colour, linewidth=1.4, alpha=0.6)
            ax.plot(ends[0], height, "o", color=colour, markerfacecolor="white", markersize=7)
            ax.plot(ends[1], height, "o", color=colour, markersize=7)
    ax.plot([], [], "o", color="#555555", markerfacecolor="white", label="parent alone")
    ax.plot([], [], "o", color="#555555", label="parent with a child")
    ax.set_yticks(range(len(arms)), [arm_name(*arm) for arm in arms])
    ax.invert_yaxis()
    ax.set_ylim(len(arms) - 0.5, -0.5)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of the parent's activations in which its latent is silent")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@with_data
def misfit_moves(table: pd.DataFrame) -> Figure:
    """The trained arm's explained variance and recovery, with an arrow from the dictionary that fits.

    `table` has the columns EV and recovered, and the dictionary's name as index, `fitting` among them.
    """
    figure, ax = plt.subplots(figsize=(6.6, 4.0), layout="constrained")
    values = (table[column].astype(float) for column in ("EV", "recovered"))
    ends = {
        str(name): (float(ev), float(found)) for name, ev, found in zip(table.index, *values, strict=True)
    }
    start = ends["fitting"]
    for name, end in ends.items():
        if name != "fitting":
            ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#999999"})
        ax.plot(*end, "o", color="#000000", markersize=8 if name == "fitting" else 6)
        up = end[1] >= start[1]
        beside: dict[str, Any] = {"ha": "center", "va": "bottom" if up else "top", "fontsize": "small"}
        ax.annotate(name, end, xytext=(0, 8 if up else -8), textcoords="offset points", **beside)
    ax.margins(x=0.22)
    ax.set_ylim(0, 1.12)
    ax.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.set_xlabel("explained variance")
    ax.set_ylabel("features recovered")
    return figure
