"""What can be concluded: places between floor and ceiling, verdicts against margins, seeds needed."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from sanity.figures.style import ARCHITECTURE_NAMES, ARM_COLOURS, MARKS, arm_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERDICT_COLOURS = {
    "trained better": "#0072B2",
    "equivalent": "#009E73",
    "baseline better": "#D55E00",
    "inconclusive": "#dddddd",
    "no range": "#ffffff",
    "open": "#ffffff",
}
ROW = 0.27
"""Inches per row of a list of arms or claims."""


def places_between(shares: pd.DataFrame, *, metrics: Mapping[str, str]) -> Figure:
    """One panel per metric: every arm of every architecture between floor (0) and ceiling (1)."""
    arms = shares[["architecture", "constraint", "init"]].drop_duplicates()
    height, rows, headers = 0, {}, {}
    for architecture, part in arms.groupby("architecture", sort=False):
        headers[str(architecture)] = height
        for constraint, init in part[["constraint", "init"]].itertuples(index=False):
            height += 1
            rows[architecture, constraint, init] = height
        height += 1
    figure, axes = plt.subplots(
        1,
        len(metrics),
        figsize=(2.35 * len(metrics) + 1.9, ROW * height + 1.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (metric, name) in zip(axes[0], metrics.items(), strict=True):
        for row in shares[shares["metric"] == metric].to_dict("records"):
            _place(ax, row, rows[row["architecture"], row["constraint"], row["init"]])
        for level, line in ((0.0, ":"), (1.0, "--")):
            ax.axvline(level, color="#555555", linestyle=line, linewidth=1.1, zorder=1)
        ax.set_xlim(-0.08, 1.08)
        ax.set_xticks([0, 0.5, 1])
        ax.set_title(textwrap.fill(name, 24), fontsize="small")
        ax.grid(False, axis="y")
    names = {at: arm_name(constraint, init) for (_, constraint, init), at in rows.items()}
    names |= {at: ARCHITECTURE_NAMES[architecture] for architecture, at in headers.items()}
    axes[0, 0].set_yticks(list(names), list(names.values()), fontsize="small")
    for at, label in zip(names, axes[0, 0].get_yticklabels(), strict=True):
        label.set_fontweight("bold" if at in headers.values() else "normal")
    axes[0, 0].set_ylim(height - 0.3, -0.7)
    figure.supxlabel("place between the floor (0, dotted) and the ceiling (1, dashed)", fontsize="small")
    return figure


def _place(ax: Axes, row: Mapping[Hashable, Any], height: int) -> None:
    """One arm: its mean, and its interval where there are several seeds."""
    mean, low, high = row["share"], row["low"], row["high"]
    colour, init = ARM_COLOURS[row["constraint"]], row["init"]
    hollow = "white" if np.isnan(low) else colour
    ax.plot([low, high], [height, height], color=colour, linewidth=1.6)
    ax.plot(mean, height, marker=MARKS[init], markersize=5, color=colour, markerfacecolor=hollow)


def verdict_strips(sweep: pd.DataFrame) -> Figure:
    """One strip per claim: the verdict at every margin, as a fraction of the metric's range."""
    claims = list(dict.fromkeys(sweep["claim"]))
    figure, ax = plt.subplots(figsize=(9.2, ROW * 1.15 * len(claims) + 1.5), layout="constrained")
    for height, claim in enumerate(claims):
        part = sweep[sweep["claim"] == claim].sort_values("margin")
        margins = part["margin"].to_numpy()
        between = np.sqrt(margins[1:] * margins[:-1])
        edges = np.concatenate([margins[:1], between, margins[-1:]])
        for left, right, word in zip(edges, edges[1:], part["verdict"], strict=False):
            look: dict[str, Any] = (
                {"hatch": "///", "edgecolor": "#bbbbbb"} if word in ("no range", "open") else {}
            )
            colour = VERDICT_COLOURS[word]
            ax.barh(height, right - left, left=left, height=0.74, color=colour, linewidth=0, **look)
        ax.plot([part["declared"].iloc[0]] * 2, [height - 0.45, height + 0.45], color="black", linewidth=2)
    ax.set_xscale("log")
    ticks = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4]
    ax.set_xticks(ticks, [f"{tick:.1%}" if tick < 0.01 else f"{tick:.0%}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(sweep["margin"].min(), sweep["margin"].max())
    ax.set_yticks(range(len(claims)), claims, fontsize="small")
    ax.set_ylim(len(claims) - 0.4, -0.6)
    ax.grid(False)
    ax.set_xlabel("margin, as a share of the metric's range (black: the declared one)")
    shown = [word for word in VERDICT_COLOURS if word in set(sweep["verdict"])]
    patches = [Patch(facecolor=VERDICT_COLOURS[word], edgecolor="#bbbbbb", label=word) for word in shown]
    figure.legend(handles=patches, loc="outside upper right", ncols=len(shown))
    return figure


def seeds_needed(power: pd.DataFrame) -> Figure:
    """One row per claim: seeds that its margin needs at the observed SD and at that SD's upper limit."""
    known = power.dropna(subset=["seeds_needed"])
    figure, ax = plt.subplots(figsize=(8.2, ROW * 1.15 * len(known) + 1.3), layout="constrained")
    for height, row in enumerate(known.to_dict("records")):
        ax.plot([row["seeds_needed"], row["seeds_needed_high"]], [height, height], color="#0072B2")
        ax.plot(row["seeds_needed"], height, "o", color="#0072B2", markersize=6)
        ax.plot(row["seeds_needed_high"], height, "|", color="#0072B2", markersize=9)
        ax.plot(row["seeds"], height, "D", color="black", markersize=5, markerfacecolor="white")
    ax.set_xscale("log")
    highest = float(known[["seeds", "seeds_needed_high"]].max().max())
    ticks = [tick for tick in (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= max(20, 2 * highest)]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(1.8, ticks[-1] * 1.05)
    ax.set_yticks(range(len(known)), known["claim"], fontsize="small")
    ax.set_ylim(len(known) - 0.4, -0.6)
    ax.set_xlabel("seeds (diamond: at hand; dot: needed at the observed SD; bar: at its upper limit)")
    return figure
