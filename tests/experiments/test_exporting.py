"""A long run kept with the book: its tables, and how they are read and judge at other profiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sanity.engine.store import LocalStore, open_store
from sanity.errors import BadInputError
from sanity.experiments.exporting import keep_run
from sanity.experiments.kept_tables import imported_run, kept_runs, kept_tables
from sanity.experiments.planner import plan_grids
from sanity.experiments.reading import Reader
from sanity.experiments.verdicts import book_ledger, verdict_tables
from sanity.profiles import Profile, read_profile

# The ledger's scale "toy" in everything but the training, which is four steps.
TEXT = """
about: a test
sources:
  constant: {kind: world, redrawn: true, held_out: 256}
grids:
  synthetic_recovery:
    - sources: constant
      architectures: batchtopk
      l0: 20
      d_sae: 3200
      arms: [trained, untrained]
      seeds: [0, 1]
      learning_rates: 0.003
      batch_size: 32
      steps: 4
      evals: [reconstruction, recovery]
evals:
  recovery: {graded_l0: 20, grades: {levels: [0.0, 1.0], seeds: [0, 1], size: 64}}
"""
CLAIM = "toy-constant-batchtopk-ev"


def profile(name: str = "long", **spec: int) -> Profile:
    text = TEXT.replace("redrawn", f"spec: {json.dumps(spec)}, redrawn") if spec else TEXT
    return read_profile(name, text.replace("3200", str(spec.get("n_features", 3200))))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A copy of the book's folder, with a run that is kept in it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "book").mkdir()
    for path in ("claims.yml", "data"):
        (folder / "book" / path).symlink_to(repository / "book" / path)
    keep_run(profile(), store=LocalStore(folder / "store"), folder=folder / "results")
    return folder


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_HOME", str(home))
    monkeypatch.setenv("SANITY_STORE", str(home / "store"))
    imported_run.cache_clear()


def test_every_seed_has_a_world_of_its_own_and_one_gate_for_all() -> None:
    plan = plan_grids(profile())
    drawn = {run.run.arm.seed: run.run.source for run in plan.runs}
    assert drawn[0] != drawn[1]
    assert [drawn[seed].spec.seed for seed in (0, 1)] == [0, 1]  # type: ignore[attr-defined]
    assert {run.place for run in plan.runs} == {"constant"}
    assert [one.eval for one in plan.graded] == ["recovery"]


def test_tables_are_kept_and_read_again(home: Path) -> None:
    again = kept_tables("long")
    assert again is not None
    reader = Reader(profile(), open_store())
    scores = reader.scores("synthetic_recovery").sort_values(["seed", "constraint", "metric"])
    kept = again.of("scores", "synthetic_recovery").sort_values(["seed", "constraint", "metric"])
    np.testing.assert_array_equal(kept["value"], scores["value"])
    assert again.provenance["seeds"] == [0, 1]
    assert set(again.tables["curves"]["constraint"]) == {"trained"}
    assert set(again.tables["latents"]["seed"]) == {0}
    assert set(again.tables["gates"]["metric"]) >= {"recovery"}
    assert again.provenance["commits"][0][:8] in again.words
    assert kept_tables("other") is None


def test_a_file_that_was_changed_is_refused(home: Path, tmp_path: Path) -> None:
    for path in (home / "results" / "long").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "curves.parquet").write_bytes(b"other")
    with pytest.raises(BadInputError, match=r"is not the file that provenance\.json names"):
        kept_tables(tmp_path.name, tmp_path.parent)


def test_a_run_that_changed_meanwhile_is_refused() -> None:
    with pytest.raises(BadInputError, match="changed while verdicts were computed"):
        imported_run("long", "0" * 64)


def test_the_book_is_judged_by_a_kept_run_where_the_readers_own_is_too_small() -> None:
    small = profile("small", d_in=12, n_features=48)
    found = verdict_tables(small, compute_missing=True)
    row = next(row for row in found.results if row["id"] == CLAIM)
    assert (row["imported"], row["profile"]) == ("long", "long")
    assert row["another_scale"] == ""
    assert row["verdict"] != "open"
    shown = found.claims.set_index("id").loc[CLAIM]
    assert shown["profile and scale"] == "imported: long, same scale"
    assert [name for name, _ in kept_runs(but="small")] == ["long"]


def test_a_run_is_never_judged_by_itself_as_imported() -> None:
    found = verdict_tables(profile(), compute_missing=True)
    row = next(row for row in found.results if row["id"] == CLAIM)
    assert (row["imported"], row["profile"]) == ("", "long")


def test_a_ledger_of_ones_own_imports_nothing(repository: Path) -> None:
    ledger = book_ledger(repository / "book" / "claims.yml")
    small = profile("small", d_in=12, n_features=48)
    found = verdict_tables(small, ledger=ledger, compute_missing=True)
    assert not any(row["imported"] for row in found.results)


def test_a_profile_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing to keep"):
        keep_run(read_profile("empty", "about: nothing\nsources: {}\ngrids: {}\n"), folder=tmp_path)
