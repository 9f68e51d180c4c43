"""How far directions turn while an arm trains, and whether that training is lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from sanity.figures.style import reference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDES = {"decoder": "#000000", "encoder": "#D55E00"}
GROUPS = {
    "never active": "#999999",
    "rarest third": "#56B4E9",
    "middle third": "#0072B2",
    "most frequent third": "#D55E00",
}
EV_COLOUR = "#009E73"
MARKED = (5.0, 10.0)
"""Where the paper looks, in per cent of the steps."""


def place_name(place: str) -> str:
    """A place as titles name it."""
    return f"world, {place} probabilities" if place in ("constant", "variable") else place


def cosine_courses(cosines: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Rows: decoder and encoder; columns: places. Quantiles over latents against the share of the steps."""
    places = list(dict.fromkeys(cosines["world_or_hook"]))
    figure, axes = _grid(2, len(places))
    first = cosines[(cosines["seed"] == cosines["seed"].min()) & (cosines["group"] == "all")]
    for column, place in enumerate(places):
        for row, (side, colour) in enumerate(SIDES.items()):
            ax = axes[row][column]
            part = first[(first["world_or_hook"] == place) & (first["side"] == side)].sort_values("step")
            x = _percent(part)
            for (low, high), alpha in ((("q05", "q95"), 0.15), (("q25", "q75"), 0.3)):
                ax.fill_between(x, part[low], part[high], color=colour, alpha=alpha, linewidth=0)
            ax.plot(x, part["q50"], color=colour, linewidth=1.8, label=f"{side}: cosine to init")
            course = _first_seed(curves, place)
            ax.plot(
                _percent(course),
                course["ev_batch"],
                color=EV_COLOUR,
                linestyle="-.",
                linewidth=1.3,
                label="explained variance (batch)",
            )
            _share_axis(ax, log=True)
            ax.set_ylim(-0.12, 1.05)
            reference(ax, 0.0, "unrelated", kind="floor")
            if row == 0:
                ax.set_title(place_name(place), fontsize="small")
            if column == 0:
                ax.set_ylabel(f"{side}")
                ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.08))
    figure.supxlabel(
        "share of the steps (log); line: median over latents, bands: 25-75 % and 5-95 %", fontsize="small"
    )
    return figure


def courses_by_frequency(cosines: pd.DataFrame) -> Figure:
    """Median cosine to init of latents that fire rarely and often, on a linear axis of steps."""
    places = list(dict.fromkeys(cosines["world_or_hook"]))
    figure, axes = _grid(2, len(places))
    first = cosines[cosines["seed"] == cosines["seed"].min()]
    for column, place in enumerate(places):
        for row, side in enumerate(SIDES):
            ax = axes[row][column]
            for group, colour in GROUPS.items():
                part = first[
                    (first["world_or_hook"] == place) & (first["side"] == side) & (first["group"] == group)
                ]
                part = part.sort_values("step")
                if part.empty:
                    continue
                label = f"{group} ({part['latents'].iloc[0]:,})"
                line = ":" if group == "never active" else "-"
                ax.plot(_percent(part), part["q50"], color=colour, linewidth=1.7, linestyle=line, label=label)
            _share_axis(ax, log=False)
            ax.set_ylim(-0.12, 1.05)
            reference(ax, 0.0, "unrelated", kind="floor")
            if row == 0:
                ax.set_title(place_name(place), fontsize="small")
                ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.05), fontsize="x-small")
            if column == 0:
                ax.set_ylabel(side)
    figure.supxlabel(
        "share of the steps; lines: median cosine to init, by how often a latent is active at the end",
        fontsize="small",
    )
    return figure


