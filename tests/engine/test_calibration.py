"""The calibration of this machine: it follows what work takes, and costs are told with it."""

from __future__ import annotations

import pytest

from sanity.engine import calibration
from sanity.engine.calibration import REFERENCE, SHARES, slowness
from sanity.engine.cells import Cost
from sanity.publishing import cost_words


def test_slowness_is_the_weighted_mean_of_what_kinds_of_work_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_kinds", lambda: dict.fromkeys(SHARES, lambda: None))
    clock = iter(range(1000))
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: float(next(clock)))
    assert slowness() == pytest.approx(sum(share / REFERENCE[name] for name, share in SHARES.items()))


def test_every_kind_has_a_share_and_a_reference() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert calibration._kinds().keys() == SHARES.keys() == REFERENCE.keys()
    assert 0 < slowness(1) < 1000


def test_a_cost_is_told_for_this_machine_too() -> None:
    cost = Cost(600.0, disk_bytes=10**9, memory_bytes=10**9)
    assert "on this machine" not in cost_words(cost)
    assert (
        "about 10 min on two cores (on this machine, as a calibration just measured it: 25 min)"
        in cost_words(cost, slowness=2.5)
    )
    assert "on this machine" not in cost_words(cost, "cuda", 2.5)
