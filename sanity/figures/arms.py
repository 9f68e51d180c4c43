"""Scores of arms side by side, and of the features that they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from sanity.evals.feature_recovery import RECOVERED
from sanity.figures.style import (
    ARCHITECTURE_COLOURS,
    ARCHITECTURE_NAMES,
    ARM_COLOURS,
    MARKS,
    arm_name,
    bounds,
    panel_grid,
    reference,
    with_data,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@with_data
def recovery_by_frequency(features: pd.DataFrame, *, null: float, threshold: float = RECOVERED) -> Figure:
    """Nearest-latent cosine of every feature against how often it is active, one panel per architecture."""
    names = list(dict.fromkeys(features["architecture"]))
    figure, axes = panel_grid(1, len(names), (2.9 * len(names), 3.1), sharey=True)
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
    axes[0, 0].set_ylabel("cosine of the nearest latent")
    figure.supxlabel("probability of being active", fontsize="medium")
    return figure


@with_data
def arms_by_metric(
    scores: pd.DataFrame, *, metrics: Mapping[str, str], order: Sequence[tuple[str, str]]
) -> Figure:
    """One panel per metric: a dot per seed for each arm, its mean as a bar, floor and ceiling drawn."""
    wanted = scores[[arm in order for arm in zip(scores["constraint"], scores["init"], strict=True)]]
    names = [arm_name(*arm) for arm in zip(wanted["constraint"], wanted["init"], strict=True)]
    looks = {arm_name(*arm): (ARM_COLOURS[arm[0]], MARKS[arm[1]]) for arm in order}
    return dots_by_metric(wanted.assign(arm=names), metrics=metrics, looks=looks)


def dots_by_metric(
    scores: pd.DataFrame, *, metrics: Mapping[str, str], looks: Mapping[str, tuple[str, str]]
) -> Figure:
    """The same for arms named by a column `arm`: `looks` are their colours and marks, from top to bottom."""
    figure, axes = panel_grid(
        1, len(metrics), (3.4 * len(metrics) + 1.2, 0.36 * len(looks) + 1.4), sharey=True
    )
    for ax, (metric, name) in zip(axes[0], metrics.items(), strict=True):
        part = scores[scores["metric"] == metric]
        for height, (arm, (colour, mark)) in enumerate(looks.items()):
            seen = part[part["arm"] == arm]["value"]
            ax.scatter(seen, np.full(len(seen), height), s=26, color=colour, marker=mark, alpha=0.75)
            if len(seen):
                ax.plot([seen.mean()] * 2, [height - 0.3, height + 0.3], color=colour, linewidth=2)
        bounds(ax, part["floor"].dropna().mean(), part["ceiling"].dropna().mean())
        ax.set_title(fill(name, 60 // len(metrics)), fontsize="small")
    axes[0, 0].set_yticks(range(len(looks)), list(looks))
    axes[0, 0].invert_yaxis()
    figure.supxlabel("one dot per seed, bar: mean; dotted: floor, dashed: ceiling", fontsize="small")
    return figure
