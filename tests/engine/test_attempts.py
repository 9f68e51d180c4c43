"""Two owners of one key: a stopped one that wakes neither breaks nor publishes its successor's work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from sanity.engine.cells import Cell, Task, computes
from sanity.engine.computing import compute
from sanity.engine.results import MANIFEST
from sanity.engine.store import KEPT_DAMAGED, LocalStore, SupersededError, require
from sanity.errors import CorruptFileError, SanityError


@computes("test_attempts.numbers", version=1)
def numbers(task: Task) -> None:
    task.save_json("a", {"value": task.config["n"]})
    task.save_json("b", {"value": task.config["n"] + 1})


@computes("test_attempts.nothing", version=1)
def nothing(task: Task) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def cell() -> Cell:
    return numbers.cell({"n": 1}, label="numbers")


def test_who_was_taken_over_cannot_publish(store: LocalStore, cell: Cell) -> None:
    first = store.start(cell, {})
    first.save_json("a", {"value": 1})
    (first.scratch / "checkpoint").write_text("half")
    (first.scratch / ".checkpoint.1-abcdef.part").write_text("less than half")
    second = store.start(cell, {})
    assert (second.scratch / "checkpoint").read_text() == "half"
    assert [path.name for path in second.scratch.iterdir()] == ["checkpoint"]
    assert not list(second.folder.iterdir())
    first.save_json("b", {"value": 2})  # it does not know yet
    with pytest.raises(SupersededError):
        store.put(first, seconds=1.0)
    second.save_json("a", {"value": 1})
    second.save_json("b", {"value": 2})
    store.put(second, seconds=1.0)
    assert sorted(require(cell, store).files) == ["a.json", "b.json"]
    with pytest.raises(SupersededError):
        store.put(first, seconds=1.0)


def test_who_publishes_second_reads_what_the_first_has_published(store: LocalStore, cell: Cell) -> None:
    task = store.start(cell, {})
    numbers.run([task])
    elsewhere = LocalStore(store.root)
    os.rename(task.attempt, task.attempt.with_name("aside"))
    winner = elsewhere.put(_done(elsewhere, cell), seconds=7.0)
    os.makedirs(task.attempt.parent, exist_ok=True)
    assert not list(task.attempt.parent.iterdir())
    task = _done(store, cell)
    assert store.put(task, seconds=1.0).seconds == winner.seconds == 7.0


def _done(store: LocalStore, cell: Cell) -> Task:
    task = store.start(cell, {})
    numbers.run([task])
    return task


IN_PLACE: dict[str, Callable[[Path], object]] = {
    "an empty folder": lambda path: path.mkdir(),
    "a folder without manifest": lambda path: (path.mkdir(), (path / "a.json").write_text("{}")),
    "a file": lambda path: path.write_bytes(b""),
    "a dead link": lambda path: path.symlink_to("nothing"),
    "a loop": lambda path: path.symlink_to(path),
    "a manifest that is a folder": lambda path: (path / MANIFEST).mkdir(parents=True),
}


@pytest.mark.parametrize("what", sorted(IN_PLACE))
def test_what_is_no_result_makes_way_for_one(store: LocalStore, cell: Cell, what: str) -> None:
    target = store.root / "results" / cell.key
    IN_PLACE[what](target)
    with pytest.raises(CorruptFileError, match=cell.key):
        store.get(cell.key)
    compute([cell], store)
    assert require(cell, store).json("b") == {"value": 2}
    # It may come while the result is computed, too.
    store.remove(cell.key)
    task = _done(store, cell)
    IN_PLACE[what](target)
    store.put(task, seconds=1.0)
    assert require(cell, store).json("b") == {"value": 2}


def test_damaged_results_are_kept_for_inspection_but_not_for_ever(store: LocalStore, cell: Cell) -> None:
    for _ in range(KEPT_DAMAGED + 3):
        compute([cell], store)
        (store.root / "results" / cell.key / "a.json").write_text("{}")
    compute([cell], store)
    assert len(list((store.root / "damaged").iterdir())) == KEPT_DAMAGED


def test_a_function_that_saves_nothing_is_refused(store: LocalStore) -> None:
    with pytest.raises(SanityError, match="left no file"):
        compute([nothing.cell({}, label="nothing")], store)


SCRIPT = """
import sys, time
from pathlib import Path
from sanity.engine import leases
from sanity.engine.cells import computes
from sanity.engine.computing import compute
from sanity.engine.files import write_atomically
from sanity.engine.store import LocalStore, require

leases.LEASE_SECONDS = 2.0

@computes("test_attempts.steps", version=1)
def steps(task):
    done = len(list(task.scratch.glob("step-*")))
    for step in range(done, 30):
        time.sleep(0.02)
        write_atomically(task.scratch / f"step-{step}", str(step))
        print(step, flush=True)
    task.save_json("answer", {"steps": sorted(p.read_text() for p in task.scratch.glob("step-*"))})

store, cell = LocalStore(Path(sys.argv[1])), steps.cell({}, label="steps")
compute([cell], store)
print(require(cell, store).files["answer.json"]["sha256"], len(require(cell, store).json("answer")["steps"]))
"""


def test_a_stopped_owner_that_wakes_uses_what_its_successor_made(tmp_path: Path) -> None:
    script = tmp_path / "steps.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def launch() -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(tmp_path / "store")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with launch() as stopped:
        assert stopped.stdout is not None
        for _ in range(5):
            stopped.stdout.readline()
        os.kill(stopped.pid, signal.SIGSTOP)
        with launch() as successor:
            assert successor.stdout is not None
            taken_over = successor.stdout.readline()
            os.kill(stopped.pid, signal.SIGCONT)
            outs = [process.communicate(timeout=120) for process in (stopped, successor)]
    assert [process.returncode for process in (stopped, successor)] == [0, 0], outs
    assert int(taken_over) >= 5, "the successor goes on where the stopped one was"
    ends = [out.strip().splitlines()[-1] for out, _ in outs]
    assert ends[0] == ends[1]
    assert ends[0].endswith(" 30")
    assert not list((tmp_path / "store" / "scratch").iterdir())
