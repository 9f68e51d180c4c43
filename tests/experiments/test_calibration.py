"""The calibration of this machine: it follows what work takes, and costs are told with it."""

from __future__ import annotations

import pytest
import torch

from sanity.engine.cells import Cost
from sanity.experiments import calibration
from sanity.experiments.calibration import KINDS, on_average, ratios, slowness
from sanity.publishing import cost_words


@pytest.fixture(autouse=True)
def measured_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere but in tests, which measure once."""
    monkeypatch.setattr("sanity.experiments.calibration.ratios", ratios)


def test_slowness_is_the_weighted_mean_of_what_kinds_of_work_take(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = KINDS["cpu"]
    monkeypatch.setattr(calibration, "_kinds", lambda _: dict.fromkeys(kinds, lambda: None))
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    assert slowness() == pytest.approx(sum(kind.share / kind.reference for kind in kinds.values()))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_kind_has_a_share_and_a_reference(device: str) -> None:
    # The card's work, small and on a processor, where there is no card.
    work = calibration._on_a_card("cpu", 16, 64) if device == "cuda" else calibration._kinds(device)
    assert sum(kind.share for kind in KINDS[device].values()) == pytest.approx(1)
    assert work.keys() == KINDS[device].keys()
    for one in work.values():
        one()


def test_what_is_here_is_measured_and_what_is_not_is_not() -> None:
    found = slowness("cpu", 1)
    assert found is not None
    assert 0 < found < 1000
    assert (slowness("cuda", 1) is None) == (not torch.cuda.is_available())


def test_ratios_are_of_each_kind_and_their_mean_is_by_shares() -> None:
    found = dict.fromkeys(KINDS["cpu"], 1.0) | {"a language model": 3.0}
    assert on_average(found) == pytest.approx(1 + 2 * KINDS["cpu"]["a language model"].share)
    assert on_average(None, "cuda") is None


def test_a_cost_is_told_for_this_machine_too() -> None:
    cost = Cost(600.0, disk_bytes=10**9, memory_bytes=10**9)
    assert "on this machine" not in cost_words(cost)
    assert (
        "about 10 min on two cores (on this machine, as a calibration just measured it: 25 min)"
        in cost_words(cost, slowness=2.5)
    )
    assert "(on this card, as a calibration just measured it: 25 min)" in cost_words(cost, "cuda", 2.5)
