"""The benchmarks: that all implementations do the same work, and that numbers are read off rightly."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # benchmarks/ is run from there, and not installed

from benchmarks import client, report, training
from benchmarks.client import ALL, IMPLEMENTATIONS, PEERS, Implementation, Worker
from benchmarks.inputs import TINY, task, write_batches, write_weights
from sanity.errors import AssetError, SanityError
from sanity.models import TopK
from sanity.models.encoding import multiplies_bf16
from sanity.models.plain import PlainAutoencoder

STEPS = 3
OWN = Implementation("sanity", "own.py", None, ALL)
# The development environment has sae-lens, too, so that one peer can be compared without a set-up.
SAE_LENS = Implementation("sae-lens", "peer_sae_lens.py", None, ALL)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("inputs")
    write_batches(TINY, folder)
    return folder, write_weights(TINY, folder, burn_in=4)


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[[Implementation], Worker]]:
    """A worker of an implementation, the same for all tests: each takes seconds to import its library."""
    with ExitStack() as stack:
        yield functools.cache(lambda one: stack.enter_context(Worker(one, threads=1)))


def trained(
    worker: Worker, inputs: tuple[Path, dict[str, float]], architecture: str, steps: int = STEPS
) -> tuple[list[float], dict[str, Any]]:
    """Losses of the first steps, and what is found afterwards."""
    full = task(TINY, inputs[0], architecture, "float32", threads=1, **inputs[1])
    worker.ask("prepare", task=full, rehearsal=full)
    losses = [worker.ask("step")["loss"] for _ in range(steps)]
    return losses, worker.ask("inspect")


def plain_losses(folder: Path, steps: int) -> list[float]:
    """TopK by autograd on dense products, with the work that the benchmark names."""
    names = ("W_enc", "W_dec", "b_enc", "b_dec")
    weights = {name: torch.from_numpy(np.load(folder / f"topk.{name}.npy")) for name in names}
    plain = PlainAutoencoder(TopK(TINY.k), weights["W_dec"])
    plain.load_state_dict(weights, strict=False)
    optimiser, losses = torch.optim.Adam(plain.parameters(), lr=3e-4), []
    for x in torch.from_numpy(np.load(folder / "batches.npy"))[:steps]:
        loss = plain.loss(x)
        optimiser.zero_grad()
        loss.backward()
        plain.only_turn()
        optimiser.step()
        plain.make_unit()
        losses.append(loss.item())
    return losses


def test_our_worker_does_the_work_that_is_stated(
    start: Callable[[Implementation], Worker], inputs: tuple[Path, dict[str, float]]
) -> None:
    losses, found = trained(start(OWN), inputs, "topk")
    assert losses == pytest.approx(plain_losses(inputs[0], STEPS), rel=1e-4)
    assert found["l0"] == TINY.k


@pytest.mark.slow
def test_sae_lens_does_the_same_work(
    start: Callable[[Implementation], Worker], inputs: tuple[Path, dict[str, float]]
) -> None:
    own, peer = start(OWN), start(SAE_LENS)
    for architecture in ALL:
        (ours, found), (theirs, other) = (trained(worker, inputs, architecture) for worker in (own, peer))
        assert ours[0] == pytest.approx(theirs[0], rel=1e-4), architecture
        # JumpReLU's penalty is controlled, and its thresholds learn as logarithms, with us only.
        if architecture != "jumprelu":
            assert ours == pytest.approx(theirs, rel=1e-4), architecture
        assert found["squared_error"] == pytest.approx(other["squared_error"], rel=0.02), architecture
        assert found["l0"] == pytest.approx(other["l0"], rel=0.05), architecture


def test_time_and_memory_are_those_of_the_steps(
    start: Callable[[Implementation], Worker], inputs: tuple[Path, dict[str, float]]
) -> None:
    worker = start(OWN)
    trained(worker, inputs, "batchtopk", steps=1)
    seen = worker.ask("step")
    assert 0 < seen["wall_s"] < 5
    assert 0 < seen["cpu_s"] < 5
    peak = worker.ask("peak")["peak_bytes"]
    assert peak is None or 0 <= peak < 200e6  # torch alone is more


def test_a_worker_that_dies_leaves_its_last_words(tmp_path: Path) -> None:
    broken = Implementation("broken", str(tmp_path / "broken.py"), None, ALL)
    (tmp_path / "broken.py").write_text("raise SystemExit('no such library')")
    with (
        Worker(broken, threads=1) as worker,
        pytest.raises(SanityError, match=r"broken[\s\S]*no such library"),
    ):
        worker.ask("step")


def test_what_a_library_prints_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(client.HERE / 'workers')!r})\n"
        "print('Triton not installed')\n"
        "from protocol import serve\n"
        "serve(lambda task: None, ())\n"
    )
    with Worker(Implementation("chatty", str(tmp_path / "chatty.py"), None, ALL), threads=1) as worker:
        assert worker.ask("release") == {}


def test_a_missing_environment_is_named() -> None:
    absent = Implementation("absent", "own.py", "absent", ALL)
    with pytest.raises(AssetError, match=r"envs/absent.*make bench"):
        Worker(absent, threads=1)


def row(implementation: str, cpu: list[float], peak: int, precision: str = "float32") -> dict[str, Any]:
    return {
        "implementation": implementation,
        "architecture": "topk",
        "shape": {"d": 4, "m": 8, "batch": 2, "k": 1},
        "precision": precision,
        "wall_s": cpu[1],
        "cpu_s": sorted(cpu)[1],
        "tokens_per_s": 1.0,
        "peak_bytes": peak,
        "l0": 1.0,
        "squared_error": 0.5,
        "rounds": {"cpu_s": cpu, "wall_s": cpu},
    }


def test_ratios_are_taken_within_a_round() -> None:
    # A slow second round: the ratio of medians would be 2.1.
    ours, theirs = row("sanity", [1.0, 10.0, 1.0], 5), row("sae-lens", [2.0, 21.0, 2.1], 10)
    assert report.paired_ratio(theirs, ours) == pytest.approx(2.1)
    assert report.paired_ratio(row("sae-lens", [2.0, 30.0, 4.0], 1), ours) == pytest.approx(3.0)


def test_summary_names_the_fastest_and_the_leanest_peer() -> None:
    rows = [
        row("sanity", [1.0, 1.0, 1.0], 50),
        row("sanity", [0.5, 0.5, 0.5], 60, "bf16"),
        row("sae-lens", [4.0, 4.0, 4.0], 100),
        row("sae-lens", [0.1, 0.1, 0.1], 90, "bf16"),  # not exact, so not the fastest peer
        row("eai-sparsify", [3.0, 3.0, 3.0], 200),
        row("floor", [0.7, 0.7, 0.7], 1),
        row("floor-onednn", [0.4, 0.4, 0.4], 1),
    ]
    found = report.summary(rows)
    assert found["fastest"] == "eai-sparsify"
    assert (found["cpu"], found["cpu_bf16"], found["share"], found["share_onednn"]) == (3.0, 6.0, 0.7, 0.4)
    assert found["leanest"] == "sae-lens, bf16 autocast"
    assert found["memory"] == pytest.approx(50 / 90)


@pytest.mark.slow
def test_a_run_prints_and_stores_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = [one.name for one in IMPLEMENTATIONS if one.environment is not None]
    small = ["--shapes", "tiny", "--rounds", "2", "--burn-in", "2", "--threads", "1"]
    training.main([*small, "--out", str(tmp_path), "--without", *away])
    stored = json.loads((tmp_path / "training.json").read_text())
    assert stored["cpu"]["model"]
    assert stored["versions"]["sanity"]["torch"] == torch.__version__
    keys = {(row["implementation"], row["architecture"], row["precision"]) for row in stored["rows"]}
    assert keys == {
        *((name, architecture, precision) for name in ("sanity", "floor") for architecture in ALL
          for precision in (("float32", "bf16") if multiplies_bf16() else ("float32",))),
        *(("floor-onednn", architecture, "float32") for architecture in ALL),
    }  # fmt: skip
    for line in stored["rows"]:
        assert line["shape"] == {"d": 16, "m": 64, "batch": 32, "k": 4}
        assert line["wall_s"] > 0
        assert line["cpu_s"] > 0
        assert line["peak_bytes"] is None or line["peak_bytes"] >= 0
    printed, written = capsys.readouterr().out, (tmp_path / "RESULTS.md").read_text()
    assert "encoder product alone" in printed
    assert "| batchtopk |" in written


def test_every_peer_has_pins_with_the_versions_that_are_compared(repository: Path) -> None:
    stated = {"sae-lens": None, "eai-sparsify": "1.3.3", "dictionary-learning": "0.1.0"}
    lock = dict(re.findall(r"^([\w.-]+)==(.+)$", (repository / "requirements.lock").read_text(), re.M))
    for name, version in stated.items():
        text = (repository / "benchmarks" / "peers" / f"{name}.txt").read_text()
        pins = dict(re.findall(r"^([\w.-]+)==(.+)$", text, re.M))
        assert pins[name] == (version or lock[name])
        assert not {"torch", "torchvision", "triton"} & set(pins)
        assert not any(pin.startswith("nvidia") for pin in pins)
    assert {one.environment for one in IMPLEMENTATIONS if one.name in PEERS} == set(stated)


def test_make_bench_builds_every_environment(repository: Path) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "bench"],
        cwd=repository, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    for environment in {one.environment for one in IMPLEMENTATIONS} - {None}:
        python = f'"benchmarks/envs/{environment}/bin/python"'
        assert f"{python} -m pip install" in done.stdout
        assert f"--python {python} --no-deps -r benchmarks/peers/{environment}.txt" in done.stdout
    assert done.stdout.index("-m benchmarks.training") < done.stdout.index("-m benchmarks.scaling")


def test_the_measurements_in_the_repository_are_whole(repository: Path) -> None:
    stored = json.loads((repository / "benchmarks" / "training.json").read_text())
    found = {
        (row["implementation"], row["architecture"], row["shape"]["d"])
        for row in stored["rows"]
        if row["precision"] == "float32"
    }
    assert found == {
        (one.name, architecture, d) for one in IMPLEMENTATIONS for architecture in one.architectures
        for d in (768, 100)
    }  # fmt: skip
    varied = {
        row["varied"] for row in json.loads((repository / "benchmarks" / "scaling.json").read_text())["rows"]
    }
    assert varied == {"m", "batch", "arms", "steps"}
