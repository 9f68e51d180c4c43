"""Judges where the truth is known, and what they make of latents."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from sanity.figures.style import ARM_COLOURS, MARKS, arm_name, legend_below, panel_grid, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#777777"


@with_data
def judge_gates(gates: Mapping[str, pd.DataFrame], *, needed: float) -> Figure:
    """A panel per judge: accuracy on each known concept with its own and with another's description.

    `gates` maps a judge's name to rows with columns concept, accuracy, shuffled.
    """
    tallest = max(len(table) for table in gates.values())
    figure, axes = panel_grid(
        1, len(gates), (4.2 * len(gates) + 1.4, 0.42 * (tallest + 1) + 1.5), sharey=True
    )
    for ax, (name, table) in zip(axes[0], gates.items(), strict=True):
        heights = np.arange(len(table) + 1)
        rows = {
            "accuracy": ("right description", "#000000", "o", "#000000"),
            "shuffled": ("another's description", _GREY, "o", "none"),
        }
        for column, (label, colour, mark, face) in rows.items():
            values = [*table[column], table[column].mean()]
            ax.scatter(values, heights, edgecolors=colour, facecolors=face, marker=mark, s=42, label=label)
        ax.set_yticks(heights, [*table["concept"], "mean"])
        ax.axhline(len(table) - 0.5, color="#bbbbbb", linewidth=0.8)
        _scale(ax, needed=needed)
        ax.set_title(fill(name, 72 // len(gates)), parse_math=False, fontsize="small")
    axes[0, 0].set_ylim(tallest + 0.6, -1.0)  # with room for the names of the lines
    legend_below(figure, axes[0, 0], ncols=2)
    return figure


@with_data
def judged_latents(latents: pd.DataFrame) -> Figure:
    """A row per arm, a dot per latent: accuracy with its own description, and with another latent's.

    `latents` has columns constraint, init, accuracy, shuffled.
    """
    arms = list(dict.fromkeys(zip(latents["constraint"], latents["init"], strict=True)))
    figure, ax = plt.subplots(figsize=(6.4, 0.62 * len(arms) + 1.7), layout="constrained")
    for height, (constraint, init) in enumerate(arms):
        part = latents[(latents["constraint"] == constraint) & (latents["init"] == init)]
        colour = ARM_COLOURS[constraint]
        for column, offset, face in (("accuracy", -0.16, colour), ("shuffled", 0.16, "none")):
            # Many latents share a value: they are spread a little, always in the same way.
            spread = np.linspace(-0.09, 0.09, len(part)) if len(part) > 1 else np.zeros(1)
            ax.scatter(
                part[column],
                height + offset + spread,
                edgecolors=colour,
                facecolors=face,
                marker=MARKS[init],
                s=22,
                alpha=0.8,
            )
            mean = float(part[column].mean())
            ax.plot([mean] * 2, [height + offset - 0.14, height + offset + 0.14], color=colour, linewidth=2)
    ax.set_yticks(range(len(arms)), [arm_name(*arm) for arm in arms])
    ax.set_ylim(len(arms) - 0.5, -0.8)  # with room for the names of the lines
    _scale(ax)
    return figure


def _scale(ax: Axes, *, needed: float | None = None) -> None:
    """From never right to always right, with chance (dotted), the ceiling (dashed) and what is needed."""
    lines = [(0.5, ":", "chance"), (1.0, "--", "ceiling")]
    if needed is not None:
        lines.append((needed, "-.", "needed"))
    for value, style, label in lines:
        ax.axvline(value, color="#555555", linewidth=1.1, linestyle=style, zorder=1)
        ax.annotate(
            label,
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize="x-small",
            color="#555555",
        )
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("accuracy")
