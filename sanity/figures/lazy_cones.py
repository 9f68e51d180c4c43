"""What cones allow, what they cost, and how latents of one seed lie to those of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from sanity.figures.lazy import place_name
from sanity.figures.style import ARM_COLOURS, reference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00")
PAPERS_TAU = 0.8
FREE = -0.25
"""Where the trained arm (tau = -1) is drawn."""


def tau_sweep(sweep: pd.DataFrame, primary: pd.DataFrame, loss: pd.DataFrame, *, hook: str) -> Figure:
    """Rows: the world, real activations; columns: scores over tau, and the distance from the start."""
    figure, axes = plt.subplots(2, 3, figsize=(12.4, 6.2), layout="constrained")
    (toy_ev, toy_found, toy_far), (real_ev, real_loss, real_far) = axes
    toy, real = (sweep[sweep["world_or_hook"].eq(hook) == is_real] for is_real in (False, True))
    for ax, part in ((toy_ev, toy), (real_ev, real)):
        _line(ax, part, "explained_variance", "samples", "#000000")
        _line(ax, part, "explained_variance", "Gaussian noise", "#999999", gaussian=True)
        reference(ax, 0.0, "the mean", kind="floor")
        ax.set_ylim(-0.02, 1.1)
        reference(ax, 1.0, "the activation itself", kind="ceiling")
    _dots(real_ev, primary, "explained_variance", "the primary grid, full budget", "#0072B2")
    _line(toy_found, toy, "reachable_recovery", "within reach of a cone", "#56B4E9", line="--")
    _line(toy_found, toy, "recovery", "recovered", "#000000")
    toy_found.set_ylim(-0.02, 1.02)
    for metric, name, colour in (
        ("ce_recovered", "cross-entropy", "#0072B2"),
        ("kl_recovered", "KL divergence", "#D55E00"),
    ):
        _dots(real_loss, primary, metric, f"{name}, primary grid", colour)
        if len(loss):
            _line(real_loss, loss, metric, f"{name}, sweep", colour)
    real_loss.set_ylim(-0.02, 1.1)
    reference(real_loss, 0.0, "mean ablation", kind="floor")
    reference(real_loss, 1.0, "unspliced", kind="ceiling")
    _dots(real_far, primary, "share_on_edge", "on the edge, primary grid", "#0072B2")
    _dots(real_far, primary, "share_on_edge", "the same on noise", "#0072B2", gaussian=True)
    for ax, part in ((toy_far, toy), (real_far, real)):
        for metric, name, colour in (
            ("share_on_edge", "share on the edge", "#000000"),
            ("cosine_to_init", "mean cosine to init", "#D55E00"),
        ):
            _line(ax, part, metric, name, colour)
            _line(ax, part, metric, f"{name}, noise", colour, gaussian=True)
        ax.set_ylim(-0.02, 1.05)
    titles = ("explained variance", "recovery", "distance from the start")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(f"world: {title}", fontsize="small")
    titles = ("explained variance", "loss recovered", "distance from the start")
    for ax, title in zip(axes[1], titles, strict=True):
        ax.set_title(f"activations: {title}", fontsize="small")
    for ax in axes.flat:
        _tau_axis(ax)
        ax.legend(loc="best", fontsize="x-small")
    figure.supxlabel("tau, the smallest cosine to init that is allowed", fontsize="small")
    return figure


def cone_laws(exact: pd.DataFrame, simulated: pd.DataFrame) -> Figure:
    """Left: the cosine that the best of m cones reaches. Right: the chance that one contains a direction."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.4, 4.6), layout="constrained")
    for colour, (size, part) in zip(PALETTE, exact.groupby("size", sort=False), strict=False):
        line = part.sort_values("tau")
        d, m = line["d_in"].iloc[0], line["d_sae"].iloc[0]
        left.plot(line["tau"], line["cone_reach"], color=colour, label=f"{size} (d {d:,}, m {m:,})")
        dots = simulated[simulated["size"] == size]
        left.errorbar(
            dots["tau"],
            dots["reach"],
            yerr=np.abs(dots[["low", "high"]].to_numpy().T - dots["reach"].to_numpy()),
            fmt="o",
            color=colour,
            markersize=4,
            elinewidth=1,
        )
        right.plot(line["tau"], line["log10_any_cap"], color=colour)
        right.plot(line["tau"], line["log10_cone_bound"].clip(upper=0), color=colour, linestyle="--")
    left.set_ylim(0, 1.02)
    left.axhline(0.8, color="#555555", linewidth=1.1, linestyle="--", zorder=1)
    left.annotate(
        "counted as recovered",
        (0.0, 0.8),
        xytext=(2, 3),
        textcoords="offset points",
        fontsize="x-small",
        color="#555555",
    )
    left.set_ylabel("best cosine to an arbitrary direction")
    left.set_title("what the cones can reach")
    left.legend(loc="lower left", fontsize="x-small")
    right.set_ylim(-900, 20)
    right.set_ylabel("log10 probability")
    right.set_title("that some cone contains a given direction")
    right.plot([], [], color="#555555", label="exact")
    right.plot([], [], color="#555555", linestyle="--", label="the paper's bound (at most 1)")
    right.legend(loc="lower left", fontsize="x-small")
    for ax in (left, right):
        ax.axvline(PAPERS_TAU, color="#CC79A7", linewidth=1)
        ax.set_xlabel("tau, the smallest cosine to the anchor")
    return figure


def quantile_bars(
    table: pd.DataFrame,
    *,
    columns: Mapping[str, tuple[str, str]],
    nulls: Mapping[str, tuple[float, str]],
    xlabel: str,
    arms: Sequence[str] = ("trained", "soft_frozen_decoder", "frozen_encoder", "frozen_decoder"),
) -> Figure:
    """One panel per place: for every arm, quantiles over latents of some columns; dotted: chance.

    `columns` gives each column's name and colour (none: the arm's), `nulls` each place's chance.
    """
    places = list(dict.fromkeys(table["world_or_hook"]))
    present = [arm for arm in arms if arm in set(table["constraint"])]
    height = 0.26 * len(present) * len(columns) + 1.7
    figure, axes = plt.subplots(
        1, len(places), figsize=(4.3 * len(places), height), sharey=True, squeeze=False, layout="constrained"
    )
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for ax, place in zip(axes[0], places, strict=True):
        for row, arm in enumerate(present):
            part = table[(table["world_or_hook"] == place) & (table["constraint"] == arm)]
            for i, (column, (_, colour)) in enumerate(columns.items()):
                if part.empty:
                    continue
                at = row + 0.8 * (i + 0.5) / len(columns) - 0.4
                colour = colour or ARM_COLOURS[arm]
                q05, q25, q50, q75, q95 = part[column].quantile(levels)
                ax.plot([q05, q95], [at, at], color=colour, linewidth=1.2)
                ax.plot([q25, q75], [at, at], color=colour, linewidth=4.5, solid_capstyle="butt", alpha=0.7)
                ax.plot([q50], [at], "o", color=colour, markersize=4)
        if place in nulls:
            value, label = nulls[place]
            ax.axvline(value, color="#555555", linestyle=":", linewidth=1.3)
            ax.annotate(
                label, (value, 1.0), xycoords=("data", "axes fraction"), fontsize="x-small", xytext=(2, -9),
                textcoords="offset points", color="#555555",
            )  # fmt: skip
        ax.set_title(place_name(place), fontsize="small")
        ax.set_ylim(len(present) - 0.4, -0.75)
    names = [arm.replace("_", " ").replace("soft frozen", "soft-frozen") for arm in present]
    axes[0, 0].set_yticks(range(len(present)), names)
    if len(columns) > 1:
        handles = [Line2D([], [], color=colour, linewidth=4, label=name) for name, colour in columns.values()]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    figure.supxlabel(xlabel, fontsize="small")
    return figure


def _line(
    ax: Axes,
    scores: pd.DataFrame,
    metric: str,
    label: str,
    colour: str,
    *,
    gaussian: bool = False,
    line: str = "-",
) -> None:
    """A metric over tau: mean over seeds; noise is dotted with open marks."""
    part = scores[(scores["metric"] == metric) & (scores["gaussian"] == gaussian)]
    if part.empty:
        return
    means = part.groupby("tau")["value"].mean().sort_index()
    ax.plot(
        _positions(means.index.to_list()),
        means,
        color=colour,
        linestyle=":" if gaussian else line,
        marker="o",
        markersize=4,
        markerfacecolor="white" if gaussian else colour,
        label=label,
    )


def _dots(
    ax: Axes, scores: pd.DataFrame, metric: str, label: str, colour: str, *, gaussian: bool = False
) -> None:
    """A dot per seed; open on noise."""
    part = scores[(scores["metric"] == metric) & (scores["gaussian"] == gaussian)]
    if part.empty:
        return
    ax.plot(
        _positions(part["tau"].to_list()),
        part["value"],
        "D",
        color=colour,
        markersize=5,
        markerfacecolor="white" if gaussian else colour,
        alpha=0.7,
        label=label,
    )


def _positions(taus: Sequence[float]) -> list[float]:
    return [tau if tau >= 0 else FREE for tau in taus]


def _tau_axis(ax: Axes) -> None:
    """From the frozen decoder on the left to the trained arm on the right."""
    ax.set_xlim(1.05, FREE - 0.08)
    ax.set_xticks(
        [1, 0.8, 0.6, 0.4, 0.2, 0, FREE], ["1\nfrozen", "0.8", "0.6", "0.4", "0.2", "0", "-1\nfree"]
    )
    ax.axvline(PAPERS_TAU, color="#CC79A7", linewidth=1, zorder=1.5)
    ax.tick_params(axis="x", labelsize="small")
