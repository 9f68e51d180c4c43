"""What objectives next to reconstruction buy: recovery against explained variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanity.figures.style import ARCHITECTURE_NAMES, panel_grid, with_data
from sanity.models import Objective
from sanity.models import objectives as _known

assert _known  # importing it makes the objectives known

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# Okabe and Ito's, after black for plain training.
OBJECTIVE_COLOURS = {
    "plain": "#000000",
    "auxiliary": "#E69F00",
    "resampling": "#56B4E9",
    "incoherence": "#CC79A7",
    "even_encoder": "#0072B2",
    "restarts": "#009E73",
    "agreement": "#999999",
    "topk_first": "#D55E00",
}
OBJECTIVE_MARKS = dict(zip(OBJECTIVE_COLOURS, "osD^vPX*", strict=True))


def _look(objective: str) -> dict[str, str]:
    """Colour and mark, whatever the objective's fields."""
    name = objective.partition("(")[0]
    return {"color": OBJECTIVE_COLOURS.get(name, "#AA4499"), "marker": OBJECTIVE_MARKS.get(name, "p")}


@with_data
def recovery_by_objective(scores: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """One panel per architecture: where each run ends, and the way there (first seed).

    Dots: recovery against explained variance at the end of the budget, one per objective and seed.
    """
    names = list(dict.fromkeys(scores["architecture"]))
    figure, axes = panel_grid(1, len(names), (3.5 * len(names), 4.1), sharey=True)
    shown: dict[str, Artist] = {}
    for ax, architecture in zip(axes[0], names, strict=True):
        part = scores[scores["architecture"] == architecture]
        wide = part.pivot_table(index=["objective", "seed"], columns="metric", values="value", sort=False)
        for objective, ends in wide.groupby(level="objective", sort=False):
            shown[Objective.named(str(objective)).title] = ax.scatter(
                ends["explained_variance"],
                ends["recovery"],
                s=52,
                alpha=0.85,
                zorder=4 if objective == "plain" else 3,
                **_look(str(objective)),
            )
        ways = curves[(curves["architecture"] == architecture) & (curves["seed"] == curves["seed"].min())]
        for objective, way in ways.dropna(subset=["recovery"]).groupby("objective", sort=False):
            ax.plot(
                way["explained_variance_held_out"],
                way["recovery"],
                color=_look(str(objective))["color"],
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
