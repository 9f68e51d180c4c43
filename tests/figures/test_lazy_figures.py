"""The figures of lazy training: what they draw of small tables."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sanity import figures
from sanity.figures.style import marks_outside

STEPS = [0, 1, 5, 10, 100]


@pytest.fixture(autouse=True)
def closed() -> object:
    yield
    plt.close("all")


def lines(figure: Figure, panel: int) -> dict[str, list[float]]:
    """Labelled lines of a panel: label -> heights."""
    drawn = figure.axes[panel].get_lines()
    return {str(line.get_label()): list(map(float, line.get_ydata())) for line in drawn}


def cosines() -> pd.DataFrame:
    rows = [
        {"world_or_hook": place, "seed": 0, "side": side, "group": group, "step": step, "latents": 3,
         **dict.fromkeys(("q05", "q25", "q50", "q75", "q95"), 1 - step / 200)}
        for place in ("constant", "blocks.1.hook")
        for side in ("decoder", "encoder")
        for group in ("all", "never active", "rarest third", "most frequent third")
        for step in STEPS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def curves() -> pd.DataFrame:
    names = (
        "jaccard", "jaccard_chance", "ev", "held_start", "first_order_start", "first_order_end",
        "kernel_change", "kernel_alignment",
    )  # fmt: skip
    rows = [
        {"world_or_hook": place, "seed": 0, "step": step, "ev_batch": 0.5,
         **dict.fromkeys(names, np.nan if step in (0, 5) else 0.25)}
        for place in ("constant", "blocks.1.hook")
        for step in STEPS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_trajectories_show_every_place_and_side() -> None:
    figure = figures.cosine_trajectories(cosines(), curves())
    assert len(figure.axes) == 4
    assert lines(figure, 0)["decoder: cosine to init"][-1] == 0.5
    by_group = figures.trajectories_by_frequency(cosines())
    assert set(lines(by_group, 0)) >= {"never active (3)", "rarest third (3)", "most frequent third (3)"}


def test_laziness_is_drawn_where_it_was_asked() -> None:
    figure = figures.laziness_trajectories(curves())
    assert len(figure.axes) == 6
    assert len(lines(figure, 0)["same sample (overlap of supports)"]) == 3


def test_no_mark_of_laziness_is_invisible() -> None:
    early = curves().replace({"step": {100: 4000}})  # the first step is a fortieth of a per cent
    deep = early.assign(first_order_start=early["first_order_start"].where(early["step"] < 10, -7.25))
    figure = figures.laziness_trajectories(deep)
    assert marks_outside(figure) == 0
    models = figure.axes[2]
    assert any(text.get_text() == "-7.25" for text in models.texts)
    arrows = [line for line in models.get_lines() if line.get_marker() == "v"]
    assert [len(line.get_xdata()) for line in arrows] == [2]


def scores(metrics: dict[str, float], taus: list[float], *, place: str, noise: bool) -> pd.DataFrame:
    rows = [
        {"world_or_hook": place, "trained_on_noise": noise, "tau": tau, "seed": 0, "metric": m, "value": v}
        for tau in taus
        for m, v in metrics.items()
    ]
    return pd.DataFrame(rows)


def test_the_sweep_runs_from_frozen_to_free() -> None:
    far = {"share_on_edge": 0.3, "cosine_to_init": 0.9, "explained_variance": 0.5}
    world = far | {"recovery": 0.4, "reachable_recovery": 0.8}
    taus = [1.0, 0.8, -1.0]
    sweep = pd.concat(
        [
            scores(world, taus, place="constant", noise=False),
            scores(far, taus, place="hook", noise=False),
            scores(far, [0.8], place="hook", noise=True),
        ]
    )
    noise = scores(far | {"share_on_edge": 0.6}, [0.8], place="hook", noise=True)
    primary = pd.concat([scores(far | {"ce_recovered": 0.9}, taus, place="hook", noise=False), noise])
    figure = figures.tau_sweep(sweep, primary, hook="hook")
    assert lines(figure, 1)["recovered"] == [0.4] * 3
    assert "Gaussian noise" not in lines(figure, 0)
    assert lines(figure, 3)["Gaussian noise"] == [0.5]
    assert lines(figure, 3)["the primary grid, full budget"] == [0.5] * 3
    assert lines(figure, 5)["on the edge, primary grid"] == [0.3] * 3
    assert lines(figure, 5)["the same on noise"] == [0.6]
    assert lines(figure, 4)["cross-entropy, primary grid"] == [0.9] * 3
    assert "cross-entropy, sweep" not in lines(figure, 4)
    left, right = figure.axes[0].get_xlim()
    assert left > right, "frozen on the left, free on the right"


def test_uses_of_latents_over_tau_have_a_panel_each_and_their_floor() -> None:
    taus = [1.0, 0.8, -1.0]
    rows = scores({"autointerp_auroc": 0.8, "sparse_probing_top1": 0.6}, taus, place="hook", noise=False)
    labels = {"autointerp_auroc": "AUROC", "sparse_probing_top1": "probing", "sparse_probing_top5": "not run"}
    figure = figures.latents_over_tau(rows.assign(floor=0.5), labels=labels)
    assert [ax.get_title() for ax in figure.axes] == ["AUROC", "probing"]
    assert lines(figure, 0)["AUROC"] == [0.8] * 3
    assert lines(figure, 1)["probing"] == [0.6] * 3


def test_cones_and_seeds() -> None:
    exact = pd.DataFrame(
        {"size": "a", "d_in": 10, "d_sae": 20, "tau": [0.0, 0.8, 1.0], "cone_reach": [1.0, 0.8, 0.3],
         "log10_any_cap": [0.0, -3.0, -np.inf], "log10_cone_bound": [1.0, -2.0, -4.0]}
    )  # fmt: skip
    simulated = pd.DataFrame(
        {"size": ["a"], "tau": [0.8], "reach": [0.79], "low": [0.7], "high": [0.85], "draws": [5]}
    )
    figure = figures.cone_laws(exact, simulated)
    assert lines(figure, 0)["a (d 10, m 20)"] == [1.0, 0.8, 0.3]
    table = pd.DataFrame(
        {"world_or_hook": "constant", "constraint": "trained", "nearest": np.linspace(0, 1, 101)}
    )
    bars = figures.quantile_bars(
        table, columns={"nearest": ("nearest", "")}, nulls={"constant": (0.3, "chance")}, xlabel="cosine"
    )
    medians = [line.get_xdata()[0] for line in bars.axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert medians == [pytest.approx(0.5)]
