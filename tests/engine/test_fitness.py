"""What a client asks of the workers of a cluster: a process of its own for a cell, and a card of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sanity.engine import fitness
from sanity.engine.fitness import Edition, card_seen, refuse_shared_cards, unfit
from sanity.errors import BadInputError


def worker(*, threads: int = 1, cards: int = 0) -> Any:
    offers = {"GPU": float(cards)} if cards else {}
    return SimpleNamespace(state=SimpleNamespace(nthreads=threads, total_resources=offers))


def test_a_worker_with_a_card_sees_that_card_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Edition.here()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert unfit(here, worker()) == "", "cores are not asked about cards"
    assert "sees 2 graphics cards" in unfit(here, worker(cards=1))
    assert "CUDA_VISIBLE_DEVICES=0" in unfit(here, worker(cards=1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert unfit(here, worker(cards=1)) == ""
    assert "2 threads" in unfit(here, worker(threads=2))


def test_two_workers_on_one_card_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="8f3a"))
    monkeypatch.setattr(fitness.socket, "gethostname", lambda: "node")
    assert card_seen(worker()) is None
    assert card_seen(worker(cards=1)) == ("node", "8f3a")
    refuse_shared_cards({"a": ("node", "8f3a"), "b": ("other", "8f3a"), "c": None, "d": None})
    with pytest.raises(BadInputError, match=r"workers a and c use the same graphics card of node"):
        refuse_shared_cards({"a": ("node", "8f3a"), "b": ("node", "1"), "c": ("node", "8f3a")})
