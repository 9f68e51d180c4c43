"""Memory that runs out: the cell is named, what was asked, what was free, and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cluster_cells import runs_out

from sanity.engine import computing, shortage
from sanity.engine.cells import Cell, Task, computes
from sanity.engine.cluster import Edition, _compute_there
from sanity.engine.computing import compute
from sanity.engine.shortage import shortage_told
from sanity.engine.store import LocalStore
from sanity.errors import SanityError

WAY_OUT = "or ask for fewer latents or smaller batches; then run again: what is finished stays"


@computes("test_shortage.on_card", version=1)
def on_card(task: Task) -> None:
    task.save_json("answer", {})


def cell(folder: Path) -> Cell:
    return runs_out.cell({"trace": str(folder)}, label="too large")


def test_a_card_without_memory_is_told_with_what_was_asked(tmp_path: Path) -> None:
    with pytest.raises(SanityError) as told:
        compute([cell(tmp_path)], LocalStore(tmp_path / "store"))
    assert str(told.value).startswith(
        "too large: the graphics card is out of memory (it asked for 2.00 GiB more, and 1.05 GiB were free): "
        "end what else uses the card (see nvidia-smi), "
    )
    assert WAY_OUT in str(told.value)
    assert isinstance(told.value.__cause__, torch.OutOfMemoryError)


def test_a_machine_without_memory_is_told() -> None:
    for fails, words in (
        (lambda: torch.empty(2**60, dtype=torch.uint8), r" \(it asked for 1\.15e\+09 GB more\): end"),
        (lambda: bytearray(2**62), ": end"),
    ):
        with (
            pytest.raises(SanityError, match=f"^it: this machine is out of memory{words}"),
            shortage_told("it"),
        ):
            fails()
    with pytest.raises(RuntimeError, match="other"), shortage_told("it"):
        raise RuntimeError("other")


def test_on_a_worker_it_is_a_refusal_that_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer, which is not tried again, as an error is; without the frames in which it was raised."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "get_worker", lambda: None)
    monkeypatch.setattr("sanity.engine.cluster.unfit", lambda *_: "")
    where = str(tmp_path / "store")
    answer = _compute_there(computing._compute_group, [cell(tmp_path)], where, Edition.here())
    assert isinstance(answer, SanityError)
    assert "2.00 GiB" in str(answer)
    assert answer.__traceback__ is answer.__cause__ is answer.__context__ is None
    assert len((tmp_path / "too large.txt").read_text().splitlines()) == 1


def test_whoever_leaves_the_card_gives_its_memory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("empty"))
    compute([on_card.cell({"n": 1}, label="on cores")], LocalStore(tmp_path / "store"))
    assert done == []
    wants = on_card.cell({"n": 2}, label="on the card")
    wants.__dict__["wants_card"] = True
    compute([wants], LocalStore(tmp_path / "store"))
    assert done == ["empty"]
    assert shortage._words(torch.OutOfMemoryError("no numbers")) is not None
