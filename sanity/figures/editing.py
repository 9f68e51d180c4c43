"""Causal editing: what each dictionary's swap changes and leaves, and how many latents it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from sanity.figures.style import (
    ARM_COLOURS,
    LINES,
    MARKS,
    WIDE,
    arm_name,
    bounds,
    legend_below,
    reference,
    with_data,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = {"cause": "cause", "isolation": "isolation", "disentanglement": "disentanglement\n(their mean)"}
EXACT_COLOUR = "#009E73"


@with_data
def edits_by_arm(edits: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """One panel per part of the score: a dot per seed for every reference, dictionary and arm.

    `edits` and `ends` are those of one pair of attributes. Filled dots keep the error term, hollow ones are
    edits through the reconstruction alone; floor and ceiling are drawn where the mean is judged.
    """
    rows = _rows(edits)
    figure, axes = plt.subplots(
        1, len(PARTS), figsize=(WIDE, 0.36 * len(rows) + 1.5), sharey=True, layout="constrained"
    )
    for ax, (part, title) in zip(axes, PARTS.items(), strict=True):
        for height, (_, (seen, colour, mark)) in enumerate(rows.items()):
            dropped = seen["with_error"].eq(False) & seen["through"].eq("arm")
            for hollow, some in seen.groupby(dropped):
                ax.scatter(
                    some[part],
                    np.full(len(some), height + (0.18 if hollow else -0.18 * bool(dropped.any()))),
                    s=26,
                    marker=mark,
                    facecolor="none" if hollow else colour,
                    edgecolor=colour,
                    alpha=0.85,
                )
        ax.set_xlim(-0.04, 1.04)
        ax.set_title(title, fontsize="small")
    bounds(axes[-1], ends["floor"].mean(), ends["ceiling_disentanglement"].mean())
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[0].invert_yaxis()
    figure.supxlabel(
        "share of pairs; a dot per seed; hollow: error term dropped; dotted: floor, dashed: learned rotation",
        fontsize="small",
    )
    return figure


def _rows(edits: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str, str]]:
    """What is drawn from top to bottom: label -> its edits, colour and mark."""
    rows = {}
    ends = edits[edits["through"] == "rotation"]
    for what in dict.fromkeys(ends["what"]):
        rows[str(what)] = (ends[ends["what"] == what], "#555555", "s")
    masks = edits[edits["what"] == "mask"]
    for through in dict.fromkeys(masks["through"]):
        part = masks[masks["through"] == through]
        if through != "arm":
            rows[str(through)] = (part[~part["with_error"].eq(True)], EXACT_COLOUR, "^")
            continue
        for (constraint, init), arm in part.groupby(["constraint", "init"], sort=False):
            rows[arm_name(str(constraint), str(init))] = (arm, ARM_COLOURS[str(constraint)], MARKS[str(init)])
    return rows


@with_data
def edits_by_size(edits: pd.DataFrame, ends: pd.DataFrame) -> Figure:
    """Cause, isolation and their mean when the largest m of a mask's logits are swapped."""
    figure, axes = plt.subplots(1, len(PARTS), figsize=(WIDE, 4.0), sharex=True, layout="constrained")
    drawn = edits.loc[edits["what"] == "largest", "seed"].unique()
    curve = edits[edits["what"].isin(["largest", "no latent", "all latents"]) & edits["seed"].isin(drawn)]
    sizes = sorted(int(size) for size in curve.loc[curve["what"] == "largest", "size"].unique())
    for ax, (part, title) in zip(axes, PARTS.items(), strict=True):
        for through, some in curve.groupby("through", sort=False):
            if through != "arm":
                line = "-" if through == "PCA" else "--"
                _curve(ax, some, part, colour=EXACT_COLOUR, line=line, label=str(through))
                continue
            for (constraint, init), arm in some.groupby(["constraint", "init"], sort=False):
                name = arm_name(str(constraint), str(init))
                _curve(ax, arm, part, colour=ARM_COLOURS[str(constraint)], line=LINES[str(init)], label=name)
        ax.set_xscale("symlog", linthresh=8)
        ax.set_xticks([0, *sizes], ["none", *(f"{size:,}" for size in sizes)], minor=False, rotation=45)
        ax.set_xticks([], minor=True)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title)
        ax.set_xlabel("latents swapped")
    reference(axes[-1], ends["floor"].mean(), "floor", kind="floor")
    reference(axes[-1], ends["ceiling_disentanglement"].mean(), "learned rotation", kind="ceiling")
    legend_below(figure, axes[0], ncols=3)
    return figure


def _curve(ax: Axes, rows: pd.DataFrame, part: str, *, colour: str, line: str, label: str) -> None:
    """Mean over seeds against size; the last point, all latents, is another number of them in every seed."""
    mean = (
        rows.assign(size=rows["size"].where(rows["what"] != "all latents", rows["active"].mean()))
        .groupby("size")[part]
        .mean()
    )
    ax.plot(mean.index, mean, color=colour, linestyle=line, marker="o", markersize=3.5, label=label)
