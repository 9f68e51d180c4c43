from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sanity.claims import headline_pairs, paper_tables, reread_tables

RAVEL = "ravel_disentanglement"


@pytest.fixture(scope="module")
def cells(repository: Path) -> pd.DataFrame:
    return reread_tables(repository / "book" / "data")


def test_every_printed_baseline_is_there_once(cells: pd.DataFrame, repository: Path) -> None:
    printed = paper_tables(repository / "book" / "data")
    assert len(printed) == 144
    assert len(cells) == 3 * 2 * 5 * 4
    assert cells["share"].notna().all()


@pytest.mark.parametrize(
    ("variant", "init", "low", "high"),
    [
        ("frozen_decoder", None, 0.28, 0.45),
        ("frozen_encoder", "iso", 0.58, 0.66),
        ("soft_frozen_decoder", "iso", 1.03, 1.07),
    ],
)
def test_shares_of_the_editing_margin_on_the_one_layer_with_range(
    cells: pd.DataFrame, variant: str, init: str | None, low: float, high: float
) -> None:
    chosen = cells[(cells["layer"] == 12) & (cells["metric"] == RAVEL) & (cells["variant"] == variant)]
    if init is not None:
        chosen = chosen[chosen["init"] == init]
    assert round(chosen["share"].min(), 2) == low
    assert round(chosen["share"].max(), 2) == high


def test_settings_without_range_are_marked(cells: pd.DataFrame) -> None:
    without = cells[~cells["has_range"]]
    assert set(without["metric"]) == {RAVEL}
    assert set(without["layer"]) == {16, 19}
    assert without["note"].str.contains("no range").all()
    assert cells[(cells["metric"] == RAVEL) & (cells["layer"] == 12)]["has_range"].all()


def test_the_collapsed_cell_is_the_one_on_llama(cells: pd.DataFrame) -> None:
    named = cells[cells["collapsed"]][["model", "architecture", "variant", "init"]].drop_duplicates()
    assert named.to_numpy().tolist() == [["llama-3-8b", "JumpReLU", "frozen_decoder", "cov"]]
    assert cells[cells["collapsed"]]["note"].str.contains("collapsed").all()


def test_the_best_baseline_of_each_setting(cells: pd.DataFrame) -> None:
    best = cells[cells["best"] & (cells["layer"] == 12) & (cells["metric"] == "explained_variance")]
    assert set(best["variant"]) == {"soft_frozen_decoder"}
    assert best["share"].round(2).tolist() == [0.92, 0.93]


def test_the_headline_pairs_are_different_baselines(repository: Path) -> None:
    pairs = headline_pairs(repository / "book" / "data").set_index("metric")
    assert pairs.loc["sparse_probing_top1", "winner"] == "frozen decoder (cov)"
    assert pairs.loc[RAVEL, "winner"] == "soft-frozen decoder (iso)"
    assert "inferred" in str(pairs.loc["autointerp_judge", "known_from"])
