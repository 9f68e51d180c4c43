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
from sanity.engine.cells import Cost, Task, computes
from sanity.errors import StorageError

COMMANDS = ("fetch", "plan", "harvest", "train", "reproduce", "book", "claims")


@computes("test_commands.work", version=1)
def work(task: Task) -> None:
    task.save_json("answer", {"value": 1})


@pytest.fixture(autouse=True)
def small_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANITY_STORE", str(tmp_path / "store"))
    cost = Cost(120.0, 2_000_000, 3_000_000)
    harvest = work.cell({"n": 1}, label="activations", stage="harvest", cost=cost)
    trained = work.cell({"n": 2}, inputs={"a": harvest}, label="sae", stage="arms", cost=cost)
    monkeypatch.setattr(sanity.experiments, "plan", lambda _profile: [trained, harvest])


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
    assert [cell["label"] for cell in value["cells"]] == ["activations", "sae"]
    assert value["missing"] == 2
    assert value["cells"][0]["seconds"] == 120.0
    assert re.fullmatch("[0-9a-f]{20}", value["cells"][0]["key"])
    text = run("plan", "--profile", "smoke").stdout
    assert "2 results in all: about 4 min on two cores, 4.0 MB of disk" in text
    assert text.count(" missing") >= 2


def test_harvest_computes_its_stage_only_and_train_the_rest() -> None:
    assert [row["label"] for row in document("harvest", "--profile", "smoke", "--json")] == ["activations"]
    value = document("plan", "--profile", "smoke", "--json")
    assert [cell["done"] for cell in value["cells"]] == [True, False]
    document("train", "--profile", "smoke", "--json")
    assert document("plan", "--profile", "smoke", "--json")["missing"] == 0


def test_claims_without_results_are_open(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repository / "book", tmp_path / "book")
    monkeypatch.setenv("SANITY_HOME", str(tmp_path))
    rows = document("claims", "--profile", "smoke", "--json")
    assert {"id", "verdict", "value", "interval", "gate"} <= set(rows[0])
    assert {(row["verdict"], row["gate"]) for row in rows} == {("open", "not available")}
    text = run("claims", "--profile", "smoke").stdout
    assert all(row["id"] in text for row in rows)


def test_fetch_lists_the_assets() -> None:
    rows = {row["name"]: row for row in document("fetch", "--list", "--json")}
    assert rows["smollm2-135m"]["default"]
    assert rows["smollm2-135m"]["licence"] == "Apache-2.0"
    assert "Apache-2.0" in run("fetch", "--list").stdout


def test_fetch_refuses_an_unknown_asset() -> None:
    done = run("fetch", "llama-9")
    assert done.exit_code == 1
    assert "llama-9" in done.stderr
    assert "smollm2-135m" in done.stderr


@pytest.mark.assets
def test_fetch_says_where_things_are(assets: dict[str, Path]) -> None:
    assert document("fetch", "smollm2-135m", "--json") == {"smollm2-135m": str(assets["smollm2-135m"])}
