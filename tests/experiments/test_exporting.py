"""A long run kept with the book: its tables, and how they are read and judge at other profiles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from sanity.claims import repeated
from sanity.engine.computing import compute
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
    assert {one["commit"] for one in again.provenance["runs"].values()} == {*again.provenance["commits"]}
    made = replace(again, provenance={**again.provenance, "commits": ["0123456789ab+changes"]})
    assert "commit 01234567+changes, " in made.words
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


def small(changes: Mapping[str, str] = MappingProxyType({})) -> Profile:
    """The same in a world of 48 features."""
    text = TEXT.replace("redrawn", "spec: {d_in: 12, n_features: 48}, redrawn").replace("3200", "48")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return read_profile("long", text)


@pytest.fixture(scope="module")
def small_run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    keep_run(small(), store=LocalStore(folder / "store"), folder=folder)
    return folder


def test_what_is_kept_is_taken_over_and_only_the_rest_computed(small_run: Path, tmp_path: Path) -> None:
    """As on another machine, which has the tables and none of the results."""
    shutil.copytree(small_run / "long", tmp_path / "results" / "long")
    more = small({"seeds: [0, 1]\n      l": "seeds: [0, 1, 2]\n      l"})
    store = LocalStore(tmp_path / "store")
    before = kept_tables("long", tmp_path / "results")
    keep_run(more, store=store, folder=tmp_path / "results")
    after = kept_tables("long", tmp_path / "results")
    assert before is not None
    assert after is not None
    computed = {run.run.arm.seed for run in plan_grids(more).runs if store.get(run.trained.key)}
    assert computed == {2}
    assert after.provenance["seeds"] == [0, 1, 2]
    assert len(after.provenance["runs"]) == after.provenance["planned"] == 6
    for name in before.tables:
        old, new = before.tables[name], after.tables[name]
        if "seed" in old and name != "gates":
            pd.testing.assert_frame_equal(new[new["seed"] < 2].reset_index(drop=True), old, check_dtype=False)
    assert set(after.tables["scores"]["seed"]) == {0, 1, 2}
    assert set(after.tables["latents"]["seed"]) == {0}
    assert repeated(after.tables["scores"]).empty


def test_what_was_kept_otherwise_is_computed_again(small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run / "long", tmp_path / "long")
    longer = small({"steps: 4": "steps: 5"})
    keep_run(longer, store=LocalStore(tmp_path / "store"), folder=tmp_path)
    after = kept_tables("long", tmp_path)
    assert after is not None
    assert set(after.tables["scores"]["samples"]) == {160}
    assert after.provenance["samples"] == [160]


def test_what_is_trained_is_kept_before_the_rest_is(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with pytest.raises(BadInputError, match="none of the others is trained"):
        keep_run(small(), store=store, folder=tmp_path, finished=True)
    first = [run.trained for run in plan_grids(small()).runs if run.run.arm.seed == 0]
    compute(first, store)
    keep_run(small(), store=store, folder=tmp_path, finished=True)
    kept = kept_tables("long", tmp_path)
    assert kept is not None
    assert set(kept.tables["scores"]["seed"]) == {0}
    assert (len(kept.provenance["runs"]), kept.provenance["planned"]) == (2, 4)


def test_analyses_that_were_left_out_are_not_told_as_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = LocalStore(tmp_path / "store"), plan_grids(small())
    compute([plan.runs[0].trained], store)
    analysis = ("some", "constant", plan.graded[0].cell)
    monkeypatch.setattr("sanity.experiments.exporting.scored_cells", lambda _: [analysis])
    keep_run(small(), store=store, folder=tmp_path, finished=True)
    kept = kept_tables("long", tmp_path)
    assert kept is not None
    assert kept.provenance["analyses"] == []


def test_tables_of_an_earlier_version_are_refused_in_words(small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run / "long", tmp_path / "long")
    facts = json.loads((tmp_path / "long" / "provenance.json").read_text())
    del facts["machines"]
    (tmp_path / "long" / "provenance.json").write_text(json.dumps(facts))
    with pytest.raises(BadInputError, match="kept by an earlier version"):
        kept_tables("long", tmp_path)
