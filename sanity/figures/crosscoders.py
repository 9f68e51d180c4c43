"""How the latents of crosscoders are divided between two layers, and whether the layers agree about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# By what a latent's feature is, where somebody knows it.
KINDS: Mapping[float, tuple[str, str]] = {
    -1: ("shared feature", "#0072B2"),
    0: ("feature of the first layer", "#D55E00"),
    1: ("feature of the second", "#E69F00"),
}


def norms_and_agreement(latents: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """A panel per group of latents: the first layer's share of their norms against the layers' agreement.

    `latents` has the columns panel, share_0, agreement, and `kind`: the layer of a latent's feature (-1:
    shared), or NaN where no feature was recovered or nobody knows.
    """
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(2.9 * len(panels) + 0.4, 3.3),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (name, title) in zip(axes[0], panels.items(), strict=True):
        part = latents[latents["panel"] == name]
        looks = {"s": 7, "alpha": 0.5, "linewidths": 0, "rasterized": True}
        other = part[part["kind"].isna()]
        ax.scatter(other["share_0"], other["agreement"], color="#999999", **looks)
        for kind, (_, colour) in KINDS.items():
            some = part[part["kind"] == kind]
            ax.scatter(some["share_0"], some["agreement"], color=colour, **looks)
        ax.axhline(0, color="#555555", linewidth=1.1, linestyle=":", zorder=1)
        ax.set_xlim(-0.03, 1.03)
        ax.set_title(title)
        ax.set_xlabel("first layer's share of the norms")
    axes[0, 0].set_ylabel("agreement of the layers")
    handles = [Line2D([], [], marker="o", linestyle="", color=colour) for _, colour in KINDS.values()]
    names = [words for words, _ in KINDS.values()]
    if latents["kind"].notna().any():
        figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure
