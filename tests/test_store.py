"""The store: atomic, leased, verified, resumable; keys that depend on the recipe alone."""

import dataclasses
import errno
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from sanity.engine.cells import Cell, Result, Task, computes, in_order
from sanity.engine.computing import compute, results
from sanity.engine.store import LocalStore, missing, require
from sanity.errors import BadInputError, CorruptFileError, SanityError, StorageError

CALLS: list[tuple[str, ...]] = []


@computes("test_store.square", version=1)
def square(task: Task) -> None:
    CALLS.append((task.cell.label,))
    task.save_json("answer", {"value": task.config["n"] ** 2})


@computes("test_store.add", version=1)
def add(task: Task) -> None:
    CALLS.append((task.cell.label,))
    task.save_json("answer", {"value": sum(r.json("answer")["value"] for r in task.inputs.values())})


@computes("test_store.shared", version=1, together=lambda cell: cell.config["group"])
def shared(tasks: Sequence[Task]) -> None:
    CALLS.append(tuple(sorted(task.cell.label for task in tasks)))
    for task in tasks:
        task.save_tensors("row", {"x": torch.full((2,), float(task.config["n"]))})
        task.save_table("rows", pd.DataFrame({"n": [task.config["n"]]}))


@computes("test_store.fails", version=1)
def fails(task: Task) -> None:
    task.save_json("half", {})
    raise SanityError("on purpose")


@computes("test_store.fills_the_disk", version=1)
def fills_the_disk(task: Task) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    CALLS.clear()
    return LocalStore(tmp_path / "store")


def square_of(n: int) -> Cell:
    return square.cell({"n": n}, label=f"square of {n}")


def test_inputs_first_each_once_and_nothing_twice(store: LocalStore) -> None:
    a, b = square_of(2), square_of(3)
    total = add.cell({}, inputs={"a": a, "b": b}, label="sum")
    again = add.cell({}, inputs={"b": b, "a": a}, label="the same sum, said otherwise")
    assert total.key == again.key
    compute([total, again], store)
    assert require(total, store).json("answer") == {"value": 13}
    assert sorted(CALLS) == [("square of 2",), ("square of 3",), ("sum",)]
    compute([total], store)
    assert len(CALLS) == 3
    assert store.list() == sorted(c.key for c in in_order([total]))


def test_key_depends_on_config_version_and_inputs_only() -> None:
    assert square_of(2).key == square.cell({"n": 2}, label="other words").key
    assert square_of(2).key != square_of(3).key
    assert square_of(2).key != dataclasses.replace(square, version=2).cell({"n": 2}, label="").key
    assert square_of(2).key == dataclasses.replace(square, module="elsewhere").cell({"n": 2}, label="").key
    assert square_of(2).key == square.cell({"n": 2}, label="", threads=1).key
    assert (
        add.cell({}, inputs={"a": square_of(1)}, label="").key
        != add.cell({}, inputs={"a": square_of(2)}, label="").key
    )


def test_two_functions_of_one_name_are_refused() -> None:
    def other(task: Task) -> None:
        raise AssertionError("never declared")

    other.__module__ = "elsewhere"
    with pytest.raises(
        BadInputError, match=r"elsewhere declares .*'test_store\.square', and so does test_store"
    ):
        computes("test_store.square", version=1)(other)
    assert square_of(2).function is square


def test_cells_of_one_company_are_computed_in_one_call(store: LocalStore) -> None:
    cells = [shared.cell({"group": g, "n": n}, label=f"{g}{n}") for g, n in [("x", 1), ("y", 2), ("x", 3)]]
    compute(cells[:1], store)
    compute(cells, store)
    assert CALLS == [("x1",), ("x3",), ("y2",)] or CALLS == [("x1",), ("y2",), ("x3",)]
    fresh = LocalStore(store.root.parent / "second")
    CALLS.clear()
    compute(cells, fresh)
    assert CALLS == [("x1", "x3"), ("y2",)]
    for cell in cells:
        assert torch.equal(require(cell, store).tensors("row")["x"], require(cell, fresh).tensors("row")["x"])
        assert require(cell, store).files == require(cell, fresh).files


