"""How much of the trained arm's lead every baseline has, metric by metric."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from sanity.figures.style import ARM_COLOURS, arm_words, arrow_beyond

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOW, HIGH = -0.25, 1.35
"""The shares that are drawn; what lies outside is an arrow at the edge, with its value."""
ROW, GAP = 0.24, 1.3
LOOKS = {
    "untrained": ("ours, over an untrained dictionary", "o", True),
    "floor": ("ours, over the floor", "o", False),
    "paper": ("the paper's scores, over chance", "D", False),
}


def shares_of_lead(table: pd.DataFrame, *, labels: Mapping[str, str]) -> Figure:
    """A group of rows per metric, a row per baseline: 0 is the base, 1 the trained arm.

    Parameters
    ----------
    table
        From `sanity.claims.lead_table`. Metrics that tell nothing stand on a grey ground.
    labels
        Metric -> its name, in the order of the groups.
    """
    height, ticks, grounds = 0.0, {}, []
    rows: dict[tuple[str, str, str], float] = {}
    for metric in labels:
        part = table[table["metric"] == metric]
        ticks[height] = (labels[metric], "bold")
        top = height
        for constraint, init in part[["constraint", "init"]].drop_duplicates().itertuples(index=False):
            height += 1
            rows[metric, constraint, init] = height
            ticks[height] = (arm_words(constraint, init), "normal")
        if not part["tells"].all():
            grounds.append((top - 0.5, height + 0.5))
        height += GAP
    figure, ax = plt.subplots(figsize=(9.2, ROW * height + 1.3), layout="constrained")
    for low, high in grounds:
        ax.axhspan(low, high, color="#eeeeee", zorder=0)
    for row in table.to_dict("records"):
        if (row["metric"], row["constraint"], row["init"]) in rows:
            _share(ax, row, rows[row["metric"], row["constraint"], row["init"]])
    for level, line in ((0.0, ":"), (1.0, "--")):
        ax.axvline(level, color="#555555", linestyle=line, linewidth=1.2, zorder=1)
    ax.set_yticks(list(ticks), [textwrap.shorten(name, 44) for name, _ in ticks.values()])
    for label, (_, weight) in zip(ax.get_yticklabels(), ticks.values(), strict=True):
        label.set_fontweight(weight)
    ax.tick_params(axis="y", length=0, labelsize="small")
    ax.set_ylim(height - GAP + 0.7, -0.8)
    ax.set_xlim(LOW, HIGH)
    ax.set_xticks(np.arange(0, 1.3, 0.25), [f"{100 * share:.0f} %" for share in np.arange(0, 1.3, 0.25)])
    ax.grid(False, axis="y")
    ax.set_xlabel("share of the trained arm's lead")
    figure.legend(handles=_legend(), loc="outside upper center", ncols=3)
    return figure


def _share(ax: Axes, row: Mapping[Any, Any], height: float) -> None:
    """One mark with its interval; the paper's mark a little lower."""
    _, mark, filled = LOOKS[row["over"]]
    colour = ARM_COLOURS[row["constraint"]] if row["over"] != "paper" else "#E69F00"
    height += {"untrained": -0.16, "floor": 0.14, "paper": 0.14}[row["over"]]
    if np.isfinite(row["low"]):
        low, high = np.clip([row["low"], row["high"]], LOW, HIGH)
        ax.plot([low, high], [height, height], color=colour, linewidth=1.4, zorder=2)
    if arrow_beyond(ax, height, row["share"], f"{row['share']:z.0%}", ends=(LOW, HIGH), colour=colour):
        return
    face = colour if filled else "white"
    ax.plot(row["share"], height, mark, color=colour, markerfacecolor=face, markersize=5.5, zorder=3)


def _legend() -> list[Line2D]:
    handles = []
    for over, (label, mark, filled) in LOOKS.items():
        colour = "#E69F00" if over == "paper" else "#333333"
        face = colour if filled else "white"
        handles.append(Line2D([], [], color=colour, marker=mark, markerfacecolor=face, ls="", label=label))
    return handles
