"""How metrics read corrupted references, and what scrambling an autoencoder does to them."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from sanity.figures.style import WIDE, legend_below, panel_grid, reference, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LINE_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PLACE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STATE_COLOURS = {"passed": "#009E73", "failed": "#D55E00", "not available": "#777777"}
COLUMNS = 3
# Letters of a panel's title before it goes on in the next line.
WIDTH = 30


@with_data
def graded_readings(
    readings: pd.DataFrame, *, labels: Mapping[str, str], states: Mapping[str, str]
) -> Figure:
    """One panel per metric: its place between floor and ceiling against the level of corruption.

    `readings` holds the reference by which each metric is gated; a thin line per seed, dots for their mean,
    a colour per place.
    """
    metrics = [metric for metric in labels if (readings["metric"] == metric).any()]
    places = list(dict.fromkeys(readings["place"]))
    rows = -(-len(metrics) // COLUMNS)
    size = (WIDE, 2.3 * rows + 0.7)
    figure, axes = panel_grid(rows, COLUMNS, size, used=len(metrics), sharex=True, sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        for place, colour in zip(places, PLACE_COLOURS * 9, strict=False):
            part = readings[(readings["metric"] == metric) & (readings["place"] == place)]
            wide = _shares(part).pivot_table(index="level", columns="seed", values="share")
            if wide.empty:
                continue
            ax.plot(wide.index, wide, color=colour, linewidth=0.7, alpha=0.5)
            ax.plot(wide.index, wide.mean(axis=1), "o", color=colour, markersize=4, label=place)
        reference(ax, 0.0, "floor", kind="floor")
        reference(ax, 1.0, "ceiling", kind="ceiling")
        ax.set_title(fill(labels[metric], WIDTH), fontsize="small")
        state = states.get(metric, "not available")
        ax.annotate(
            state,
            (0.03, 0.12),
            xycoords="axes fraction",
            fontsize="small",
            fontweight="bold",
            color=STATE_COLOURS[state],
        )
    figure.supxlabel("corruption of the metric's own reference (0 intact, 1 complete)", fontsize="small")
    figure.supylabel("place between floor and ceiling", fontsize="small")
    handles = {
        label: handle
        for ax in axes.flat
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=len(handles))
    return figure


@with_data
def truth_against_corruption(
    readings: pd.DataFrame, *, labels: Mapping[str, str], kinds: Mapping[str, str]
) -> Figure:
    """One panel per corruption of the true dictionary, one line per metric, a row of panels per world."""
    places = list(dict.fromkeys(readings["place"]))
    shown = [kind for kind in kinds if (readings["kind"] == kind).any()]
    figure, axes = panel_grid(
        len(places), len(shown), (2.9 * len(shown), 2.5 * len(places) + 1.0), sharex=True, sharey=True
    )
    for line, place in zip(axes, places, strict=True):
        for ax, kind in zip(line, shown, strict=True):
            part = readings[(readings["place"] == place) & (readings["kind"] == kind)]
            for number, (metric, label) in enumerate(labels.items()):
                one = _shares(part[part["metric"] == metric]).groupby("level")["share"].mean()
                colour = LINE_COLOURS[number % len(LINE_COLOURS)]
                ax.plot(one.index, one, color=colour, marker="o", markersize=3, label=label)
            reference(ax, 0.0, "floor", kind="floor")
            reference(ax, 1.0, "ceiling", kind="ceiling")
            ax.set_title(fill(kinds[kind], 72 // len(shown)) if place == places[0] else "", fontsize="small")
            ax.set_xlabel("corruption" if place == places[-1] else "", fontsize="small")
        line[0].set_ylabel(f"{place} probabilities", fontsize="small")
    legend_below(figure, axes[0, 0], ncols=3)
    return figure


@with_data
def scramble_matrix(changes: pd.DataFrame, *, labels: Mapping[str, str], largest: float = 1.0) -> Figure:
    """Metrics x scrambles: how far each scramble moves each score, as a share of floor to ceiling.

    Of several places and autoencoders the largest change is shown; colours end at `largest`.
    """
    rows = changes[changes["metric"].isin(labels)]
    order = rows.assign(size=rows["change"].abs()).sort_values("size", ascending=False)
    worst = order.drop_duplicates(["metric", "scramble"])
    table = worst.pivot_table(index="metric", columns="scramble", values="change", sort=False)
    table = table.loc[[m for m in labels if m in table.index], list(dict.fromkeys(rows["scramble"]))]
    figure, ax = plt.subplots(
        figsize=(min(WIDE, 1.15 * table.shape[1] + 4.2), 0.36 * len(table) + 2.0), layout="constrained"
    )
    ax.grid(False)
    image = ax.imshow(
        table.to_numpy(), cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
    )
    for (row, column), change in np.ndenumerate(table.to_numpy()):
        colour = "white" if abs(change) > 0.7 * largest else "#222222"
        text = "0" if abs(change) < 0.0005 else f"{change:+.2f}" if abs(change) >= 0.005 else "≈ 0"
        text = "–" if np.isnan(change) else text
        ax.text(column, row, text, ha="center", va="center", fontsize="x-small", color=colour)
    ax.set_yticks(range(len(table)), [labels[m] for m in table.index], fontsize="small")
    ax.set_xticks(range(table.shape[1]), table.columns, fontsize="small", rotation=25, ha="right")
    for spine in ax.spines.values():
        spine.set_visible(False)
    figure.colorbar(image, ax=ax, label="change, share of floor to ceiling", shrink=0.8)
    return figure


def _shares(readings: pd.DataFrame) -> pd.DataFrame:
    """Readings with their place between floor and ceiling in the column `share`."""
    floor, ceiling = readings["floor"].astype(float), readings["ceiling"].astype(float)
    return readings.assign(share=(readings["value"] - floor) / (ceiling - floor))
