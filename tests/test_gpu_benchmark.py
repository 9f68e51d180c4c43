"""The benchmark for a graphics card, on a processor: what it would run runs, and it says what it did not."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # benchmarks/ is run from there, and not installed

from benchmarks import gpu, gpu_parity, gpu_peers, gpu_report
from benchmarks.inputs import Shape
from sanity.models import BatchTopK

TINY = Shape(d=16, m=64, batch=32, k=4)


class Clock:
    """Stands in for the card's events."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, other: Clock) -> float:
        return 1e3 * (other.at - self.at)


@pytest.fixture
def as_if_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.Event", Clock)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda: None)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 1e9)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a processor in a test")
    monkeypatch.setattr(gpu, "BURN_IN", 2)
    monkeypatch.setattr(gpu, "MANY", 3)
    monkeypatch.setattr(gpu, "_milliseconds", lambda step: step(0) or 2.0)


@pytest.mark.slow
@pytest.mark.usefixtures("as_if_on_a_card")
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_every_row_is_made_and_shown() -> None:
    known = gpu_peers.rates("cpu", size=1 << 10, n=16)
    found = gpu.timed([TINY], "cpu", known, time.monotonic() + 600)
    assert not [row for row in found["table"] + found["many"] if "failed" in row]
    assert [(row["arms"], row["batches"], row["reads"]) for row in found["many"]] == [
        (1, "given", 0), (1, "drawn", 0), (3, "given", 0), (3, "drawn", 0)
    ]  # fmt: skip
    stacked = [
        row for row in found["table"] if row["name"].startswith("ours") and "one arm" not in row["name"]
    ]
    (single,) = [row for row in found["table"] if "one arm at a time" in row["name"]]
    assert all(row["reads"] == 0 for row in stacked)
    assert single["reads"] > 8, "and reads are counted"
    text = gpu_report.page(
        found | {"rates": known, "parity": {"rows": [], "device": "", "steps": 0, "kernels": ""}}
    )
    assert all(f"| {row['name']} | 2.00 |" in text for row in found["table"])
    assert "| 3 | drawn | 2.00 |" in text
    rows = {row["name"]: row for row in found["table"]}
    assert "| product alone, bf16 | 2.00 |  |" in text, "it is no step, and nothing is compared with it"
    assert "ours, TopK, tf32" in rows


@pytest.mark.usefixtures("as_if_on_a_card")
def test_what_the_time_does_not_suffice_for_is_left_out_in_words() -> None:
    known = {"copy": 1e12, "f32": 1e12, "tf32": 1e12, "bf16": 1e12}
    found = gpu.timed([TINY], "cpu", known, time.monotonic() - 1)
    rows = found["table"] + found["many"]
    assert {row["failed"] for row in rows} == {"left out: the time was up"}
    none = {"rows": [], "device": "", "steps": 0, "kernels": ""}
    text = gpu_report.page(found | {"rates": known, "parity": none})
    assert text.count("left out: the time was up") == len(rows)


def test_sparsify_is_found_where_make_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_peers, "ENVS", tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    assert not gpu_peers.find_sparsify()
    where = tmp_path / "eai-sparsify/lib/python3.12/site-packages"
    (where / "sparsify").mkdir(parents=True)
    (where / "sparsify/__init__.py").touch()
    assert gpu_peers.find_sparsify()
    assert sys.path[-1] == str(where), "after everything that this environment has"


def test_the_floor_is_what_the_shape_needs() -> None:
    """The figure of a large shape on an H200, by hand: about nine milliseconds."""
    known = {"copy": 4.3e12, "bf16": 760e12}
    assert 8 < gpu_peers.floor_ms(gpu.LARGE, known) < 11


def test_without_a_card_it_says_so_and_keeps_what_a_card_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(gpu_parity, "kernels", lambda device: None)
    monkeypatch.setattr("sys.argv", ["gpu", "--out", str(tmp_path)])
    with torch.no_grad():
        gpu.main()
    assert "there is no NVIDIA card here" in capsys.readouterr().out
    rows = json.loads((tmp_path / "gpu.json").read_text())["parity"]["rows"]
    assert [row["reads_stacked"] for row in rows] == [0] * 5
    assert max(row["difference_plain"] for row in rows) < 1e-4
    assert "nothing here is a time" in (tmp_path / "GPU.md").read_text()
    (tmp_path / "gpu.json").write_text('{"card": "an H100"}')
    gpu.main()
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"card": "an H100"}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="here `make bench-gpu` itself runs them on the card")
def test_the_parity_part_runs_the_kernels_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Triton's interpreter, which is slow: of one architecture."""
    if "SANITY_TEST_TRITON" in os.environ:
        sys.path.append(os.environ["SANITY_TEST_TRITON"])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="Triton is not installed: `make test` puts it where this finds it")
    monkeypatch.setattr(gpu_parity, "KINDS", (BatchTopK(4),))
    monkeypatch.setattr(gpu_parity, "STEPS", 2)
    found = gpu_parity.parity("cpu")
    assert found["kernels"] == "Triton's interpreter"
    (row,) = found["rows"]
    assert 0 < row["difference_kernels"] < 1e-4
    assert row["difference_kernels"] != row["difference_plain"], "other sums, and so other rounding"
    assert gpu_report.page({"card": None, "parity": found}).count("Triton's interpreter") == 1


def test_make_brings_triton_to_the_benchmark() -> None:
    """Without it the parity part has no kernels to run."""
    lines = (Path(__file__).parent.parent / "Makefile").read_text("utf-8").splitlines()
    (rule,) = [line for line in lines if line.startswith("bench-gpu:")]
    assert "triton" in rule.partition("##")[0]
