"""The book's plots: each takes a tidy table and returns a matplotlib figure.

Colours are Okabe and Ito's (colour-blind safe), one per arm everywhere in the book; chance is a dotted
line and the ceiling a dashed one, both labelled. Figures keep a white ground, so that they read the same
on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM_COLOURS = {
    "trained": "#000000",
    "soft_frozen_decoder": "#0072B2",
    "frozen_decoder": "#56B4E9",
    "frozen_encoder": "#D55E00",
    "frozen_both": "#CC79A7",
    "untrained": "#999999",
}
ARCHITECTURE_COLOURS = {
    "topk": "#0072B2",
    "batchtopk": "#E69F00",
    "jumprelu": "#009E73",
    "matryoshka": "#CC79A7",
    "relu": "#000000",
}
ARCHITECTURE_NAMES = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "matryoshka": "Matryoshka",
    "relu": "ReLU",
}
LINES = {"iso": "-", "cov": "--"}
MARKS = {"iso": "o", "cov": "D"}


def arm_name(constraint: str, init: str) -> str:
    """The name of an arm as readers see it, for instance "frozen decoder (cov)"."""
    name = constraint.replace("_", " ").replace("soft frozen", "soft-frozen")
    return name if constraint == "trained" and init == "iso" else f"{name} ({init})"


def house_style() -> None:
    """Set matplotlib's defaults to the book's; call it once at the top of a chapter."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.facecolor": "white",
            "figure.dpi": 110,
            "savefig.facecolor": "white",
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.8,
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "legend.fontsize": "small",
            "font.family": "DejaVu Sans",
        },
    )


def reference(ax: Axes, value: float, label: str, *, kind: str) -> None:
    """A horizontal line for a floor (dotted) or a ceiling (dashed), named at its right end."""
    ax.axhline(value, color="#555555", linewidth=1.1, linestyle=":" if kind == "floor" else "--", zorder=1)
    ax.annotate(
        label,
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize="x-small",
        color="#555555",
    )


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


def budget_curves(
    curves: pd.DataFrame, *, metrics: Mapping[str, str], floors: Mapping[str, float] | None = None
) -> Figure:
    """For each world (column) and metric (row): the metric against samples seen, a line per architecture."""
    worlds = list(dict.fromkeys(curves["world_or_hook"]))
    figure, axes = plt.subplots(
        len(metrics),
        len(worlds),
        figsize=(4.6 * len(worlds), 2.5 * len(metrics)),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for column, world in enumerate(worlds):
        for row, (metric, name) in enumerate(metrics.items()):
            ax = axes[row, column]
            part = curves[(curves["world_or_hook"] == world) & (curves["samples"] > 0)]
            for architecture, lines in part.groupby("architecture", sort=False):
                mean_and_seeds(
                    ax,
                    lines,
                    x="samples",
                    y=metric,
                    label=ARCHITECTURE_NAMES[str(architecture)],
                    colour=ARCHITECTURE_COLOURS[str(architecture)],
                )
            if floors and metric in floors:
                reference(ax, floors[metric], "isotropic null", kind="floor")
            ax.set_xscale("log")
            if row == 0:
                ax.set_title(f"{world} probabilities")
            if column == 0:
                ax.set_ylabel(name)
        axes[-1, column].set_xlabel("samples seen")
    axes[0, -1].legend(loc="best")
    return figure


def recovery_by_frequency(features: pd.DataFrame, *, null: float, threshold: float = 0.8) -> Figure:
    """Nearest-latent cosine of every feature against how often it is active, one panel per architecture."""
    names = list(dict.fromkeys(features["architecture"]))
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.9 * len(names), 3.1), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, architecture in zip(axes[0], names, strict=True):
        part = features[features["architecture"] == architecture]
        ax.scatter(
            part["probability"],
            part["max_cosine"],
            s=5,
            color=ARCHITECTURE_COLOURS[architecture],
            alpha=0.35,
            linewidths=0,
            rasterized=True,
        )
        reference(ax, threshold, "recovered above", kind="ceiling")
        reference(ax, null, "isotropic null", kind="floor")
        ax.set_xscale("log")
        ax.set_ylim(0, 1.02)
        ax.set_title(ARCHITECTURE_NAMES[architecture])
        ax.set_xlabel("probability of being active")
    axes[0, 0].set_ylabel("cosine of the nearest latent")
    return figure


def arms_by_metric(
    scores: pd.DataFrame, *, metrics: Mapping[str, str], order: Sequence[tuple[str, str]]
) -> Figure:
    """One panel per metric: a dot per seed for each arm, its mean as a bar, floor and ceiling drawn."""
    figure, axes = plt.subplots(
        1,
        len(metrics),
        figsize=(3.4 * len(metrics) + 1.2, 0.42 * len(order) + 1.3),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (metric, name) in zip(axes[0], metrics.items(), strict=True):
        part = scores[scores["metric"] == metric]
        for height, (constraint, init) in enumerate(order):
            seen = part[(part["constraint"] == constraint) & (part["init"] == init)]["value"]
            colour = ARM_COLOURS[constraint]
            ax.scatter(seen, np.full(len(seen), height), s=26, color=colour, marker=MARKS[init], alpha=0.75)
            if len(seen):
                ax.plot([seen.mean()] * 2, [height - 0.3, height + 0.3], color=colour, linewidth=2)
        for kind, style in (("floor", ":"), ("ceiling", "--")):
            levels = part[kind].dropna()
            if len(levels):
                ax.axvline(levels.mean(), color="#555555", linestyle=style, linewidth=1.1, zorder=1)
        ax.set_title(name)
    axes[0, 0].set_yticks(range(len(order)), [arm_name(*arm) for arm in order])
    axes[0, 0].invert_yaxis()
    figure.supxlabel("one dot per seed, bar: mean; dotted: floor, dashed: ceiling", fontsize="small")
    return figure


def gap_against_tokens(curves: pd.DataFrame, *, metric: str, name: str) -> Figure:
    """Two panels: the metric of every arm against tokens seen, and the trained arm's lead over each."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), layout="constrained")
    index = ["seed", "samples"]
    trained = curves[curves["constraint"] == "trained"].set_index(index)[metric]
    for (constraint, init), part in curves[curves["samples"] > 0].groupby(["constraint", "init"], sort=False):
        look: dict[str, Any] = {
            "label": arm_name(str(constraint), str(init)),
            "colour": ARM_COLOURS[str(constraint)],
            "line": LINES[str(init)],
        }
        mean_and_seeds(left, part, x="samples", y=metric, **look)
        if constraint != "trained":
            gap = part.assign(gap=trained.reindex(part.set_index(index).index).to_numpy() - part[metric])
            mean_and_seeds(right, gap, x="samples", y="gap", **look)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("tokens seen (repeats counted)")
    left.set_ylabel(name)
    left.set_title("every arm")
    right.set_ylabel(f"trained minus arm, {name}")
    right.set_title("the trained arm's lead")
    reference(right, 0.0, "no lead", kind="floor")
    left.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2)
    return figure


def against_l0(scores: pd.DataFrame, *, metric: str, name: str) -> Figure:
    """One panel per architecture: the metric against achieved L0, a line per arm."""
    names = list(dict.fromkeys(scores["architecture"]))
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.3 * len(names) + 1.5, 3.4), sharey=True, squeeze=False, layout="constrained"
    )
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
    axes[0, 0].set_ylabel(name)
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
