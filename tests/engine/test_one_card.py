"""A graphics card is used by one process at a time, and by one of this machine's, not by one per core."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sanity.engine import computing
from sanity.engine.cells import Cell, Task, computes
from sanity.engine.computing import compute
from sanity.engine.leases import card_alone
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError

SEEN: list[str] = []
begun, waited_for = threading.Event(), threading.Event()


@dataclass(frozen=True)
class On:
    """A configuration that names a device."""

    n: int
    device: str
    version = "1"


@computes("test_one_card.first", version=1)
def first(task: Task) -> None:
    """Goes on when somebody else says that it waits for the card."""
    begun.set()
    SEEN.append(f"other waits: {waited_for.wait(30)}")
    task.save_json("answer", {})


@computes("test_one_card.number", version=1)
def number(task: Task) -> None:
    SEEN.append(f"number {task.config.n}")
    task.save_json("answer", {"value": task.config.n})


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No card of this machine's is waited for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    SEEN.clear()


class Waiting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "graphics card 0; waiting for it" in record.getMessage():
            waited_for.set()


def test_two_cells_that_want_the_card_wait_for_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(computing, "usable_device", lambda _: None)
    store = LocalStore(tmp_path / "store")
    caplog.set_level(logging.INFO, "sanity")
    logging.getLogger("sanity").addHandler(handler := Waiting())
    holder = threading.Thread(target=compute, args=([first.cell(On(0, "cuda"), label="first")], store))
    try:
        holder.start()
        assert begun.wait(30)
        compute([number.cell(On(1, "cpu"), label="on cores")], store)
        compute([number.cell(On(2, "cuda"), label="on the card")], store)
    finally:
        waited_for.set()
        holder.join(30)
        logging.getLogger("sanity").removeHandler(handler)
    assert SEEN == ["number 1", "other waits: True", "number 2"]


def test_cards_are_told_apart_by_what_a_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    for seen in ("0,1", "1", "GPU-8f3a/x"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
        with card_alone():
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"2{seen}")
            with card_alone():
                pass


def test_the_card_is_the_one_that_the_device_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8f")
    with card_alone("cuda:1"), card_alone("cuda"):
        held = {path.name.rpartition("-card-")[2] for path in tmp_path.glob("sanity-card-*")}
    assert {name.endswith(("-3.lock", "-GPU-8f.lock")) for name in held} == {True}
    assert len(held) == 2
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with card_alone("cuda:1"), card_alone():
        pass
    assert number.cell(On(1, "cuda:1"), label="").card == "cuda:1"
    assert number.cell(On(1, "cpu"), label="").card is None


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("no name")])
def test_a_user_without_a_name_has_a_number(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with card_alone():
        assert (tmp_path / f"sanity-card-{os.getuid()}-0.lock").exists()


def test_a_card_that_is_not_here_is_refused_before_anything_runs(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a graphics card")
    cells = [number.cell(On(1, "cpu"), label="on cores"), number.cell(On(2, "cuda"), label="on the card")]
    with pytest.raises(BadInputError, match=r"^on the card wants a graphics card: there is no device 'cuda'"):
        compute(cells, LocalStore(tmp_path / "store"))
    assert SEEN == []


def test_what_wants_the_card_is_computed_here_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cells(*, wants: bool) -> list[Cell]:
        made = [number.cell(On(n, "cpu"), label=str(n), threads=1) for n in range(3)]
        for cell in made:
            cell.__dict__.update(wants_card=wants)
        return made

    monkeypatch.setattr(computing, "places", lambda **_: 4)
    monkeypatch.setattr(Cell, "runs_elsewhere", True)
    assert computing._at_once(cells(wants=False)) == 4
    assert computing._at_once(cells(wants=True)) == 1
    store = LocalStore(tmp_path / "store")
    wanted = cells(wants=True)
    compute(wanted, store)
    assert [require(cell, store).json("answer")["value"] for cell in wanted] == [0, 1, 2]
    assert sorted(SEEN) == ["number 0", "number 1", "number 2"], "in this process"
