"""Figures of synthetic worlds: what is drawn in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sanity import figures

NAMES = ("topk", "batchtopk")


@pytest.fixture(autouse=True)
def without_a_screen() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


def curves() -> pd.DataFrame:
    rows = [
        {
            "world_or_hook": world,
            "architecture": name,
            "seed": seed,
            "samples_seen": samples,
            "explained_variance_held_out": 0.6,
            "recovery": samples / 1000,
            "frequency_weighted_recovery": samples / 500,
            "mean_max_cosine": 0.5,
            "dead_latents_held_out": 0.25,
            **{f"cosine_to_init_q{q}": 1 - samples / (1000 + int(q)) for q in ("05", "50", "95")},
        }
        for world in ("constant", "variable")
        for name in NAMES
        for seed in (0, 1)
        for samples in (0, 10, 100)
    ]
    return pd.DataFrame(rows)


def test_the_glance_has_a_panel_per_architecture_and_world_and_draws_the_living() -> None:
    figure = figures.recovery_at_a_glance(curves())
    assert [ax.get_title() for ax in figure.axes] == ["TopK", "BatchTopK", "", ""]
    for ax in figure.axes:
        drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
        assert list(drawn["latents that fire"]) == [0.75, 0.75]
        assert list(drawn["features recovered"]) == [0.01, 0.1]
        assert len(drawn) == 4
        assert ax.get_ylim()[0] == 0


def test_what_the_panels_of_four_architectures_say_below_them_does_not_run_into_each_other() -> None:
    names = ("topk", "batchtopk", "jumprelu", "matryoshka")
    features = pd.DataFrame(
        [{"architecture": name, "probability": p, "max_cosine": 0.5} for name in names for p in (1e-4, 0.1)]
    )
    figure = figures.recovery_by_frequency(features, null=0.35)
    figure.draw_without_rendering()
    below = [ax.xaxis.label.get_window_extent() for ax in figure.axes if ax.get_xlabel()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(below))
    assert figure.get_supxlabel() == "probability of being active"


def test_the_papers_numbers_stand_inside_the_panels_that_they_belong_to() -> None:
    printed = pd.DataFrame(
        {
            "probability_model": ["constant", "variable"],
            "architecture": ["TopK", "BatchTopK"],
            "explained_variance": [np.nan, 0.7],
            "recovered_fraction": [1.0, 0.1],
        }
    )
    figure = figures.recovery_at_a_glance(curves(), printed=printed)
    marked = [[line.get_ydata()[0] for line in ax.lines if line.get_marker() == "D"] for ax in figure.axes]
    assert marked == [[1.0], [], [], [0.7, 0.1]]
    figure.draw_without_rendering()
    assert all(ax.get_window_extent().width > 100 for ax in figure.axes)  # pixels: the layout holds


def test_turning_draws_the_median_of_every_architecture() -> None:
    figure = figures.turning(curves())
    for ax in figure.axes:
        assert [line.get_label() for line in ax.lines] == ["TopK", "BatchTopK"]
        assert ax.lines[0].get_ydata()[-1] == pytest.approx(1 - 100 / 1050)


def test_the_ladder_places_every_dictionary_under_its_rule() -> None:
    rows = [
        {"world_or_hook": w, "dictionary": d, "rule": r, "explained_variance": v}
        for w in ("constant", "variable")
        for d, r, v in (("truth", "topk", 0.7), ("truth", "pursuit", 0.9), ("signed basis", "batchtopk", 0.6))
    ]
    figure = figures.reference_ladder(pd.DataFrame(rows), marks={"constant": [("printed", 0.67)]})
    left = figure.axes[0]
    assert [c.get_label() for c in left.collections] == ["TopK per sample", "pursuit", "one threshold"]
    assert {tuple(np.round(c.get_offsets()[:, 0], 2)) for c in left.collections} == {(0.7,), (0.9,), (0.6,)}
    assert [round(c.get_offsets()[0, 1]) for c in left.collections] == [0, 0, 1]
    assert [text.get_text() for text in left.texts] == ["printed"]
    assert not figure.axes[1].texts


def test_latents_in_use_are_ranked_and_the_silent_ones_left_out() -> None:
    rows = [
        {"world_or_hook": "constant", "architecture": "topk", "seed": 0, "frequency": f, "antipode": a}
        for f, a in ((0.1, -0.9), (0.3, -0.2), (0.0, np.nan))
    ]
    figure = figures.latents_in_use(pd.DataFrame(rows), d_in=1, random_antipode=-0.5)
    top, bottom = figure.axes
    assert list(top.lines[0].get_ydata()) == [0.3, 0.1]
    assert list(top.lines[1].get_xdata()) == [2, 2]
    assert list(bottom.lines[0].get_xdata()) == [-0.9, -0.2]


def test_the_sweep_counts_features_above_each_bar() -> None:
    rows = [
        {"world_or_hook": "constant", "architecture": "topk", "max_cosine": c, "matched_cosine": c - 0.1}
        for c in (0.5, 0.7, 0.9, 0.95)
    ]
    bars = np.linspace(0.2, 1, 5)
    (ax,) = figures.threshold_sweep(pd.DataFrame(rows), null=(bars, bars * 0)).axes
    nearest, matched = (
        dict(zip(np.round(line.get_xdata(), 3), line.get_ydata(), strict=True)) for line in ax.lines[:2]
    )
    assert (nearest[0.8], nearest[0.4], nearest[0.95]) == (0.5, 1.0, 0.0)
    assert (matched[0.7], matched[0.82]) == (0.5, 0.25)


def test_times_seen_and_leaving_draw_a_line_per_architecture() -> None:
    table = pd.DataFrame(
        [{"architecture": n, "times_seen": t, "recovered": t / 100} for n in NAMES for t in (1, 10, 100)]
    )
    (ax,) = figures.recovery_against_times_seen(table).axes
    assert [line.get_label() for line in ax.lines[:2]] == ["TopK", "BatchTopK"]
    assert list(ax.lines[0].get_ydata()) == [0.01, 0.1, 1.0]
    left, _ = figures.leaving_the_truth(curves()[lambda rows: rows["seed"] == 0]).axes
    assert list(left.lines[2].get_ydata()) == [0.75, 0.75]
