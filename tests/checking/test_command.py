"""`sanity check` from the command line: the plan, the report, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checked_saes import TAG
from typer.testing import CliRunner

from sanity.cli import app
from sanity.engine.store import LocalStore

NULLS = "untrained,permuted_decoder"


@pytest.fixture(autouse=True)
def own_store_here(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_STORE", str(store.root))


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.fixture
def asked(folders: list[Path], text: Path) -> list[str]:
    """Arguments of a small check; model and hook stand in the folder."""
    return [str(folders[0]), "--text", str(text), "--tokens", "2048", "--seeds", "2", "--baselines", NULLS,
            "--evals", "reconstruction"]  # fmt: skip


def test_the_plan_says_what_it_costs_and_computes_nothing(asked: list[str], store: LocalStore) -> None:
    before = len(store.list())
    done = run(*asked, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["baselines"] == NULLS.split(",")
    assert min(plan["seconds"], plan["disk_bytes"], plan["memory_bytes"]) >= 0
    assert plan["results"] > 8
    # The SAE itself is put into the store, which computes nothing.
    assert len(store.list()) <= before + 1
    assert "two cores" in run(*asked, "--dry-run").stdout


def test_a_check_leaves_a_report_and_an_exit_code_when_asked(asked: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(*asked, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["report"] == str(out / "report.html")
    assert said["command"].startswith("sanity check")
    assert said["config"]["metadata"]["note"] == TAG
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert said["matched"] is False
    assert run(*asked, "--out", out, "--fail-on", "baseline-matches").exit_code == 0


def test_a_match_fails_only_when_asked(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanity.checking.report.Report.matched", property(lambda self: True))
    monkeypatch.setattr("sanity.publishing.checks.write_report", lambda report, folder: folder)
    assert run(*asked, "--out", tmp_path).exit_code == 0
    assert run(*asked, "--out", tmp_path, "--fail-on", "baseline-matches").exit_code == 3


def test_several_paths_are_seeds_of_one_recipe(folders: list[Path], text: Path) -> None:
    done = run("--paths", *folders, "--text", text, "--tokens", "2048", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["seeds"] == 3