def laziness_courses(curves: pd.DataFrame) -> Figure:
    """Rows: overlap of supports, first-order models, tangent kernel; columns: places."""
    places = list(dict.fromkeys(curves["world_or_hook"]))
    figure, axes = _grid(3, len(places), height=2.5)
    for column, place in enumerate(places):
        part = _first_seed(curves, place).dropna(subset=["jaccard"])
        x = _percent(part)
        overlap, models, kernel = (axes[row][column] for row in range(3))
        overlap.plot(x, part["jaccard"], color="#000000", marker="o", markersize=3, label="same sample")
        overlap.plot(
            x, part["jaccard_chance"], color="#555555", linestyle=":", label="other samples (chance)"
        )
        for name, label, colour, line in (
            ("ev", "trained, own supports", "#000000", "-"),
            ("held_start", "trained, supports at init", "#0072B2", "-"),
            ("first_order_start", "first order, supports at init", "#56B4E9", "--"),
            ("first_order_end", "first order, supports at the end", "#D55E00", "--"),
        ):
            models.plot(
                x,
                part[name].clip(lower=-1),
                color=colour,
                linestyle=line,
                marker="o",
                markersize=3,
                label=label,
            )
        models.set_ylim(-1.05, 1.05)
        reference(models, 0.0, "the mean", kind="floor")
        kernel.plot(
            x, part["kernel_change"], color="#000000", marker="o", markersize=3, label="relative change"
        )
        kernel.plot(
            x,
            part["kernel_alignment"],
            color="#0072B2",
            linestyle="--",
            marker="s",
            markersize=3,
            label="cosine",
        )
        reference(kernel, 0.0, "unchanged (change)", kind="floor")
        reference(kernel, 1.0, "unchanged (cosine)", kind="ceiling")
        overlap.set_ylim(-0.03, 1.05)
        overlap.set_title(place_name(place), fontsize="small")
        for ax in (overlap, models, kernel):
            _share_axis(ax, log=True)
    for row, name in enumerate(("overlap of supports", "explained variance", "tangent kernel")):
        axes[row][0].set_ylabel(name)
        axes[row][0].legend(loc="lower left" if row < 2 else "best", fontsize="x-small")
    figure.supxlabel(
        "share of the steps (log); explained variances below -1 are drawn at -1", fontsize="small"
    )
    return figure


def output_scales(scaled: pd.DataFrame, ordinary: pd.Series) -> Figure:
    """Measures of laziness against the output's scale, and where the ordinary training has them.

    Solid: supports held as they are at the start; dashed: supports that switch.
    """
    panels = {
        "cosine_decoder": ("decoder's cosine to init", "cosine_decoder"),
        "jaccard": ("overlap of supports with init", "jaccard"),
        "kernel_change": ("kernel: relative change", "kernel_change"),
        "predicted": ("change predicted, first order", "predicted_start"),
        "explained_variance": ("explained variance", "ev"),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(13.2, 3.2), squeeze=False, layout="constrained")
    for ax, (column, (title, usual)) in zip(axes[0], panels.items(), strict=True):
        lowest = -1.0 if column in ("predicted", "explained_variance") else 0.0
        for held, colour, line, label in (
            (True, "#0072B2", "-", "supports held"),
            (False, "#D55E00", "--", "supports switch"),
        ):
            part = scaled[scaled["held"] == held].sort_values("alpha")
            ax.plot(
                part["alpha"],
                part[column].clip(lower=lowest),
                color=colour,
                linestyle=line,
                marker="o" if held else "s",
                markersize=4,
                label=label,
            )
        level = max(float(ordinary[usual]), lowest)
        ax.axhline(level, color="#000000", linestyle="-.", linewidth=1.2, label="ordinary training")
        ax.set_xscale("log")
        ax.set_title(title, fontsize="small")
        if column == "kernel_change":
            ax.set_yscale("log")
        else:
            ax.set_ylim(lowest - 0.05, 1.05)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.supxlabel("scale alpha of the output; values below -1 are drawn at -1", fontsize="small")
    return figure


def _grid(rows: int, columns: int, *, height: float = 2.8) -> tuple[Figure, list[list[Axes]]]:
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.9 * columns, height * rows),
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    return figure, [list(row) for row in axes]


def _first_seed(curves: pd.DataFrame, place: str) -> pd.DataFrame:
    part = curves[(curves["world_or_hook"] == place) & (curves["seed"] == curves["seed"].min())]
    found: pd.DataFrame = part.sort_values("step")
    return found


def _percent(part: pd.DataFrame) -> pd.Series[float]:
    found: pd.Series[float] = 100 * part["step"] / part["step"].max()
    return found


def _share_axis(ax: Axes, *, log: bool) -> None:
    """Per cent of the steps, with the paper's two places marked."""
    if log:
        ax.set_xscale("log")
        ax.set_xlim(0.1, 100)
        ax.set_xticks([0.1, 1, 10, 100], ["0.1 %", "1 %", "10 %", "100 %"])
    else:
        ax.set_xlim(0, 100)
        ax.set_xticks([0, 25, 50, 75, 100], ["0", "25 %", "50 %", "75 %", "100 %"])
    for at in MARKED:
        ax.axvline(at, color="#CC79A7", linewidth=1.0, zorder=1.5)
    ax.annotate(
        "5, 10 %",
        (MARKED[1], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(2, -2),
        textcoords="offset points",
        fontsize="x-small",
        color="#A0527E",
        va="top",
    )
