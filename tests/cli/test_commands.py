"""The command line: exit codes, one-line errors, JSON that others can read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import sanity.experiments
from sanity.cli import app
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.engine.computing import compute
from sanity.engine.store import open_store
from sanity.errors import StorageError
from sanity.experiments import calibration

COMMANDS = (
    "fetch", "models", "plan", "harvest", "train", "judge", "check", "reproduce", "book", "claims", "clean",
)  # fmt: skip


@computes("test_commands.work", version=1)
def work(task: Task) -> None:
    task.save_json("answer", {"value": 1})


@pytest.fixture(autouse=True)
def small_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANITY_STORE", str(tmp_path / "store"))
    cost = Cost(120.0, 2_000_000, 3_000_000)
    harvest = work.cell({"n": 1}, label="activations", stage="harvest", cost=cost)
    trained = work.cell({"n": 2}, inputs={"a": harvest}, label="sae", stage="train", cost=cost)
    scored = work.cell({"n": 3}, inputs={"sae": trained}, label="score", stage="reconstruction", cost=cost)
    monkeypatch.setattr(sanity.experiments, "plan", lambda _profile: [scored, trained, harvest])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def document(*arguments: str) -> Any:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_has_json(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "--json" in done.stdout
    line = next(line for line in run("--help").stdout.splitlines() if line.strip().startswith(command))
    assert line.endswith("."), f"the summary of {command} is cut short: {line}"


@pytest.mark.parametrize(
    "arguments", [("--nope",), ("plan", "--nope"), ("nothing",), ("plan", "extra"), ("plan", "--profile")]
)
def test_wrong_usage_exits_with_two(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["plan", "harvest", "train", "reproduce", "book"])
def test_an_unknown_profile_is_one_line_and_exits_with_one(command: str) -> None:
    done = run(command, "--profile", "huge")
    assert done.exit_code == 1
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("sanity: no profile is called 'huge'; there are: ")


def test_debug_shows_where_an_error_comes_from() -> None:
    done = run("--debug", "plan", "--profile", "huge")
    assert done.exit_code == 1
    assert type(done.exception).__name__ == "BadInputError"


def test_an_error_of_several_lines_is_printed_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_profile: object) -> None:
        raise StorageError("the disk\nis full:\n  free some")

    monkeypatch.setattr(sanity.experiments, "plan", full)
    assert run("plan", "--profile", "smoke").stderr == "sanity: the disk is full: free some\n"


def test_an_interruption_says_that_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_profile: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sanity.experiments, "plan", interrupt)
    done = run("plan", "--profile", "smoke")
    assert done.exit_code == 130
    assert "what was computed is kept" in done.stderr


def test_plan_lists_cells_with_their_cost_inputs_first() -> None:
    value = document("plan", "--profile", "smoke", "--json")
    assert [cell["label"] for cell in value["cells"]] == ["activations", "sae", "score"]
    assert value["missing"] == 3
    assert value["cells"][0]["seconds"] == 120.0
    assert re.fullmatch("[0-9a-f]{20}", value["cells"][0]["key"])
    text = run("plan", "--profile", "smoke").stdout
    assert "3 results in all: about 6 min on two cores, 6.0 MB of disk" in text
    assert text.count(" missing") >= 2


def test_plan_says_what_it_measured_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the profile's device, and of the cores that would do without it."""
    found = {"steps on real activations": 2.0, "steps in a world": 2.0, "a language model": 2.0}
    found["small operations"] = 2.0
    monkeypatch.setattr(calibration, "ratios", lambda device: found if device == "cpu" else None)
    value = document("plan", "--profile", "card", "--json")
    assert value["calibration"] == {"cuda": None, "cpu": found}
    assert value["slowness"] is None
    text = run("plan", "--profile", "card").stdout
    (without,) = (line for line in text.splitlines() if line.startswith("without a card"))
    assert "about 6 min on two cores (on this machine, as a calibration just measured it: 12 min)" in without
    assert "no card here to calibrate by" in text
    assert (
        "measured on two cores, times what the reference machine takes: steps on real activations 2, "
        "steps in a world 2, a language model 2, small operations 2" in text
    )
    assert document("plan", "--profile", "smoke", "--json")["slowness"] == pytest.approx(2.0)


def test_harvest_and_train_compute_what_they_say_and_no_more() -> None:
    assert [row["label"] for row in document("harvest", "--profile", "smoke", "--json")] == ["activations"]
    value = document("plan", "--profile", "smoke", "--json")
    assert [cell["done"] for cell in value["cells"]] == [True, False, False]
    assert [row["label"] for row in document("train", "--profile", "smoke", "--json")] == ["sae"]
    assert document("plan", "--profile", "smoke", "--json")["missing"] == 1


