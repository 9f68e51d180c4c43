"""`reproduce`: cost first, and refusal before any work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

import sanity.experiments
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.errors import BadInputError, StorageError
from sanity.publishing import build_book, cost_words, reproduce_book
from sanity.publishing.reproduce import announce, size_words


@computes("test_reproduce_book.forty_two", version=1)
def forty_two(task: Task) -> None:
    task.save_json("answer", {"value": 42})


def cells(cost: Cost | None = None) -> list[Cell]:
    return [forty_two.cell({"n": n}, label=f"cell {n}", cost=cost) for n in range(3)]


@pytest.fixture
def project(make_tiny_book: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANITY_HOME", str(tmp_path))
    monkeypatch.setenv("SANITY_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(sanity.experiments, "plan", lambda _profile: cells())
    return make_tiny_book(tmp_path)


def test_costs_are_said_in_words() -> None:
    assert cost_words(Cost(30.0, 3_400_000, 2_000_000_000)) == (
        "about 30 s on two cores, 3.4 MB of disk, up to 2.0 GB of memory"
    )
    assert "25 min" in cost_words(Cost(1500.0, 0, 0))
    assert "3.0 h" in cost_words(Cost(10_800.0, 0, 0))
    assert size_words(5e12) == "5000.0 GB"


def test_cost_is_announced_before_anything_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sanity"):
        announce("smoke", cells(Cost(100.0, 10, 10)), cells(Cost(100.0, 10, 10))[:2], tmp_path)
    assert "3 results, 1 of them are there" in caplog.text
    assert "about 3 min on two cores" in caplog.text


def test_a_full_disk_is_found_before_anything_runs(tmp_path: Path) -> None:
    huge = cells(Cost(1.0, 10**18, 10))
    with pytest.raises(StorageError, match=r"needs .* GB more .* free some space"):
        announce("smoke", huge, huge, tmp_path)


def test_too_little_memory_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    greedy = cells(Cost(1.0, 10, 10**15))
    with caplog.at_level(logging.WARNING, "sanity"):
        announce("smoke", greedy, greedy, tmp_path)
    assert "expect it to swap" in caplog.text


def test_an_unknown_profile_and_a_folder_without_book_are_refused(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInputError, match="no profile is called 'huge'"):
        reproduce_book("huge")
    monkeypatch.setenv("SANITY_HOME", str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(BadInputError, match=r"no _toc\.yml"):
        reproduce_book("smoke")


def test_building_before_running_says_what_to_do(project: Path) -> None:
    with pytest.raises(BadInputError, match=r"never run .*: intro, toy; .*make reproduce PROFILE=smoke"):
        build_book("smoke")
