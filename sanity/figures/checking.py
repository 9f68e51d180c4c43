"""One SAE between floor, nulls and ceiling; and which margins would call a null its equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from sanity.figures.style import arrow_beyond, bounds, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#56B4E9", "#0072B2", "#D55E00", "#999999", "#CC79A7", "#009E73", "#E69F00", "#882255", "#44AA99")
_MARKS = ("o", "s", "^", "v", "P", "X", "D", "<", ">")
# Nulls with a wrong decoder lie far below every floor, and a given SAE may be above a ceiling.
_LOWEST, _HIGHEST = -0.25, 1.1


def _short(name: str) -> str:
    """A name as an axis or a legend has room for it: somebody's SAE may be called after a whole path."""
    return name if len(name) <= 36 else f"{name[:35]}…"


@with_data
def between_floor_and_ceiling(scores: pd.DataFrame, *, given: str, labels: dict[str, str]) -> Figure:
    """A row per metric: every seed of every null, and the given SAE, between floor (0) and ceiling (1).

    `labels` are the metrics in order, with their names. What lies beyond the panel is an arrow.
    """
    nulls = [arm for arm in scores["arm"].unique() if arm != given]
    figure, ax = plt.subplots(
        figsize=(8.4, max(0.6, 0.14 * len(nulls)) * len(labels) + 2.1), layout="constrained"
    )
    for height, metric in enumerate(labels):
        part = scores[scores["metric"] == metric]
        floor, ceiling = part["floor"].mean(), part["ceiling"].astype(float).mean()
        for i, arm in enumerate(nulls):
            share = (part.loc[part["arm"] == arm, "value"] - floor) / (ceiling - floor)
            offset = 0.8 * ((i + 0.5) / len(nulls) - 0.5)
            _mark(ax, share.to_numpy(), height + offset, _COLOURS[i % 9], _MARKS[i % 9])
        ours = ((part.loc[part["arm"] == given, "value"] - floor) / (ceiling - floor)).to_numpy()
        ends, said = (_LOWEST, _HIGHEST), f"{ours.mean():z.0%}" if len(ours) else ""
        if len(ours) and not arrow_beyond(ax, height, ours.mean(), said, ends=ends, colour="black"):
            ax.plot([ours.mean()] * 2, [height - 0.42, height + 0.42], color="black", linewidth=2.5, zorder=4)
    for i, arm in enumerate(nulls):
        ax.scatter([], [], color=_COLOURS[i % 9], marker=_MARKS[i % 9], s=26, label=_short(arm))
    ax.plot([], [], color="black", linewidth=2.5, label=_short(given))
    bounds(ax, 0.0, 1.0)
    ax.set_xlim(_LOWEST - 0.03, _HIGHEST)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["floor", "25 %", "50 %", "75 %", "ceiling"])
    ax.set_yticks(range(len(labels)), list(labels.values()))
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel("share of the way from floor to ceiling", fontsize="small")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _mark(ax: Axes, shares: np.ndarray, height: float, colour: str, marker: str) -> None:
    """The seeds of a null; those beyond the panel as an arrow at its edge, with their mean."""
    ends = (_LOWEST, _HIGHEST)
    inside = shares[(shares >= _LOWEST) & (shares <= _HIGHEST)]
    ax.scatter(
        inside, np.full(len(inside), height), s=20, color=colour, marker=marker, alpha=0.85, linewidths=0
    )
    for beyond in (shares[shares < _LOWEST], shares[shares > _HIGHEST]):
        if len(beyond):
            arrow_beyond(ax, height, beyond.mean(), f"{beyond.mean():z.0%}", ends=ends, colour=colour)


@with_data
def margins_of_equivalence(compared: pd.DataFrame, *, labels: dict[str, str], margin: float) -> Figure:
    """A panel per metric: from which margin on each null would be called equivalent to the given SAE."""
    shown = [
        metric
        for metric in labels
        if compared.loc[compared["metric"] == metric, "smallest_margin"].notna().any()
    ]
    nulls = list(compared["null"].unique())
    columns = min(3, max(1, len(shown)))
    rows = -(-max(1, len(shown)) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns + 2.2, rows * (0.27 * max(2, len(nulls)) + 0.9) + 0.4),
        sharey=True, sharex=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for ax, metric in zip(axes.flat, shown, strict=False):
        part = compared[compared["metric"] == metric].set_index("null")
        for height, arm in enumerate(nulls):
            smallest = part["smallest_margin"].get(arm)
            if smallest is None or not np.isfinite(smallest):
                continue
            start = smallest / part.loc[arm, "range"]
            if start < 0.5:
                ax.plot(
                    [start, 0.5], [height] * 2, color=_COLOURS[height % 9], linewidth=5, solid_capstyle="butt"
                )
        ax.axvline(margin, color="#555555", linestyle="--", linewidth=1.1)
        ax.set_title(labels[metric], fontsize="small")
        ax.set_xlim(0, 0.5)
    for ax in list(axes.flat)[len(shown) :]:
        ax.set_visible(False)
    axes[0, 0].set_yticks(range(len(nulls)), [_short(arm) for arm in nulls])
    axes[0, 0].set_ylim(len(nulls) - 0.5, -0.5)
    figure.supxlabel("margin, as a share of the metric's range; dashed: the one used here", fontsize="small")
    return figure
