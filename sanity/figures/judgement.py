"""What can be concluded: places between floor and ceiling, verdicts against margins, seeds needed."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from sanity.figures.style import (
    ARCHITECTURE_NAMES,
    ARM_COLOURS,
    MARKS,
    WIDE,
    arm_name,
    arrow_beyond,
    bounds,
    panel_grid,
    with_data,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERDICT_COLOURS = {
    "trained better": "#0072B2",
    "equivalent": "#009E73",
    "equivalent, but so is an untrained dictionary": "#9ad9c3",
    "equivalent, but so is an SAE of a random transformer": "#9ad9c3",
    "baseline better": "#D55E00",
    "inconclusive": "#dddddd",
    "no range": "#ffffff",
    "open": "#ffffff",
}
PANELS = 4
"""Most panels next to each other."""
LEFT, RIGHT = -0.08, 1.08
"""The ends of a panel from floor to ceiling."""
ROW = 0.24
"""Inches per row of a list of arms or claims."""


@with_data
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
    lines = -(-len(metrics) // PANELS)
    columns = -(-len(metrics) // lines)
    figure, axes = panel_grid(
        lines, columns, (WIDE, lines * (ROW * height + 0.9) + 0.3), used=len(metrics), sharey=True
    )
    for ax, (metric, name) in zip(axes.flat, metrics.items(), strict=False):
        for row in shares[shares["metric"] == metric].to_dict("records"):
            _place(ax, row, rows[row["architecture"], row["constraint"], row["init"]])
        bounds(ax, 0.0, 1.0)
        ax.set_xlim(LEFT, RIGHT)
        ax.set_xticks([0, 0.5, 1])
        ax.set_title(textwrap.fill(name, 60 // columns), fontsize="small")
        ax.grid(False, axis="y")
    names = {at: arm_name(constraint, init) for (_, constraint, init), at in rows.items()}
    names |= {at: ARCHITECTURE_NAMES[architecture] for architecture, at in headers.items()}
    for ax in axes[:, 0]:
        ax.set_yticks(list(names), list(names.values()), fontsize="small")
        for at, label in zip(names, ax.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if at in headers.values() else "normal")
    axes[0, 0].set_ylim(height - 0.3, -0.7)
    figure.supxlabel(
        "place between the floor (0, dotted) and the ceiling (1, dashed); arrow: beyond it, at this value",
        fontsize="small",
    )
    return figure


def _place(ax: Axes, row: Mapping[Hashable, Any], height: int) -> None:
    """One arm: its mean, and its interval of several seeds; beyond the panel, an arrow and the value."""
    mean, low, high = row["share"], row["low"], row["high"]
    colour, init = ARM_COLOURS[row["constraint"]], row["init"]
    hollow = "white" if np.isnan(low) else colour
    ax.plot([low, high], [height, height], color=colour, linewidth=1.6)
    if not arrow_beyond(ax, height, mean, f"{mean:.2f}", ends=(LEFT, RIGHT), colour=colour):
        ax.plot(mean, height, marker=MARKS[init], markersize=5, color=colour, markerfacecolor=hollow)


@with_data
def verdict_strips(sweep: pd.DataFrame) -> Figure:
    """One strip per claim: the verdict at every margin, as a fraction of the metric's range."""
    claims = list(dict.fromkeys(sweep["claim"]))
    figure, ax = plt.subplots(figsize=(WIDE, ROW * 1.25 * len(claims) + 1.5), layout="constrained")
    for height, claim in enumerate(claims):
        part = sweep[sweep["claim"] == claim].sort_values("margin")
        margins = part["margin"].to_numpy()
        # a verdict holds from its margin to the next that was tried
        for left, right, word in zip(margins, margins[1:], part["verdict"], strict=False):
            look: dict[str, Any] = (
                {"hatch": "///", "edgecolor": "#bbbbbb"} if word in ("no range", "open") else {}
            )
            colour = VERDICT_COLOURS[word]
            ax.barh(height, right - left, left=left, height=0.74, color=colour, linewidth=0, **look)
        ax.plot([part["declared"].iloc[0]] * 2, [height - 0.45, height + 0.45], color="black", linewidth=2)
    _margin_axis(ax, claims, float(sweep["margin"].min()), float(sweep["margin"].max()))
    ax.grid(False)
    ax.set_xlabel("margin, as a share of the metric's range\n(black: the declared one)")
    shown = [word for word in VERDICT_COLOURS if word in set(sweep["verdict"])]
    patches = [Patch(facecolor=VERDICT_COLOURS[word], edgecolor="#bbbbbb", label=word) for word in shown]
    figure.legend(handles=patches, loc="outside upper center", ncols=3)
    return figure


@with_data
def smallest_margins(power: pd.DataFrame) -> Figure:
    """One row per claim: the smallest margin that the seeds meet, at the SD and its limit."""
    known = power.dropna(subset=["smallest_margin"]).reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(WIDE, ROW * 1.25 * len(known) + 1.3), layout="constrained")
    for height, row in enumerate(known.to_dict("records")):
        low, high = row["smallest_margin"], row["smallest_margin_high"]
        ax.plot([low, high], [height, height], color="#0072B2", linewidth=1.6)
        ax.plot(low, height, "o", color="#0072B2", markersize=5)
        ax.plot(high, height, "|", color="#0072B2", markersize=9, markeredgewidth=1.6)
        ax.plot([row["margin"]] * 2, [height - 0.4, height + 0.4], color="black", linewidth=2)
        needed = sorted({int(row["seeds_needed"]), int(row["seeds_needed_high"])})
        words = f"{row['seeds']} seeds; needs {' to '.join(map(str, needed))}"
        ax.annotate(
            words, (1.02, height), xycoords=("axes fraction", "data"), va="center", fontsize="x-small"
        )
    ends = known[["smallest_margin", "smallest_margin_high", "margin"]]
    _margin_axis(ax, known["claim"].to_list(), 0.7 * float(ends.min().min()), 1.5 * float(ends.max().max()))
    ax.set_xlabel("margin, as a share of the metric's range")
    return figure


def _margin_axis(ax: Axes, claims: list[str], low: float, high: float) -> None:
    """Margins as percentages on a log axis, one row per claim."""
    steps = (1,) if high / low > 1000 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(-9, 3) for step in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    ax.set_xscale("log")
    ax.set_xticks(shown, [f"{100 * tick:g} %" for tick in shown])
    ax.set_xticks([], minor=True)
    ax.set_xlim(low, high)
    ax.set_yticks(range(len(claims)), claims, fontsize="small")
    ax.set_ylim(len(claims) - 0.4, -0.6)
