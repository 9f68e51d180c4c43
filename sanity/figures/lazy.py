"""How far directions turn while an arm trains, and whether that training is lazy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sanity.figures.style import legend_below, line_above, panel_grid, place_name, reference, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, SKY, ORANGE, GREEN, GREY = "#000000", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#999999"
SIDES = {"decoder": BLACK, "encoder": ORANGE}
GROUPS = {"never active": GREY, "rarest third": SKY, "middle third": BLUE, "most frequent third": ORANGE}
MARKED = (5.0, 10.0)
"""Where the paper looks, in per cent of the steps."""
LAZINESS = {
    "overlap of supports": (
        ("jaccard", "same sample", BLACK, "-"),
        ("jaccard_chance", "other samples (chance)", "#555555", ":"),
    ),
    "explained variance": (
        ("ev", "trained, own supports", BLACK, "-"),
        ("held_start", "trained, supports at init", BLUE, "-"),
        ("first_order_start", "first order, supports at init", SKY, "--"),
        ("first_order_end", "first order, supports at the end", ORANGE, "--"),
    ),
    "tangent kernel": (
        ("kernel_change", "relative change", BLACK, "-"),
        ("kernel_alignment", "cosine", BLUE, "--"),
    ),
}
"""Row -> column of the curve, name, colour, line."""


@with_data
def cosine_trajectories(cosines: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Rows: decoder and encoder; columns: places. Quantiles over latents against the share of the steps."""
    figure, panels = _panels(cosines, list(SIDES), log=True)
    for place, axes in panels.items():
        curve = _first_seed(curves, place)
        for ax, (side, colour) in zip(axes, SIDES.items(), strict=True):
            part = _first_seed(cosines, place, side=side, group="all")
            x = _percent(part)
            for (low, high), alpha in ((("q05", "q95"), 0.15), (("q25", "q75"), 0.3)):
                ax.fill_between(x, part[low], part[high], color=colour, alpha=alpha, linewidth=0)
            ax.plot(x, part["q50"], color=colour, linewidth=1.8, label=f"{side}: cosine to init")
            ax.plot(
                _percent(curve), curve["ev_batch"], "-.", color=GREEN, linewidth=1.3,
                label="explained variance (batch)",
            )  # fmt: skip
            _cosine_axis(ax)
    words = "share of the steps (log); line: median over latents, bands: 25-75 % and 5-95 %"
    legend_below(figure, *next(iter(panels.values())), title=words)
    return figure


@with_data
def trajectories_by_frequency(cosines: pd.DataFrame) -> Figure:
    """Median cosine to init of latents that fire rarely and often, on a linear axis of steps."""
    figure, panels = _panels(cosines, list(SIDES), log=False)
    for place, axes in panels.items():
        for ax, side in zip(axes, SIDES, strict=True):
            for group, colour in GROUPS.items():
                part = _first_seed(cosines, place, side=side, group=group)
                if len(part):
                    line = ":" if group == "never active" else "-"
                    label = f"{group} ({part['latents'].iloc[0]:,})"
                    ax.plot(_percent(part), part["q50"], line, color=colour, linewidth=1.7, label=label)
            _cosine_axis(ax)
        axes[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize="x-small")
    figure.supxlabel(
        "share of the steps; lines: median cosine to init, by how often a latent is active at the end",
        fontsize="small",
    )
    return figure


@with_data
def laziness_trajectories(curves: pd.DataFrame) -> Figure:
    """Rows: overlap of supports, first-order models, tangent kernel; columns: places."""
    figure, panels = _panels(curves, list(LAZINESS), log=True, height=2.5)
    for place, axes in panels.items():
        part = _first_seed(curves, place).dropna(subset=["jaccard"])
        part = part[part["step"] > 0]  # a log axis has no place for the start
        for ax, (name, lines) in zip(axes, LAZINESS.items(), strict=True):
            for column, label, colour, line in lines:
                look = {"linestyle": line, "marker": "o", "markersize": 3, "label": f"{label} ({name})"}
                line_above(ax, _percent(part), part[column], lowest=-1.0, colour=colour, **look)
        overlap, models, kernel = axes
        overlap.set_ylim(-0.03, 1.05)
        models.set_ylim(-1.1, 1.05)
        reference(models, 0.0, "the mean", kind="floor")
        reference(kernel, 0.0, "unchanged (change)", kind="floor")
        reference(kernel, 1.0, "unchanged (cosine)", kind="ceiling")
    words = "share of the steps (log); arrow: an explained variance below -1, at its deepest with the value"
    legend_below(figure, *next(iter(panels.values())), ncols=2, title=words)
    return figure


def _panels(
    table: pd.DataFrame, rows: Sequence[str], *, log: bool, height: float = 2.8
) -> tuple[Figure, dict[str, list[Axes]]]:
    """A column of axes for each place of a table, over the share of the steps, the rows named at the left."""
    places = list(dict.fromkeys(table["world_or_hook"]))
    size = (3.9 * len(places), height * len(rows) + 0.4)
    figure, axes = panel_grid(len(rows), len(places), size, sharey="row")
    last = table.groupby("world_or_hook")["step"].transform("max")
    first = float((100 * table["step"] / last)[table["step"] > 0].min())
    for ax in axes.flat:
        _share_axis(ax, log=log, first=first)
    for place, ax in zip(places, axes[0], strict=True):
        ax.set_title(place_name(place).replace(", ", ",\n"), fontsize="small")
    for name, ax in zip(rows, axes[:, 0], strict=True):
        ax.set_ylabel(name)
    return figure, {place: list(axes[:, i]) for i, place in enumerate(places)}


def _first_seed(table: pd.DataFrame, place: str, **equal: str) -> pd.DataFrame:
    """A place's rows of its first seed, in the order of steps."""
    part = table[table["world_or_hook"] == place]
    for column, value in equal.items():
        part = part[part[column] == value]
    found: pd.DataFrame = part[part["seed"] == part["seed"].min()].sort_values("step")
    return found


def _percent(part: pd.DataFrame) -> pd.Series[float]:
    found: pd.Series[float] = 100 * part["step"] / part["step"].max()
    return found


def _cosine_axis(ax: Axes) -> None:
    ax.set_ylim(-0.12, 1.05)
    reference(ax, 0.0, "unrelated", kind="floor")


def _share_axis(ax: Axes, *, log: bool, first: float) -> None:
    """Per cent of the steps, from before the `first` that is drawn, with the paper's two places marked."""
    if log:
        ax.set_xscale("log")
        ax.set_xlim(min(0.1, 0.8 * first), 110)
        ax.set_xticks([0.1, 1, 10, 100], ["0.1 %", "1 %", "10 %", "100 %"])
    else:
        ax.set_xlim(0, 100)
        ax.set_xticks([0, 25, 50, 75, 100], ["0", "25 %", "50 %", "75 %", "100 %"])
    for at in MARKED:
        ax.axvline(at, color="#CC79A7", linewidth=1.0, zorder=1.5)
    ax.annotate(
        "5, 10 %", (MARKED[1], 1.0), xycoords=("data", "axes fraction"), xytext=(2, -2),
        textcoords="offset points", fontsize="x-small", color="#A0527E", va="top",
    )  # fmt: skip
