"""What all plots share: colours, names of arms, lines for floors and ceilings.

Colours are Okabe and Ito's (colour-blind safe), one per arm everywhere in the book; chance is a dotted
line and the ceiling a dashed one, both labelled. Figures keep a white ground, so that they read the same
on a light and on a dark page.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.text import Text

from sanity import baselines, sources
from sanity.models import Architecture, Constraint, Init

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_P = ParamSpec("_P")
COLUMN = 790
"""Pixels that a figure has on a page of the book, on a wide screen."""
WIDE = COLUMN / 96
"""The same in inches: no figure should be drawn wider."""
SMALLEST = 9.2
"""Pixels of the smallest text in a figure as the page shows it."""

assert baselines  # importing the rooms makes their names known
assert sources


class _Looks(dict[str, str]):
    """Looks by name, and by a rule for names that somebody declared elsewhere."""

    def __init__(self, known: Mapping[str, str], rule: Callable[[str], str]) -> None:
        super().__init__(known)
        self._rule = rule

    def __missing__(self, name: str) -> str:
        return self.get(name.partition("(")[0]) or self._rule(name)


def _spare_colour(name: str) -> str:
    """One of a few further colours, always the same for a name."""
    return ("#117733", "#882255", "#AA4499", "#44AA99", "#999933")[zlib.crc32(name.encode()) % 5]


ARM_COLOURS = _Looks(
    {
        "trained": "#000000",
        "soft_frozen_decoder": "#0072B2",
        "frozen_decoder": "#56B4E9",
        "frozen_encoder": "#D55E00",
        "frozen_both": "#CC79A7",
        "untrained": "#999999",
    },
    _spare_colour,
)
ARCHITECTURE_COLOURS = _Looks(
    {
        "topk": "#0072B2",
        "batchtopk": "#E69F00",
        "jumprelu": "#009E73",
        "matryoshka": "#CC79A7",
        "relu": "#000000",
    },
    _spare_colour,
)
ARCHITECTURE_NAMES = _Looks({}, lambda name: Architecture.class_named(name).title)
"""As the architectures themselves declare them."""
LINES = _Looks({"iso": "-", "cov": "--"}, lambda name: "-.")
MARKS = _Looks({"iso": "o", "cov": "D"}, lambda name: "s")


def arm_name(constraint: str, init: str) -> str:
    """The name of an arm as readers see it, for instance "frozen decoder (cov)"."""
    name = Constraint.named(constraint).label
    return name if constraint == "trained" and init == "iso" else f"{name} ({Init.named(init).label})"


def arm_words(constraint: str, init: str) -> str:
    """The name of an arm in a sentence: the init is said where it is not the usual one."""
    name = Constraint.named(constraint).label
    return name if init == "iso" else f"{name} ({Init.named(init).label})"


def place_name(place: str) -> str:
    """A world or hook as readers see it."""
    return f"world, {place} probabilities" if place in ("constant", "variable") else place


def with_data(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Let a figure remember the name of the function that drew it, and the first table this was given."""

    @functools.wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        figure = draw(*args, **kwargs)
        tables = (one for one in (*args, *kwargs.values()) if hasattr(one, "to_parquet"))
        if (table := next(tables, None)) is not None:
            figure.drawn_from = (draw.__name__, table)  # type: ignore[attr-defined]
        return figure

    return drawn


def make_legible(figure: Figure) -> float:
    """Raise every text to `SMALLEST` pixels as a page shows it, where figures shrink to `COLUMN`.

    Gives the pixels of the smallest text, before the figure shrinks.
    """
    width = figure.get_figwidth() * 96
    least = SMALLEST * 72 / 96 * max(1.0, width / COLUMN)
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            shown = [label for label in axis.get_ticklabels() if label.get_text()] or axis.get_ticklabels()
            if shown and float(shown[0].get_fontsize()) < least:
                axis.set_tick_params(labelsize=least)
    sizes = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            points = max(least, float(text.get_fontsize()))
            text.set_fontsize(points)
            sizes.append(points * 96 / 72)
    return min(sizes, default=SMALLEST)


def marks_outside(figure: Figure) -> int:
    """How many marks lie outside of their panel, where nobody sees them. Lines that leave it are no marks."""
    outside = 0
    for ax in figure.axes:
        (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
        marked = [line for line in ax.lines if line.get_marker() not in ("None", "", None, " ")]
        points = [line.get_xydata() for line in marked if line.get_transform() == ax.transData]
        points += [
            np.asarray(c.get_offsets()) for c in ax.collections if c.get_offset_transform() == ax.transData
        ]
        for x, y in (one for some in points for one in np.asarray(some, dtype=float)):
            outside += bool(np.isfinite(x + y) and not (left <= x <= right and bottom <= y <= top))
    return outside


def arrow_beyond(
    ax: Axes, height: float, value: float, words: str, *, ends: tuple[float, float], colour: str
) -> bool:
    """Whether `value` lies beyond the `ends` of the x axis; if so, an arrow at that end says `words`."""
    if not np.isfinite(value) or ends[0] <= value <= ends[1]:
        return False
    left = value < ends[0]
    at, said, side = (ends[0], f"← {words}", "left") if left else (ends[1], f"{words} →", "right")
    ground = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
    ax.annotate(
        said, (at, height), ha=side, va="center", fontsize="x-small", color=colour, bbox=ground, zorder=5
    )
    return True


def line_above(ax: Axes, x: Any, y: Any, *, lowest: float, colour: str, **look: Any) -> None:
    """A line with marks; points below `lowest` are arrows at that height, the deepest with its value."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    ax.plot(x, np.clip(y, lowest, None), color=colour, markevery=list(np.flatnonzero(y >= lowest)), **look)
    below = np.flatnonzero(y < lowest)
    if not len(below):
        return
    ax.plot(x[below], np.full(len(below), lowest), "v", color=colour, markersize=4)
    deepest = below[y[below].argmin()]
    ax.annotate(
        f"{y[deepest]:.3g}", (x[deepest], lowest), xytext=(-3, 5), textcoords="offset points",
        ha="right", fontsize="x-small", color=colour,
    )  # fmt: skip


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


def panel_grid(
    rows: int, columns: int, size: tuple[float, float], *, used: int | None = None, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure no wider than a page, with its axes [row, column]; those after the first `used` are hidden."""
    width, height = size
    figure, axes = plt.subplots(
        rows, columns, figsize=(min(WIDE, width), height), squeeze=False, layout="constrained", **shared
    )
    for ax in axes.flat[rows * columns if used is None else used :]:
        ax.set_visible(False)
    return figure, axes


def bounds(
    ax: Axes, floor: float | None, ceiling: float | None = None, *, across: Literal["x", "y"] = "x"
) -> None:
    """Lines without names at a floor (dotted) and a ceiling (dashed), where they are known."""
    draw = ax.axvline if across == "x" else ax.axhline
    for value, line in ((floor, ":"), (ceiling, "--")):
        if value is not None and np.isfinite(value):
            draw(value, color="#555555", linestyle=line, linewidth=1.1, zorder=1)


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
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5},
        zorder=1.2,  # below curves and marks: a label may not hide them
    )


def legend_below(figure: Figure, *axes: Axes, ncols: int = 4, title: str = "") -> None:
    """One legend below the figure, off the curves: every name in `axes` once, under `title`."""
    named = (zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes)
    handles = {label: handle for some in named for handle, label in some}
    below: dict[str, Any] = {"ncols": ncols, "loc": "outside lower center", "title_fontsize": "small"}
    figure.legend(list(handles.values()), list(handles), title=title or None, **below)
