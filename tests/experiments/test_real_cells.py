"""The real-activation cells on a tiny model made on the spot: from text to losses, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sanity.experiments.real_activations import RealTables

from sanity.engine.store import LocalStore
from sanity.experiments import findings, real_activations, verdicts
from sanity.profiles import Profile, load

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "and", "birds", "sang", "of", "old"]


def make_profile(model: Path, text: Path) -> Profile:
    smoke = load("smoke")
    place = smoke.models[0].model_dump() | {
        "subject": str(model),
        "hook": "blocks.1.hook_resid_post",
        "d_model": 32,
        "context": 16,
        "sources": [str(text)],
        "train_tokens": 1600,
        "heldout_tokens": 480,
        "shard_tokens": 400,
    }
    grid = smoke.real.model_dump() | {"d_sae": 64, "l0": 4, "steps": 40, "batch_size": 64, "loss_tokens": 160}
    grid["widths"][0]["d_sae"] = 32
    for sweep in grid["sweeps"]:
        sweep["l0"] = [4]
    return load("smoke", models=[place], real=grid)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small documents."""
    folder = tmp_path_factory.mktemp("text")
    for i in range(40):
        words = [WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(60)]
        (folder / f"{i:02}.txt").write_text(f"story {i}. " + " ".join(words))
    return folder


@pytest.fixture(scope="module")
def profile(tiny_llama: Path, text: Path) -> Profile:
    return make_profile(tiny_llama, text)


@pytest.fixture(scope="module")
def tables(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> RealTables:
    (made,) = real_activations.tables(profile, LocalStore(tmp_path_factory.mktemp("real")))
    return made


def test_every_arm_has_every_score_on_every_seed(tables: RealTables, profile: Profile) -> None:
    scores = tables.scores
    expected = len(profile.real.arms) * len(profile.real.seeds)
    for metric in (
        "explained_variance",
        "l0",
        "dead_latents",
        "cross_entropy",
        "kl_divergence",
        "cosine_to_init",
    ):
        assert len(scores[scores["metric"] == metric]) == expected, metric
    assert findings.mean_of(scores, "l0", constraint="trained") == pytest.approx(4, abs=0.01)
    floors = scores[scores["metric"] == "cross_entropy"]["floor"]
    assert floors.nunique() == 1, "the floor of a task is the same for every arm"


def test_tokens_and_epochs_are_stated(tables: RealTables, profile: Profile) -> None:
    kept = profile.models[0].train_tokens * 15 // 16
    assert tables.data["tokens_unique"] == kept
    assert tables.data["epochs"] == pytest.approx(40 * 64 / kept)
    assert sum(tables.text["tokens_by_source"].values()) == profile.models[0].train_tokens


def test_rates_and_sweep_hold_the_shared_setting_too(tables: RealTables) -> None:
    table = findings.rate_table(tables.rates)
    assert {"lr 0.001", "lr 0.003"} <= set(table.columns)
    assert (table["best"] >= table["lr 0.001"]).all()
    swept = real_activations.with_achieved_l0(tables.sweep)
    assert set(swept["architecture"]) == {"topk", "jumprelu"}
    assert findings.lead_words(tables.scores, "explained_variance", "explained variance").count(";") == 5
    shares = findings.shares_beside_paper(tables.scores)
    assert shares.loc[("trained", "iso"), "ours"] == 1
    assert shares.loc[("frozen decoder", "cov")].drop("ours").min() == 0


def test_pilots_and_widths_have_scores_of_their_own(tables: RealTables, profile: Profile) -> None:
    grid = profile.real
    assert set(tables.pilots["seed"]) == set(grid.pilot_seeds) == {1000, 1001}
    assert {"explained_variance", "cross_entropy"} <= set(tables.pilots["metric"])
    assert set(tables.widths["d_sae"]) == {32}
    assert not set(tables.scores["seed"]) & set(grid.pilot_seeds)
    assert set(tables.scores["d_sae"]) == {64}
    # what is planned is what there is, so that profiles can be asked what they can test
    planned = verdicts.along(verdicts.planned(profile), "width", profile)
    ((_, table),) = verdicts.gaps(planned, "width").items()
    assert list(table.columns) == [32, 64]
    assert verdicts.usable(table) is not None


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_real_cells import make_profile
from sanity.experiments import real_activations
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
import torch
torch.set_num_threads(int(sys.argv[5]))
cells = real_activations.cells(make_profile(Path(sys.argv[2]), Path(sys.argv[3])))
print("started", flush=True)
store = compute(cells, LocalStore(Path(sys.argv[1])))
for cell in cells:
    print(cell.key, sorted((n, f["sha256"]) for n, f in require(cell, store).files.items()))
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    tmp_path: Path, tiny_llama: Path, text: Path, threads: int
) -> None:
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    here = str(Path(__file__).parent)

    def launch(store: str) -> subprocess.Popen[str]:
        arguments = [str(tmp_path / store), str(tiny_llama), str(text), here, str(threads)]
        return subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    straight, _ = launch("straight").communicate(timeout=300)
    for patience in (4.0, 1.0, 2.0):
        process = launch("killed")
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    resumed, _ = launch("killed").communicate(timeout=300)
    assert resumed == straight
    assert resumed.count("\n") > 20
