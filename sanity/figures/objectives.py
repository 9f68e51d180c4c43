"""What aims beside reconstruction buy: recovery against explained variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from sanity.figures.style import ARCHITECTURE_NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# Okabe and Ito's, after black for plain training.
AIM_COLOURS = {
    "plain": "#000000",
    "auxiliary loss": "#E69F00",
    "resampling": "#56B4E9",
    "incoherent decoder": "#CC79A7",
    "even encoder": "#0072B2",
    "learning-rate restarts": "#009E73",
    "cross-seed agreement": "#999999",
    "TopK first": "#D55E00",
}
AIM_MARKS = dict(zip(AIM_COLOURS, "osD^vPX*", strict=True))


def recovery_against_variance_by_aim(scores: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """One panel per architecture: where each run ends, and the way there (first seed).

    Dots: recovery against explained variance at the end of the budget, one per aim and seed.
    """
    names = list(dict.fromkeys(scores["architecture"]))
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.5 * len(names), 4.1), sharey=True, squeeze=False, layout="constrained"
    )
    shown: dict[str, Artist] = {}
    for ax, architecture in zip(axes[0], names, strict=True):
        part = scores[scores["architecture"] == architecture]
        wide = part.pivot_table(index=["aim", "seed"], columns="metric", values="value", sort=False)
        for aim, ends in wide.groupby(level="aim", sort=False):
            look = {"color": AIM_COLOURS[str(aim)], "marker": AIM_MARKS[str(aim)]}
            shown[str(aim)] = ax.scatter(
                ends["explained_variance"],
                ends["recovery"],
                s=52,
                alpha=0.85,
                zorder=4 if aim == "plain" else 3,
                **look,
            )
        ways = curves[(curves["architecture"] == architecture) & (curves["seed"] == curves["seed"].min())]
        for aim, way in ways.dropna(subset=["recovery"]).groupby("aim", sort=False):
            ax.plot(
                way["explained_variance_held_out"],
                way["recovery"],
                color=AIM_COLOURS[str(aim)],
                linewidth=1.0,
                alpha=0.6,
            )
        ends_ev = wide["explained_variance"]
        spread = max(0.06, float(ends_ev.max() - ends_ev.min()))
        ax.set_xlim(float(ends_ev.min()) - 0.6 * spread, float(ends_ev.max()) + 0.15 * spread)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(ARCHITECTURE_NAMES[architecture])
        ax.set_xlabel("explained variance (held out)")
    axes[0, 0].set_ylabel("features recovered")
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=4)
    return figure
