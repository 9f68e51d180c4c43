"""What synthetic worlds show: recovery during training, collapses, references, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from sanity.evals.feature_recovery import RECOVERED
from sanity.figures.curves import mean_and_seeds
from sanity.figures.style import (
    ARCHITECTURE_COLOURS,
    ARCHITECTURE_NAMES,
    legend_below,
    panel_grid,
    reference,
    with_data,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What the glance shows, with its look: what an experimenter sees is black, what only the truth tells blue.
GLANCE = {
    "explained_variance_held_out": ("explained variance", "#000000", "-"),
    "recovery": ("features recovered", "#0072B2", "-"),
    "frequency_weighted_recovery": ("weighted by frequency", "#0072B2", "--"),
    "alive": ("latents that fire", "#999999", "-"),
}
RULE_NAMES = {
    "topk": "TopK per sample",
    "batchtopk": "one threshold",
    "pursuit": "pursuit",
    "pca": "as many components",
}
RULE_COLOURS = {"topk": "#0072B2", "batchtopk": "#E69F00", "pursuit": "#999999", "pca": "#CC79A7"}


@with_data
def recovery_at_a_glance(curves: pd.DataFrame, *, printed: pd.DataFrame | None = None) -> Figure:
    """A panel per architecture (column) and world (row): EV, recovery and live latents against samples.

    All four are shares between 0 and 1, and share one axis: what explained variance says, and what it does
    not, stands in one panel. `printed` holds the paper's numbers (columns probability_model, architecture,
    explained_variance, recovered_fraction), drawn as diamonds at the right end.
    """
    worlds, names = (list(dict.fromkeys(curves[c])) for c in ("world_or_hook", "architecture"))
    figure, axes = panel_grid(
        len(worlds), len(names), (2.4 * len(names), 2.4 * len(worlds) + 0.6), sharex=True, sharey=True
    )
    curves = curves[curves["samples_seen"] > 0].assign(alive=1 - curves["dead_latents_held_out"])
    for row, world in enumerate(worlds):
        for column, name in enumerate(names):
            ax = axes[row, column]
            part = curves[(curves["world_or_hook"] == world) & (curves["architecture"] == name)]
            for metric, (label, colour, line) in GLANCE.items():
                mean_and_seeds(ax, part, x="samples_seen", y=metric, label=label, colour=colour, line=line)
            if printed is not None:
                _paper_marks(
                    ax, printed, world, ARCHITECTURE_NAMES[name], at=float(part["samples_seen"].max())
                )
            ax.set_xscale("log")
            ax.set_ylim(0 if printed is None else -0.03, 1.03)
            if row == 0:
                ax.set_title(ARCHITECTURE_NAMES[name])
            if row == len(worlds) - 1:
                ax.set_xlabel("samples seen")
        axes[row, 0].set_ylabel(f"{world} probabilities")
    legend_below(figure, axes[0, 0])
    return figure


def _paper_marks(ax: Axes, printed: pd.DataFrame, world: str, architecture: str, *, at: float) -> None:
    rows = printed[(printed["probability_model"] == world) & (printed["architecture"] == architecture)]
    for column, metric in (
        ("explained_variance", "explained_variance_held_out"),
        ("recovered_fraction", "recovery"),
    ):
        # Next to the end of the curves, inside the panel: what hangs out of it would count for the layout.
        for value in rows[column].dropna():
            ax.plot(1.5 * at, value, "D", mfc="white", mec=GLANCE[metric][1], ms=6, zorder=4)


def _panels(
    worlds: Sequence[str], *, height: float, rows: int = 1, sharey: Any = True, sharex: bool = False
) -> tuple[Figure, np.ndarray]:
    """Axes [row, world], a column for each world, which is named above it."""
    figure, axes = panel_grid(rows, len(worlds), (4.6 * len(worlds), height), sharex=sharex, sharey=sharey)
    for ax, world in zip(axes[0], worlds, strict=True):
        ax.set_title(f"{world} probabilities")
    return figure, axes


@with_data
def turning(curves: pd.DataFrame) -> Figure:
    """Cosine of decoder rows to their start against samples: median, and 5 to 95 % of the latents."""
    worlds, names = (list(dict.fromkeys(curves[c])) for c in ("world_or_hook", "architecture"))
    figure, axes = _panels(worlds, height=3.4)
    for ax, world in zip(axes[0], worlds, strict=True):
        part = curves[(curves["world_or_hook"] == world) & (curves["samples_seen"] > 0)]
        for name in names:
            lines = part[part["architecture"] == name].dropna(subset=["cosine_to_init_q50"])
            table = lines.groupby("samples_seen")[[f"cosine_to_init_q{q}" for q in ("05", "50", "95")]].mean()
            colour = ARCHITECTURE_COLOURS[name]
            ax.plot(table.index, table.iloc[:, 1], color=colour, label=ARCHITECTURE_NAMES[name])
            ax.fill_between(
                table.index, table.iloc[:, 0], table.iloc[:, 2], color=colour, alpha=0.12, linewidth=0
            )
        ax.set_xscale("log")
        ax.set_ylim(-0.1, 1.02)
        ax.set_xlabel("samples seen")
    axes[0, 0].set_ylabel("cosine to init")
    legend_below(figure, axes[0, -1], ncols=5)
    return figure


@with_data
def reference_ladder(
    references: pd.DataFrame, *, marks: Mapping[str, Sequence[tuple[str, float]]] | None = None
) -> Figure:
    """Explained variance of untrained dictionaries, under each rule; one panel per world.

    `references` has the columns world_or_hook, dictionary, rule and explained_variance. `marks` gives values
    to draw as lines, by world.
    """
    worlds = list(dict.fromkeys(references["world_or_hook"]))
    kinds = list(dict.fromkeys(references["dictionary"]))
    figure, axes = _panels(worlds, height=0.5 * len(kinds) + 1.6, sharex=True)
    for ax, world in zip(axes[0], worlds, strict=True):
        part = references[references["world_or_hook"] == world]
        for rule, points in part.groupby("rule", sort=False):
            shift = 0.12 * (list(RULE_NAMES).index(str(rule)) - 1) if rule != "pca" else 0.0
            heights = [kinds.index(kind) + shift for kind in points["dictionary"]]
            ax.scatter(
                points["explained_variance"],
                heights,
                color=RULE_COLOURS[str(rule)],
                s=60,
                label=RULE_NAMES[str(rule)],
                zorder=3,
            )
        for label, value in (marks or {}).get(world, ()):
            ax.axvline(value, color="#555555", linestyle="--", linewidth=1.1, zorder=1)
            ax.annotate(
                label,
                (value, 0.0),
                xycoords=("data", "axes fraction"),
                xytext=(2, 3),
                textcoords="offset points",
                va="bottom",
                rotation=90,
                fontsize="x-small",
                color="#555555",
            )
        ax.set_xlabel("explained variance")
        ax.set_xlim(0, 1)
    axes[0, 0].set_yticks(range(len(kinds)), kinds)
    axes[0, 0].set_ylim(len(kinds) - 0.5, -0.5)
    legend_below(figure, axes[0, 0])
    return figure


@with_data
def latents_in_use(latents: pd.DataFrame, *, d_in: int, random_antipode: float) -> Figure:
    """Top: firing frequency by rank, 2 d_in marked. Bottom: each live latent's most opposite one."""
    worlds, names = (list(dict.fromkeys(latents[c])) for c in ("world_or_hook", "architecture"))
    figure, axes = _panels(worlds, rows=2, height=5.6, sharey="row")
    for column, world in enumerate(worlds):
        top, bottom = axes[:, column]
        for name in names:
            part = latents[(latents["world_or_hook"] == world) & (latents["architecture"] == name)]
            look = {"color": ARCHITECTURE_COLOURS[name], "label": ARCHITECTURE_NAMES[name]}
            for i, (_, seed) in enumerate(part.groupby("seed")):
                shown = look if i == 0 else look | {"label": "_"}
                ranked = np.sort(seed["frequency"].to_numpy())[::-1]
                ranked = ranked[ranked > 0]
                top.plot(np.arange(1, len(ranked) + 1), ranked, linewidth=1.2, **shown)
                live = np.sort(seed["antipode"].dropna().to_numpy())
                bottom.plot(live, np.linspace(0, 1, len(live)), linewidth=1.2, **shown)
        top.axvline(2 * d_in, color="#555555", linestyle="--", linewidth=1.1)
        top.annotate("2 d", (2 * d_in, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                     textcoords="offset points", fontsize="x-small", color="#555555")  # fmt: skip
        bottom.axvline(random_antipode, color="#555555", linestyle=":", linewidth=1.1)
        top.set_xscale("log")
        top.set_yscale("log")
        top.set_xlabel("latents, most active first")
        bottom.set_xlabel("cosine to the most opposite live latent")
    axes[0, 0].set_ylabel("fires in (share of samples)")
    axes[1, 0].set_ylabel("live latents below")
    legend_below(figure, axes[0, 0])
    return figure


@with_data
def threshold_sweep(features: pd.DataFrame, *, null: tuple[np.ndarray, np.ndarray]) -> Figure:
    """Share of the features whose nearest latent lies above a cosine, for every cosine.

    `null` gives cosines and the exact share that a random dictionary of the same size has above each.
    """
    worlds, names = (list(dict.fromkeys(features[c])) for c in ("world_or_hook", "architecture"))
    figure, axes = _panels(worlds, height=3.6)
    grid = np.linspace(0.2, 1, 161)
    for ax, world in zip(axes[0], worlds, strict=True):
        for name in names:
            part = features[(features["world_or_hook"] == world) & (features["architecture"] == name)]
            _sweep(ax, part["max_cosine"].to_numpy(), grid, name, "-")
            _sweep(ax, part["matched_cosine"].dropna().to_numpy(), grid, name, ":")
        ax.plot(*null, color="#555555", linestyle="--", linewidth=1.1, label="random dictionary (exact)")
        ax.axvline(RECOVERED, color="#555555", linewidth=0.8)
        ax.set_xlabel("bar on the cosine")
    axes[0, 0].set_ylabel("features above the bar")
    legend_below(figure, axes[0, -1], ncols=5)
    return figure


def _sweep(ax: Axes, cosines: np.ndarray, grid: np.ndarray, name: str, line: str) -> None:
    shares = 1 - np.searchsorted(np.sort(cosines), grid, side="right") / len(cosines)
    label = ARCHITECTURE_NAMES[name] if line == "-" else "_"
    ax.plot(grid, shares, color=ARCHITECTURE_COLOURS[name], linestyle=line, label=label)


@with_data
def recovery_against_times_seen(table: pd.DataFrame) -> Figure:
    """Share of features recovered against how often they were seen, a line per architecture.

    `table` has the columns architecture, times_seen, recovered and features (per bin of frequency).
    """
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name, part in table.groupby("architecture", sort=False):
        ax.plot(
            part["times_seen"],
            part["recovered"],
            marker="o",
            markersize=4,
            color=ARCHITECTURE_COLOURS[str(name)],
            label=ARCHITECTURE_NAMES[str(name)],
        )
    reference(ax, 1.0, "all", kind="ceiling")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.08)
    ax.set_xlabel("training samples in which a feature was active")
    ax.set_ylabel("features recovered")
    legend_below(figure, ax)
    return figure