def test_a_group_waits_until_all_of_its_members_can_run(store: LocalStore) -> None:
    early, late = square_of(2), add.cell({}, inputs={"a": square_of(3)}, label="late")
    group = [
        shared.cell({"group": "x", "n": n}, inputs={"from": source}, label=f"x{n}")
        for n, source in [(1, early), (2, late)]
    ]
    compute(group, store)
    assert CALLS[-1] == ("x1", "x2")
    assert len(CALLS) == 4


def test_failure_publishes_nothing_and_keeps_what_was_done(store: LocalStore) -> None:
    good, bad = square_of(5), fails.cell({}, label="bad")
    with pytest.raises(SanityError, match="on purpose"):
        compute([good, bad], store)
    assert store.list() == [good.key]


def test_full_disk_is_one_clear_error(store: LocalStore) -> None:
    with pytest.raises(StorageError, match=r"No space left.*kept.*GB are free"):
        compute([fills_the_disk.cell({}, label="big")], store)


def damage(result: Result, how: str) -> None:
    path = result.root / "answer.json"
    if how == "flip":
        raw = bytearray(path.read_bytes())
        raw[-3] ^= 1
        path.write_bytes(raw)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    elif how == "lose":
        path.unlink()
    else:
        (result.root / "manifest.json").write_text('{"key": "')


@pytest.mark.parametrize("how", ["flip", "cut", "lose", "manifest"])
def test_damage_is_named_never_used_and_mended(
    store: LocalStore, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    cell = square_of(7)
    (result,) = results([cell], store)
    damage(result, how)
    reader = LocalStore(store.root)
    with pytest.raises(CorruptFileError, match=cell.key):
        require(cell, reader).json("answer")
    with caplog.at_level(logging.WARNING, logger="sanity"):
        compute([cell], reader, verify=True)
    assert cell.key in caplog.text
    assert require(cell, reader).json("answer") == {"value": 49}


def test_asking_for_what_is_not_there(store: LocalStore) -> None:
    (result,) = results([square_of(1)], store)
    with pytest.raises(BadInputError, match=r"no file 'answers\.json'; it has: answer\.json"):
        result.json("answers")
    with pytest.raises(SanityError, match="square of 4"):
        require(square_of(4), store)


SCRIPT = """
import sys, time
from pathlib import Path
from sanity.engine.cells import computes
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.engine.files import write_atomically

@computes("test_store.slow", version=1)
def slow(task):
    '''Counts to 60, a checkpoint each step; the result names every step once.'''
    state = task.scratch / "state"
    done = state.read_text("utf-8").split() if state.exists() else []
    while len(done) < 60:
        time.sleep(0.02)
        done.append(str(len(done)))
        write_atomically(state, " ".join(done))
        print(len(done), flush=True)
    task.save_json("answer", {"steps": done})

cell = slow.cell({}, label="slow")
for folder in sys.argv[1:]:
    store = LocalStore(Path(folder))
    compute([cell], store)
    result = require(cell, store)
    print("published", result.key, result.files["answer.json"]["sha256"], flush=True)
"""


def launch(script: Path, *folders: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, folders)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out.strip().splitlines()


def test_killed_runs_resume_from_their_scratch_with_the_same_bytes(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SCRIPT))
    reached = 0
    for _ in range(2):
        process = launch(script, tmp_path / "killed")
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(15)]
        assert seen[0] >= reached
        reached = seen[-1]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert LocalStore(tmp_path / "killed").list() == []
    said = lines_of(launch(script, tmp_path / "killed", tmp_path / "straight"))
    straight = said[-61:]
    resumed = said[:-61]
    assert straight[0] == "1"
    assert resumed[-1] == straight[-1]
    assert len(resumed) <= len(straight) - 30
    assert not list((tmp_path / "killed" / "scratch").iterdir())


def test_a_second_process_waits_for_the_first_and_uses_its_result(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SCRIPT))
    first = launch(script, tmp_path / "store")
    assert first.stdout is not None
    first.stdout.readline()
    second = launch(script, tmp_path / "store")
    told_by_second, told_by_first = lines_of(second), lines_of(first)
    assert told_by_second == told_by_first[-1:], "the second process computed steps of its own"


def test_missing_lists_inputs_before_what_needs_them(store: LocalStore) -> None:
    a = square_of(2)
    total = add.cell({}, inputs={"a": a}, label="sum")
    assert [c.label for c in missing([total], store)] == ["square of 2", "sum"]
    compute([a], store)
    assert [c.label for c in missing([total], store)] == ["sum"]
