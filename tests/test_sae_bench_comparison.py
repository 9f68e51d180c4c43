"""The comparison with sae-bench that is in the repository: whole, in agreement, and what its page says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.sae_bench_report import READINGS, pairs, report, with_mean_ablation

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def test_the_stored_numbers_agree_where_the_definitions_do() -> None:
    found = pairs(json.loads((FOLDER / "sae_bench.json").read_text()))
    assert set(found) == {*READINGS, "variance, all", "variance, kept first"}
    for rows in found.values():
        assert len(rows) >= 4
        for ours, peer in rows.values():
            assert ours == pytest.approx(peer, rel=1e-5)


def test_the_page_is_made_of_the_stored_numbers() -> None:
    raw = json.loads((FOLDER / "sae_bench.json").read_text())
    assert (FOLDER / "SAE_BENCH.md").read_text() == report(raw)


def test_mean_ablation_is_the_constant_sae() -> None:
    sae = {"ce_loss_without_sae": 2.0, "ce_loss_with_sae": 3.0, "kl_div_with_sae": 1.0}
    found = with_mean_ablation(sae, {"ce_loss_with_sae": 6.0, "kl_div_with_sae": 5.0})
    assert found["ce_loss_score"] == 0.75
    assert found["kl_div_score"] == 0.8


def test_the_pins_of_the_peer_leave_torch_to_pip() -> None:
    pins = (FOLDER / "peers" / "sae-bench.txt").read_text().splitlines()[1:]
    assert "sae-bench==0.6.0" in pins
    assert not [pin for pin in pins if pin.startswith(("torch==", "torchvision", "triton", "nvidia"))]