@pytest.fixture
def small_profile(tmp_path: Path) -> str:
    """A profile file with one run on one small world."""
    made = tmp_path / "tiny.yaml"
    made.write_text(
        "about: a test\n"
        "sources: {constant: {kind: world, spec: {d_in: 8, n_features: 24, expected_l0: 2.0}}}\n"
        "grids:\n"
        "  synthetic_recovery:\n"
        "    {sources: constant, architectures: topk, l0: 2, d_sae: 24, learning_rates: 0.01,\n"
        "     batch_size: 32, steps: 4, evals: reconstruction}\n"
    )
    return str(made)


def test_claims_without_results_are_open_and_say_what_is_missing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_profile: str
) -> None:
    shutil.copytree(repository / "book", tmp_path / "book")
    monkeypatch.setenv("SANITY_HOME", str(tmp_path))
    rows = document("claims", "--profile", small_profile, "--json")
    assert {"id", "verdict", "value", "interval", "gate"} <= set(rows[0])
    assert {(row["verdict"], row["gate"], row["missing_scores"]) for row in rows} == {
        ("open", "not available", 2)
    }
    text = run("claims", "--profile", small_profile).stdout
    assert all(row["id"] in text for row in rows)
    assert "2 tables of scores are not computed yet" in text
    assert document("plan", "--profile", small_profile, "--json")["missing"] == 3


# ------------------------------------------------------------------------------------------------ clean


def test_clean_lists_what_no_profile_reaches_and_removes_it_when_told(tmp_path: Path) -> None:
    store = open_store()
    compute(sanity.experiments.plan(None), store)
    old = [work.cell({"n": n}, label=f"old {n}", stage="train") for n in (11, 12)]
    compute(old, store)
    kept = set(store.list()) - {cell.key for cell in old}
    value = document("clean", "--json")
    assert {row["key"] for row in value["results"]} == {cell.key for cell in old}
    assert {row["label"] for row in value["results"]} == {"old 11", "old 12"}
    assert {row["stage"] for row in value["results"]} == {"train"}
    folders = [tmp_path / "store" / "results" / cell.key for cell in old]
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    assert (value["bytes"], value["removed"]) == (size, False)
    text = run("clean").stdout
    assert "2 results that no profile reaches" in text
    assert "Nothing was removed" in text
    assert set(open_store().list()) == kept | {cell.key for cell in old}
    assert "2 results removed" in run("clean", "--yes").stdout
    assert set(open_store().list()) == kept
    assert not any(folder.exists() for folder in folders)
    assert not list((tmp_path / "store" / "scratch").glob("removed-*"))
    assert "nothing to remove" in run("clean", "--yes").stdout


def test_clean_keeps_what_a_profile_that_is_named_reaches(
    monkeypatch: pytest.MonkeyPatch, small_profile: str
) -> None:
    own = work.cell({"n": 21}, label="of my own profile")
    plan = sanity.experiments.plan

    def planned(profile: Any) -> list[Cell]:
        return [own] if profile.name == "tiny" else plan(profile)

    monkeypatch.setattr(sanity.experiments, "plan", planned)
    compute([own], open_store())
    assert [row["key"] for row in document("clean", "--json")["results"]] == [own.key]
    named = document("clean", "--profile", small_profile, "--profile", "smoke", "--yes", "--json")
    assert named["results"] == []
    assert named["kept_for"] == [
        "demo",
        "smoke",
        "quick",
        "calibration",
        "controls",
        "synthetic",
        "overnight",
        "card",
        "gpu",
        "paper",
        small_profile,
    ]
    assert open_store().list() == [own.key]


def test_a_damaged_result_that_no_profile_reaches_is_removed_too(tmp_path: Path) -> None:
    old = work.cell({"n": 31}, label="old")
    compute([old], open_store())
    (tmp_path / "store" / "results" / old.key / "answer.json").unlink()
    (row,) = document("clean", "--yes", "--json")["results"]
    assert (row["key"], row["label"]) == (old.key, "")
    assert open_store().list() == []


def test_fetch_lists_the_assets() -> None:
    rows = {row["name"]: row for row in document("fetch", "--list", "--json")}
    assert rows["smollm2-135m"]["default"]
    assert rows["smollm2-135m"]["licence"] == "Apache-2.0"
    assert "Apache-2.0" in run("fetch", "--list").stdout


def test_models_lists_names_and_families() -> None:
    listed = document("models", "--json")
    assert listed["names"]["gpt2"] == "openai-community/gpt2"
    assert listed["families"]["gpt_neo"] == {
        "backends": ["transformer_lens", "nnsight"],
        "causal_editing": True,
    }
    assert listed["families"]["bert"]["backends"] == []
    assert "openai-gpt" in run("models").stdout


def test_fetch_refuses_an_unknown_asset() -> None:
    done = run("fetch", "llama-9")
    assert done.exit_code == 1
    assert "llama-9" in done.stderr
    assert "smollm2-135m" in done.stderr


@pytest.mark.assets
def test_fetch_says_where_things_are(assets: dict[str, Path]) -> None:
    assert document("fetch", "smollm2-135m", "--json") == {"smollm2-135m": str(assets["smollm2-135m"])}
