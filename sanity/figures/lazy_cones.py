"""What cones allow, what they cost, and how latents of one seed lie to those of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from sanity.baselines import FrozenDecoder, FrozenEncoder, SoftFrozenDecoder, Trained
from sanity.evals.feature_recovery import RECOVERED
from sanity.figures.lazy import BLACK, BLUE, GREY, ORANGE, SKY
from sanity.figures.style import ARM_COLOURS, WIDE, panel_grid, place_name, reference, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = (BLUE, ORANGE, "#009E73", BLACK, "#CC79A7", "#E69F00")
ARMS = (Trained(), SoftFrozenDecoder(), FrozenEncoder(), FrozenDecoder())
PAPERS_TAU = 0.8
FREE = -0.25
"""Where the trained arm (tau = -1) is drawn."""


@with_data
def tau_sweep(sweep: pd.DataFrame, primary: pd.DataFrame, *, hook: str) -> Figure:
    """Rows: the world, real activations; columns: scores over tau, and the distance from the start.

    Both tables are tidy scores with a column `tau`; `primary` (real activations, full budget) is drawn as a
    dot per seed. What was trained on noise is open.
    """
    figure, axes = plt.subplots(2, 3, figsize=(WIDE, 8.4), layout="constrained")
    is_real = sweep["world_or_hook"] == hook
    for (ev, middle, far), part in zip(axes, (sweep[~is_real], sweep[is_real]), strict=True):
        _line(ev, part, "explained_variance", "samples", BLACK)
        _line(ev, part, "explained_variance", "Gaussian noise", GREY, noise=True)
        reference(ev, 0.0, "the mean", kind="floor")
        reference(ev, 1.0, "the activation itself", kind="ceiling")
        _line(middle, part, "reachable_recovery", "within reach of a cone", SKY, style="o--")
        _line(middle, part, "recovery", "recovered", BLACK)
        _line(middle, part, "ce_recovered", "cross-entropy, sweep", BLUE)
        _line(middle, part, "kl_recovered", "KL divergence, sweep", ORANGE)
        for metric, name, colour in (
            ("share_on_edge", "share on the edge", BLACK),
            ("cosine_to_init", "mean cosine to init", ORANGE),
        ):
            _line(far, part, metric, name, colour)
            _line(far, part, metric, f"{name}, noise", colour, noise=True)
    ev, losses, far = axes[1]
    _line(ev, primary, "explained_variance", "the primary grid, full budget", BLUE, style="D")
    _line(losses, primary, "ce_recovered", "cross-entropy, primary grid", BLUE, style="D")
    _line(losses, primary, "kl_recovered", "KL divergence, primary grid", ORANGE, style="D")
    _line(far, primary, "share_on_edge", "on the edge, primary grid", BLUE, style="D")
    _line(far, primary, "share_on_edge", "the same on noise", BLUE, style="D", noise=True)
    reference(losses, 0.0, "mean ablation", kind="floor")
    reference(losses, 1.0, "unspliced", kind="ceiling")
    for what, found, row in zip(("world", "activations"), ("recovery", "loss recovered"), axes, strict=True):
        titles = ("explained variance", found, "distance from the start")
        for ax, title in zip(row, titles, strict=True):
            ax.set_title(f"{what}:\n{title}", fontsize="small")
            ax.set_ylim(-0.02, 1.1)
            _tau_axis(ax)
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="x-small")
    figure.supxlabel("tau, the smallest cosine to init that is allowed", fontsize="small")
    return figure


@with_data
def cone_laws(exact: pd.DataFrame, simulated: pd.DataFrame) -> Figure:
    """Left: the cosine that the best of m cones reaches. Right: the chance that one contains a direction."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDE, 5.4), layout="constrained")
    for colour, (size, part) in zip(PALETTE, exact.groupby("size", sort=False), strict=False):
        line = part.sort_values("tau")
        d, m = line["d_in"].iloc[0], line["d_sae"].iloc[0]
        left.plot(line["tau"], line["cone_reach"], color=colour, label=f"{size} (d {d:,}, m {m:,})")
        dots = simulated[simulated["size"] == size]
        spread = np.abs(dots[["low", "high"]].to_numpy().T - dots["reach"].to_numpy())
        left.errorbar(
            dots["tau"], dots["reach"], yerr=spread, fmt="o", color=colour, markersize=4, elinewidth=1
        )
        right.plot(line["tau"], line["log10_any_cap"], color=colour)
        right.plot(line["tau"], line["log10_cone_bound"].clip(upper=0), color=colour, linestyle="--")
    left.axhline(RECOVERED, color="#555555", linewidth=1.1, linestyle="--", zorder=1)
    left.text(0.0, RECOVERED + 0.01, "counted as recovered", fontsize="x-small", color="#555555")
    left.set_ylim(0, 1.02)
    left.set_ylabel("best cosine to an arbitrary direction")
    left.set_title("what the cones\ncan reach")
    right.set_ylim(-900, 20)
    right.set_ylabel("log10 probability")
    right.set_title("that some cone contains\na given direction")
    right.plot([], [], color="#555555", label="exact")
    right.plot([], [], color="#555555", linestyle="--", label="the paper's bound (at most 1)")
    for ax in (left, right):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize="x-small")
        ax.axvline(PAPERS_TAU, color="#CC79A7", linewidth=1)
        ax.set_xlabel("tau, the smallest cosine to the anchor")
    return figure


