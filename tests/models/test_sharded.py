"""Arms whose latents are divided between two processes: the numbers of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from card_arms import apart
from sharded_worker import Case, cases, interrupted
from small_stream import SmallStream

from sanity.errors import BadInputError
from sanity.models import Arm, Run, TopK, load_sae, train_sharded
from sanity.models.card.shards import per_latent
from sanity.models.sharded import shared_card

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes left, together and by themselves."""
    out = tmp_path_factory.mktemp("sharded")
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    free = {name: value for name, value in os.environ.items() if name != "RANK"}
    ended = subprocess.run(
        [sys.executable, str(HERE / "sharded_worker.py"), str(out)],
        env={**free, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return out


def kept(case: Case, folder: Path) -> list[Run]:
    """Runs as they were kept in ordinary folders of an SAE each."""
    found = [
        (load_sae(folder / str(at)), pd.read_parquet(folder / f"{at}.parquet"))
        for at in range(len(case.arms))
    ]
    return [Run(arm, sae, curve, sae.W_dec) for arm, (sae, curve) in zip(case.arms, found, strict=True)]


@pytest.mark.parametrize("name", list(cases()))
def test_two_processes_give_what_one_gives(name: str, done: Path) -> None:
    case = cases()[name]
    alone = kept(case, done / "alone" / name)
    assert 0 < apart(kept(case, done / name), alone) < case.rounding
    if case.training.auxiliary and case.arms[0].architecture.l0 <= 3:
        assert max(float(run.curve["dead"].max()) for run in alone) > 0, "the auxiliary loss had latents"


@pytest.mark.parametrize("name", ["gone on", "done", "gone on at 12", "gone on at 16"])
def test_a_run_that_failed_and_was_stopped_goes_on_in_two_processes_and_in_one(name: str, done: Path) -> None:
    case = interrupted()
    assert apart(kept(case, done / name), kept(case, done / "alone" / "interrupted")) < case.rounding


def test_bad_input_is_refused_by_both_processes(done: Path) -> None:
    said, other = (json.loads((done / f"said-{rank}.json").read_text()) for rank in (0, 1))
    assert said == other
    wanted = {
        "odd": "25 latents, which 2 processes cannot share evenly",
        "untrained": "learns nothing",
        "agreement": "spends steps on finding directions",
        "objective": "even encoder, has a part in every step",
        "constraint": "does not fit rows of 8",
        "streams": "given different arms, streams or settings",
        "steps": "a checkpoint of another run",
    }
    assert said.keys() == wanted.keys()
    for name, words in wanted.items():
        assert words in said[name]


def test_without_torchrun(stream: SmallStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(BadInputError, match=r"finds no RANK: .*`torchrun --nproc-per-node 2"):
        train_sharded([Arm(TopK(3), 24)], stream, steps=1)


def test_no_two_processes_on_one_card() -> None:
    assert shared_card([("a", "cuda:0"), ("a", "cuda:1"), ("b", "cuda:0")]) == ""
    assert shared_card([("a", "cpu"), ("a", "cpu")]) == ""
    twice = [("b", "cuda:1"), ("a", "cuda:1"), ("b", "cuda:1")]
    assert "two processes on b train on cuda:1" in shared_card(twice)


def test_what_belongs_to_latents() -> None:
    shared = ["b_dec", "weights.b_dec", "b_dec.exp_avg", "weights.W_skip", "W_enc.step"]
    assert not any(per_latent(name) for name in shared)
    assert all(per_latent(name) for name in ("directions", "W_enc", "weights.b_enc", "W_dec.exp_avg_sq"))
