"""A check's report: run by papermill, rendered to one page, in which everything from outside is text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from sanity.checking.comparing import GIVEN, compare, equivalence_curves, summarise
from sanity.checking.report import Report
from sanity.cli import app
from sanity.publishing.checks import NOTEBOOK, PAGE, write_report
from sanity.publishing.single import single_page

TAG = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title='ran'\">"
EVALS = {"explained_variance": "reconstruction", "sparse_probing_top1": "sparse_probing"}


def scores() -> pd.DataFrame:
    """Two seeds of two nulls, one of which matches the SAE."""
    rows = []
    for metric, one in EVALS.items():
        for seed in (0, 1):
            for arm, kind, value in (
                (GIVEN, "given", 0.8), ("frozen decoder", "trained", 0.79 + 0.002 * seed),
                (f"untrained {TAG}", "untrained", 0.3 + 0.002 * seed),
            ):  # fmt: skip
                rows.append({"arm": arm, "kind": kind, "eval": one, "metric": metric, "seed": seed,
                             "value": value, "floor": 0.0, "ceiling": 1.0})  # fmt: skip
    for arm in (GIVEN, "frozen decoder"):
        for metric, value in (("l0", 32.0), ("dead_latents", 0.1)):
            rows.append({"arm": arm, "kind": "given", "eval": "reconstruction", "metric": metric, "seed": 0,
                         "value": value, "floor": 1.0, "ceiling": None})  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def report() -> Report:
    """Made of plain tables; every text in it holds a tag."""
    found = scores()
    compared = compare(found, {}, several=False)
    example = {"arm": GIVEN, "latent": 7, "window": 0, "document": 0, "source": TAG, "seed": 0,
               "pieces": ["a ", TAG], "activations": [0.0, 2.0]}  # fmt: skip
    fit = {"scale": "raw", "explained_variance": {"raw": 0.8}, "untrained": 0.2, "l0": 32.0, "alive": 0.9}
    sae = {"name": TAG, "library": TAG, "weights": "ab", "notes": [TAG], "fit": fit, "d_sae": 64, "d_in": 8}
    facts = {
        "name": TAG, "saes": [sae], "config": {"note": TAG}, "model": TAG, "hook": TAG, "named_hook": None,
        "text": [TAG], "architecture": "topk-32", "tokens": 1000, "tokens_seen": 2000, "held_out_tokens": 100,
        "seeds": 2, "baselines": ["frozen_decoder", "untrained"], "evals": ["reconstruction"], "given": GIVEN,
        "not_matched": [TAG], "seconds": 60.0, "minutes_asked": None, "command": f"sanity check '{TAG}'",
        "provenance": {"commit": TAG, "cpu": {"model": TAG, "cores": 2}, "versions": {"torch": TAG}},
    }  # fmt: skip
    gates = pd.DataFrame([{"metric": "explained_variance", "state": "passed", "reason": TAG}])
    tables = compared, summarise(compared), equivalence_curves(compared), pd.DataFrame([example]), gates
    return Report(facts, found, *tables)


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report, written."""
    folder = tmp_path_factory.mktemp("out") / "<b>report</b>".replace("/", "∕")
    write_report(report, folder)
    return folder


def test_the_answer_names_who_matches_and_who_is_beaten(report: Report) -> None:
    summary = report.summary.set_index("metric")
    assert summary.loc["explained_variance", "answer"] == "matched by a null"
    assert summary.loc["explained_variance", "matched_by"] == "frozen decoder"
    assert summary.loc["explained_variance", "beaten"] == 1
    assert report.matched
    assert "by frozen decoder" in report.answer


def test_all_that_is_needed_is_in_one_page(folder: Path) -> None:
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    assert "<link" not in page
    assert page.count("data:image/png;base64,") == 2
    for words in ("which is one seed", "prediction interval", "What could be wrong", "sanity check"):
        assert words in page
    assert {path.name for path in folder.iterdir()} >= {NOTEBOOK, PAGE, "check.json", "scores.parquet"}
    assert json.loads((folder / "check.json").read_text(encoding="utf-8"))["matched"] is True


def test_what_comes_from_outside_is_text(folder: Path) -> None:
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert unescape(page).count(TAG) > 8


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser here")
def test_a_browser_runs_nothing_of_it(folder: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--virtual-time-budget=2000", "--dump-dom", (folder / PAGE).as_uri()],
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    ).stdout  # fmt: skip
    assert "which is one seed" in shown
    assert "<title>ran" not in shown


def test_the_notebook_goes_on_from_the_kept_tables(folder: Path) -> None:
    notebook = json.loads((folder / NOTEBOOK).read_text(encoding="utf-8"))
    assert all("outputs" not in cell or cell["execution_count"] for cell in notebook["cells"])
    assert Report.load(folder).matched


def test_plain_outputs_and_markdown_are_escaped(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": [f"*so* {TAG}"]},
        {"cell_type": "code", "source": [TAG], "outputs": [{"data": {"text/plain": [TAG]}}, {"text": [TAG]}]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    page = single_page(tmp_path / "a.ipynb", tmp_path / "a.html", title=TAG).read_text(encoding="utf-8")
    assert "<em>so</em>" in page
    assert "<script" not in page
    assert unescape(page).count(TAG) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to check"), (["x", "--fail-on", "rain"], "baseline-matches"),
        (["nothing-here"], "no folder"), (["nothing-here", "--baselines", "guess"], "guess"),
        (["nothing-here", "--scale", "big"], "expected norm"),
    ],
)  # fmt: skip
def test_the_command_refuses_in_one_line(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["check", *arguments])
    assert done.exit_code == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