@with_data
def quantile_bars(
    table: pd.DataFrame,
    *,
    columns: Mapping[str, tuple[str, str]],
    nulls: Mapping[str, tuple[float, str]],
    xlabel: str,
) -> Figure:
    """One panel per place: for every arm, quantiles over latents of some columns; dotted: chance.

    `columns` gives each column's name and colour (none: the arm's), `nulls` each place's chance.
    """
    places = list(dict.fromkeys(table["world_or_hook"]))
    arms = [arm for arm in ARMS if arm.spelled in set(table["constraint"])]
    size = (4.3 * len(places), 0.26 * len(arms) * len(columns) + 1.7)
    figure, axes = panel_grid(1, len(places), size, sharey=True)
    for ax, place in zip(axes[0], places, strict=True):
        here = table[table["world_or_hook"] == place]
        for row, arm in enumerate(arms):
            part = here[here["constraint"] == arm.spelled]
            for i, (column, (_, colour)) in enumerate(columns.items()):
                at = row + 0.8 * (i + 0.5) / len(columns) - 0.4
                _quantiles(ax, part[column], at, colour or ARM_COLOURS[arm.name])
        if place in nulls:
            value, label = nulls[place]
            ax.axvline(value, color="#555555", linestyle=":", linewidth=1.3)
            ax.annotate(
                label, (value, 1.0), xycoords=("data", "axes fraction"), fontsize="x-small", xytext=(2, -9),
                textcoords="offset points", color="#555555",
            )  # fmt: skip
        ax.set_title(place_name(place).replace(", ", ",\n"), fontsize="small")
        ax.set_ylim(len(arms) - 0.4, -0.75)
    axes[0, 0].set_yticks(range(len(arms)), [arm.label for arm in arms])
    if len(columns) > 1:
        handles = [Line2D([], [], color=colour, linewidth=4, label=name) for name, colour in columns.values()]
        ncols = len(handles) if len(places) > 1 else 1
        figure.legend(handles=handles, loc="outside upper center", ncols=ncols)
    figure.supxlabel(xlabel, fontsize="small")
    return figure


def _quantiles(ax: Axes, values: pd.Series, at: float, colour: str) -> None:
    """Median (dot), 25-75 % (thick) and 5-95 % (thin); nothing for no values."""
    if values.empty:
        return
    q05, q25, q50, q75, q95 = values.quantile((0.05, 0.25, 0.5, 0.75, 0.95))
    ax.plot([q05, q95], [at, at], color=colour, linewidth=1.2)
    ax.plot([q25, q75], [at, at], color=colour, linewidth=4.5, solid_capstyle="butt", alpha=0.7)
    ax.plot([q50], [at], "o", color=colour, markersize=4)


def _line(
    ax: Axes,
    scores: pd.DataFrame,
    metric: str,
    label: str,
    colour: str,
    *,
    noise: bool = False,
    style: str = "o-",
) -> None:
    """A metric over tau: the mean over seeds, or with the style "D" a dot per seed; noise is open."""
    part = scores[(scores["metric"] == metric) & (scores["trained_on_noise"] == noise)]
    if part.empty:
        return
    if style != "D":
        part = part.groupby("tau")[["value"]].mean().sort_index().reset_index()
    at: Sequence[float] = [tau if tau >= 0 else FREE for tau in part["tau"]]
    face = "white" if noise else colour
    style = style.replace("-", ":") if noise else style
    ax.plot(at, part["value"], style, color=colour, markersize=4, markerfacecolor=face, label=label)


def _tau_axis(ax: Axes) -> None:
    """From the frozen decoder on the left to the trained arm on the right."""
    ax.set_xlim(1.05, FREE - 0.08)
    ax.set_xticks(
        [1, 0.8, 0.6, 0.4, 0.2, 0, FREE], ["1\nfrozen", "0.8", "0.6", "0.4", "0.2", "0", "-1\nfree"]
    )
    ax.axvline(PAPERS_TAU, color="#CC79A7", linewidth=1, zorder=1.5)
    ax.tick_params(axis="x", labelsize="small")


@with_data
def latents_over_tau(scores: pd.DataFrame, *, labels: Mapping[str, str]) -> Figure:
    """One panel per metric of latents, over tau: scores with a column `tau`, of one or more seeds."""
    shown = [name for name in labels if name in set(scores["metric"])]
    rows = -(-len(shown) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(WIDE, 2.6 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, metric in zip(axes.flat, shown, strict=False):
        _line(ax, scores, metric, labels[metric], BLACK)
        floor = scores.loc[scores["metric"] == metric, "floor"].mean()
        reference(ax, float(floor), "floor", kind="floor")
        ax.set_title(labels[metric], fontsize="small")
        ax.set_ylim(0.45, 1.0)
        _tau_axis(ax)
    figure.supxlabel("tau, the smallest cosine to init that is allowed", fontsize="small")
    return figure
