"""Sparse probing: arms next to references without training, between floor and ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from sanity.figures.style import ARM_COLOURS, LINES, MARKS, WIDE, bounds, legend_below, panel_grid, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

REFERENCE_COLOURS = {
    "random directions": "#E69F00",
    "raw neurons": "#009E73",
    "principal components": "#882255",
}
_GREY = "#555555"


def _look(row: pd.Series) -> dict[str, Any]:
    """Colour and mark of an arm or a reference."""
    if row["name"] in REFERENCE_COLOURS:
        return {"color": REFERENCE_COLOURS[row["name"]], "marker": "s"}
    return {"color": ARM_COLOURS[row["constraint"]], "marker": MARKS[row["init"]]}


def _rows(found: pd.DataFrame) -> list[str]:
    """Names from top to bottom: arms first, then references."""
    names = list(dict.fromkeys(found["name"]))
    return [n for n in names if n not in REFERENCE_COLOURS] + [n for n in names if n in REFERENCE_COLOURS]


@with_data
def probing_by_arm(found: pd.DataFrame, ends: pd.DataFrame, *, ks: Sequence[int]) -> Figure:
    """One panel per k: a dot per seed for every arm and reference, its mean as a bar, floor and ceiling."""
    names = _rows(found)
    figure, axes = panel_grid(1, len(ks), (3.6 * len(ks) + 1.8, 0.36 * len(names) + 1.3), sharey=True)
    for ax, k in zip(axes[0], ks, strict=True):
        at = found[found["k"] == k]
        for height, name in enumerate(names):
            part = at[at["name"] == name]
            look = _look(part.iloc[0])
            ax.scatter(part["accuracy"], np.full(len(part), height), s=26, alpha=0.75, **look)
            ax.plot(
                [part["accuracy"].mean()] * 2, [height - 0.3, height + 0.3], color=look["color"], linewidth=2
            )
        of_k = ends[ends["k"] == k]
        bounds(ax, of_k["floor"].mean(), of_k["ceiling"].mean())
        ax.set_title(f"k = {k}")
        ax.set_xlabel("accuracy")
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    figure.supxlabel(
        "one dot per seed, bar: mean; dotted: permuted labels, dashed: dense probe", fontsize="small"
    )
    return figure


@with_data
def probing_by_group(found: pd.DataFrame, *, groups: Sequence[str], ceiling: str) -> Figure:
    """One panel per concept group: every arm's mean over tasks and seeds; `ceiling` names the dense probe."""
    names = [name for name in _rows(found) if name != ceiling]
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    figure, axes = panel_grid(
        rows, columns, (2.1 * columns + 1.8, rows * (0.26 * len(names) + 1.0)), used=len(groups), sharey=True
    )
    for ax, group in zip(axes.flat, groups, strict=False):
        at = found[found["group"] == group]
        for height, name in enumerate(names):
            row = at[at["name"] == name].iloc[0]
            ax.scatter(row["accuracy"], height, s=34, **_look(row))
        bounds(ax, 0.5, float(at[at["name"] == ceiling]["accuracy"].mean()))
        ax.set_title(group.replace(" and ", " and\n").replace(" language", "\nlanguage"), fontsize="small")
        ax.set_xlim(0.45, 1.02)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("accuracy; dotted: chance, dashed: dense probe of the group", fontsize="small")
    return figure


@with_data
def probing_by_k(found: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Accuracy and AUROC against k, a line per arm and reference, band: range over seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDE, 4.6), layout="constrained")
    ks = sorted(found["k"].unique())
    for ax, metric in zip(axes, ("accuracy", "auroc"), strict=True):
        for name in _rows(found):
            part = found[found["name"] == name]
            over = part.groupby("k")[metric].agg(["mean", "min", "max"])
            look, reference = _look(part.iloc[0]), name in REFERENCE_COLOURS
            style = ":" if reference else LINES[part["init"].iloc[0]]
            ax.plot(over.index, over["mean"], label=name, linestyle=style, markersize=4, **look)
            ax.fill_between(
                over.index, over["min"], over["max"], color=look["color"], alpha=0.10, linewidth=0
            )
        ax.set_xscale("log")
        ax.set_xticks(ks, [str(k) for k in ks])
        ax.minorticks_off()
        ax.set_xlabel("features that the probe reads")
        ax.set_ylabel({"accuracy": "accuracy", "auroc": "AUROC"}[metric])
    axes[0].axhline(ends["floor"].mean(), color=_GREY, linestyle=":", linewidth=1.1)
    axes[0].axhline(ends["ceiling"].mean(), color=_GREY, linestyle="--", linewidth=1.1)
    axes[1].axhline(0.5, color=_GREY, linestyle=":", linewidth=1.1)
    legend_below(figure, axes[0], ncols=3)
    return figure


@with_data
def probing_leads(leads: pd.DataFrame, *, margin: float) -> Figure:
    """The trained arm's lead over each other row, a dot per seed with its interval over tasks."""
    names = _rows(leads)
    figure, ax = plt.subplots(figsize=(6.6, 0.46 * len(names) + 1.2), layout="constrained")
    ax.axvspan(-margin, margin, color="#eeeeee", zorder=0)
    ax.axvline(0, color=_GREY, linewidth=1)
    for height, name in enumerate(names):
        part = leads[leads["name"] == name].sort_values("seed")
        look = _look(part.iloc[0])
        heights = height + np.linspace(-0.25, 0.25, len(part))
        ax.hlines(heights, part["low"], part["high"], color=look["color"], linewidth=1.2, alpha=0.8)
        ax.scatter(part["lead"], heights, s=22, **look)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("accuracy, trained SAE minus this one")
    return figure