@with_data
def leaving_the_truth(curves: pd.DataFrame) -> Figure:
    """Arms that start at the true dictionary: EV and mean max cosine against samples, a panel per world."""
    worlds, names = (list(dict.fromkeys(curves[c])) for c in ("world_or_hook", "architecture"))
    figure, axes = _panels(worlds, height=3.6)
    for ax, world in zip(axes[0], worlds, strict=True):
        for name in names:
            part = curves[(curves["world_or_hook"] == world) & (curves["architecture"] == name)]
            part = part[part["samples_seen"] > 0].dropna(subset=["mean_max_cosine"])
            alive = 1 - part["dead_latents_held_out"]
            colour = ARCHITECTURE_COLOURS[name]
            ax.plot(part["samples_seen"], part["explained_variance_held_out"], color=colour,
                    label=ARCHITECTURE_NAMES[name])  # fmt: skip
            ax.plot(part["samples_seen"], part["mean_max_cosine"], color=colour, linestyle="--")
            ax.plot(part["samples_seen"], alive, color=colour, linestyle=":")
        ax.set_xscale("log")
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("samples seen")
    axes[0, 0].set_ylabel("solid: EV\ndashed: mean max cosine\ndotted: latents that fire", fontsize="small")
    legend_below(figure, axes[0, -1], ncols=5)
    return figure
