"""Grids on a language model made on the spot: from text to losses and probes, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from given_rows import GivenRows
from tiny_profile import tiny_profile

from sanity.data.probing import GROUPS, ProbingPool
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.evals import sparse_probing as probing
from sanity.evals.drawing import drawn_rows, spread_windows
from sanity.experiments.planner import plan_grids
from sanity.experiments.reading import Reader
from sanity.profiles import Profile
from sanity.sources import harvests_of

ALPHABETS = {"low": "abcdefgh ", "middle": "ijklmnop ", "high": "qrstuvwx "}


def own_pools() -> tuple[ProbingPool, ...]:
    """A pool for each group: strings over alphabets that differ in most letters."""
    rng = np.random.default_rng(0)

    def texts(letters: str, n: int) -> tuple[str, ...]:
        mixed = letters * 3 + "0123456789"
        return tuple("".join(rng.choice(list(mixed), rng.integers(10, 30))).strip() + "." for _ in range(n))

    return tuple(
        ProbingPool(
            f"pool of {group}",
            group,
            tuple(GivenRows(label, texts(letters, 24)) for label, letters in ALPHABETS.items()),
        )
        for group in GROUPS
    )


@pytest.fixture(scope="module", autouse=True)
def _pools() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        pools = own_pools()
        patch.setattr("sanity.evals.sparse_probing.eval.named_pools", lambda names: pools)
        yield


@pytest.fixture(scope="module")
def profile(letters_and_text: tuple[Path, Path], _pools: None) -> Profile:
    grids = ("real_activations", "real_activations_sweep", "sparse_probing")
    return tiny_profile(*letters_and_text, only=grids)


@pytest.fixture(scope="module")
def reader(profile: Profile, store: LocalStore) -> Reader:
    return Reader(profile, store)


@pytest.fixture(scope="module")
def scores(reader: Reader) -> pd.DataFrame:
    return reader.scores("real_activations")


def test_every_arm_has_every_score_on_every_seed(scores: pd.DataFrame) -> None:
    counts = scores.groupby("metric").size()
    wanted = ["explained_variance", "l0", "cross_entropy", "kl_divergence", "kl_recovered", "cosine_to_init"]
    assert (counts[wanted] == 5 * 2).all()
    assert set(scores["world_or_hook"]) == {"blocks.1.hook_resid_post"}
    trained = scores[(scores["metric"] == "l0") & (scores["constraint"] == "trained")]
    assert trained["value"].mean() == pytest.approx(4, abs=0.02)
    floors = scores[scores["metric"] == "kl_divergence"]["floor"]
    assert floors.nunique() == 1, "the floor of a task is the same for every arm"
    share = scores[scores["metric"] == "kl_recovered"].set_index(["constraint", "init", "seed"])["value"]
    loss = scores[scores["metric"] == "kl_divergence"].set_index(["constraint", "init", "seed"])
    again = (loss["value"] - loss["floor"]) / (loss["ceiling"].astype(float) - loss["floor"])
    pd.testing.assert_series_equal(share, again, check_names=False)


def test_tokens_and_epochs_are_stated(reader: Reader) -> None:
    (run, result), *_ = reader.trained("real_activations")
    data = result.json("data")
    assert data["tokens_unique"] == 1600 * 15 // 16
    assert data["epochs"] == pytest.approx(40 * 64 / data["tokens_unique"])
    (text,) = reader.results([dict(run.trained.inputs)["train"]])
    assert sum(text.json("text")["tokens_by_source"].values()) == 1600


def test_drawn_rows_come_from_the_held_out_activations(reader: Reader) -> None:
    (run, _), *_ = reader.trained("real_activations")
    inputs = {name: reader.results([cell])[0] for name, cell in run.trained.inputs}
    opened = run.run.source.open(inputs, batch_size=64, seed=0, device="cpu")
    rows = torch.cat(list(opened.batches()))
    some = drawn_rows(opened, 50, seed=3)
    assert len(some) == 50
    assert all((rows == row).all(1).any() for row in some)
    assert not torch.equal(some, drawn_rows(opened, 50, seed=4))


def test_l0_is_matched_on_windows_of_its_own_which_are_not_scored(reader: Reader) -> None:
    (run, _), *_ = reader.trained("real_activations")
    inputs = {name: reader.results([cell])[0] for name, cell in run.trained.inputs}
    opened = run.run.source.open(inputs, batch_size=64, seed=0, device="cpu")
    kept, held_out = harvests_of(inputs)
    windows = torch.cat(list(held_out.rows(normalisation=kept.normalisation))).reshape(30, 15, -1)
    assert torch.equal(opened.calibration, windows[4::5].flatten(0, 1)), "every fifth window"
    others = windows[torch.arange(30) % 5 != 4].flatten(0, 1)
    assert torch.equal(torch.cat(list(opened.batches())), others)
    assert torch.equal(opened.sample, others)
    among = run.run.source.scored(held_out)
    tokens, _ = spread_windows(held_out, 10**6, among=among)
    assert len(tokens) == int(among.sum()) == 24
    with pytest.raises(BadInputError, match="held_out_tokens"):
        replace(run.run.source, matched_on_every=1).scored(held_out)


def test_the_activation_on_its_way_to_its_mean_is_read_as_such(reader: Reader) -> None:
    graded = reader.graded("reconstruction", "loss")
    ev = graded[graded["metric"] == "explained_variance"].groupby("level")["value"].mean()
    np.testing.assert_allclose(ev, [1, 0.75, 0], atol=0.03)
    kl = graded[graded["metric"] == "kl_recovered"].groupby("level")["value"].mean()
    assert kl[0.0] == pytest.approx(1, abs=1e-4)
    assert kl[1.0] == pytest.approx(0, abs=1e-4)


def test_probes_have_floor_and_ceiling_and_fall_with_their_reference(reader: Reader) -> None:
    scores = reader.scores("sparse_probing")
    assert len(scores) == 2 * 2 * 4
    assert scores["n"].eq(15).all()
    ends = scores.groupby(["seed", "metric"])[["floor", "ceiling"]].nunique()
    assert (ends == 1).all(axis=None), "floor and ceiling of a seed are the same for every arm"
    assert scores["floor"].between(0.4, 0.6).all()
    assert (scores["ceiling"] > 0.7).all(), "letters are easily told from a residual stream"
    graded = reader.graded("sparse_probing")
    one = (
        graded[graded["metric"] == "sparse_probing_top1"]
        .groupby("level")[["value", "floor", "ceiling"]]
        .mean()
    )
    assert one["value"].iloc[0] == pytest.approx(one["ceiling"].iloc[0], abs=0.06)
    assert one["value"].iloc[-1] == pytest.approx(one["floor"].iloc[-1], abs=0.08)
    assert one["value"].iloc[0] > one["value"].iloc[3] > one["value"].iloc[-1]


def test_seeds_divide_the_same_texts_in_different_ways(reader: Reader) -> None:
    tables = [result.table("tasks") for _, result in reader.references("sparse_probing")]
    dense = pd.concat(tables)
    dense = dense[dense["features"] == probing.DENSE].pivot_table(
        index="task", columns="seed", values="accuracy"
    )
    assert (dense[0] != dense[1]).any()
    ((_, texts),) = reader.prepared("sparse_probing")
    counts, table = texts.table("counts"), texts.table("texts")
    assert counts["used"].sum() == len(table) == len(GROUPS) * 3 * 20
    assert counts["cut"].sum() == table["cut"].sum() > 0
    assert (table["tokens"] <= 12).all()
    facts = reader.facts("sparse_probing", "sparse_probing")
    assert (facts["alive"] <= facts["latents"]).all()


def test_a_killed_reading_of_texts_goes_on_with_its_shards(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sanity.evals.sparse_probing import reading

    ((shared, whole),) = reader.prepared("sparse_probing")
    monkeypatch.setattr(reading, "_shards", lambda order, windows, tokens: [order[:100], order[100:]])
    calls: list[int] = []
    real = reading._residuals

    def killed(subject, windows, texts, source, dtype):  # type: ignore[no-untyped-def]
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(subject, windows, texts, source, dtype)

    monkeypatch.setattr(reading, "_residuals", killed)
    again = LocalStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compute([shared.cell], again)
    compute([shared.cell], again)
    assert calls == [100, 200, 200], "the first shard is not computed twice"
    kept = again.get(shared.cell.key)
    assert kept is not None
    assert kept.table("texts").equals(whole.table("texts"))


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4].split(":")
from tiny_profile import tiny_profile
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.experiments.planner import plan_grids
import torch
torch.set_num_threads(int(sys.argv[5]))
profile = tiny_profile(Path(sys.argv[2]), Path(sys.argv[3]), only=("real_activations",))
print("started", flush=True)
compute(plan_grids(profile).cells, LocalStore(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    reader: Reader, tmp_path: Path, letters_and_text: tuple[Path, Path], threads: int
) -> None:
    here = str(Path(__file__).parent.parent)
    arguments = [str(tmp_path / "killed"), *map(str, letters_and_text), here, str(threads)]

    def launch() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    for patience in (4.0, 1.0):
        process = launch()
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    resumed = launch()
    resumed.communicate(timeout=300)
    assert resumed.returncode == 0

    cells = plan_grids(tiny_profile(*letters_and_text, only=("real_activations",))).cells
    assert len(cells) > 20
    straight, killed = compute(cells, reader.store), LocalStore(tmp_path / "killed")
    for cell in cells:
        assert require(cell, killed).files == require(cell, straight).files, cell.label
