"""The chapter that builds the check in front of the reader: its code runs alone, and its two ways agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import pytest
import torch

from sanity.engine.store import open_store

CHAPTER = Path(__file__).parent.parent.parent / "book" / "anatomy.py"


@pytest.fixture(scope="module")
def chapter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that the chapter's code leaves behind, run at smoke in a folder of its own."""
    threads, names = torch.get_num_threads(), {"__name__": "anatomy"}
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANITY_HOME", str(home))
        patch.setenv("SANITY_STORE", str(home / "store"))
        for cell in jupytext.read(CHAPTER).cells:
            if cell.cell_type == "code":
                source = cell.source.replace('profile = "demo"', 'profile = "smoke"')
                exec(compile(source, str(CHAPTER), "exec"), names)
        stored = open_store().list()
    torch.set_num_threads(threads)
    return {**names, "stored": stored}


def test_it_computes_no_cell_and_reads_none(chapter: dict[str, Any]) -> None:
    assert chapter["page"].profile.name == "smoke"
    assert not chapter["stored"]


def test_explained_variance_stays_where_recovery_goes(chapter: dict[str, Any]) -> None:
    summary = chapter["summary"]
    assert summary.loc["frozen decoder", "of the trained EV"] > 0.75
    assert summary.loc["frozen decoder", "recovered"] < 0.01
    assert summary.loc["trained", "recovered"] > 0.08
    assert summary.loc["untrained", "cosine"] == pytest.approx(chapter["chance"], abs=0.01)


def test_the_twins_are_held_where_the_chapter_says(chapter: dict[str, Any]) -> None:
    W0, twins = chapter["W0"], chapter["twins"]
    cosines = {name: (sae.W_dec * W0).sum(1).min().item() for name, sae in twins.items()}
    assert cosines["trained"] < 0.8
    assert cosines["soft-frozen decoder"] == pytest.approx(0.8, abs=1e-5)
    assert torch.equal(twins["frozen decoder"].W_dec, W0)


def test_the_fast_way_gives_the_same_curves(chapter: dict[str, Any]) -> None:
    difference = chapter["difference"]
    assert difference["loss"].max() < 0.05
    assert difference["ev"].max() < 2e-3
    assert difference["recovered"].max() < 0.02
    for name, curve in chapter["curves"].items():
        assert list(curve["step"]) == list(chapter["fast"][name]["step"])
