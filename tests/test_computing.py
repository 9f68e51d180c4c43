"""Cells that are content with few threads run beside each other; what they give does not depend on it."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from sanity.engine import computing, reporting
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.engine.computing import compute, total_cost
from sanity.engine.progress import heartbeat, track
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError, SanityError


@computes("test_computing.slow", version=1)
def slow(task: Task) -> None:
    generator = torch.Generator().manual_seed(task.config["n"])
    product = torch.randn(64, 64, generator=generator) @ torch.randn(64, 64, generator=generator)
    began = time.time()
    if meeting := task.config.get("meeting"):  # whoever computes two at once sees both of them there
        (Path(meeting) / str(task.config["n"])).touch()
        _until(lambda: len(list(Path(meeting).iterdir())) == 2)
    time.sleep(task.config.get("sleep", 0.1))
    task.save_tensors("product", {"x": product})
    task.save_json(
        "facts",
        {"pid": os.getpid(), "threads": torch.get_num_threads(), "began": began, "ended": time.time()},
    )


@computes("test_computing.sums", version=1)
def sums(task: Task) -> None:
    began = time.time()
    total = sum(float(r.tensors("product")["x"].sum()) for r in task.inputs.values())
    task.save_json("total", {"value": total, "began": began})


@computes("test_computing.whose", version=1)
def whose(task: Task) -> None:
    task.save_json("facts", {"pid": os.getpid()})


@computes("test_computing.refuses", version=1)
def refuses(task: Task) -> None:
    raise BadInputError(f"nothing can be made of {task.config['n']}: give another")


@computes("test_computing.dies", version=1)
def dies(task: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _slow(*numbers: int, sleep: float = 0.1) -> list[Cell]:
    return [slow.cell({"n": n, "sleep": sleep}, label=f"slow {n}", threads=1) for n in numbers]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "places", lambda **_: 2)


NEEDS = {1: 400, 2: 400, 3: 700, 4: 700, 5: 300, 6: 2000}
"""Bytes of memory that each of the slow cells is said to need, of 1000 in all."""


@dataclass
class Computed:
    """The slow cells and the sum of the first three, computed in two places, and where they are."""

    store: LocalStore
    cells: dict[int, Cell]
    total: Cell

    @functools.cached_property
    def facts(self) -> dict[int, dict[str, Any]]:
        """By whom, on how many threads and when each was computed."""
        return {n: require(cell, self.store).json("facts") for n, cell in self.cells.items()}

    def overlap(self, a: int, b: int) -> bool:
        """Whether two were computed at the same time."""
        one, two = self.facts[a], self.facts[b]
        return bool(max(one["began"], two["began"]) < min(one["ended"], two["ended"]))


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    meeting = str(tmp_path_factory.mktemp("meeting"))
    cells = {
        n: slow.cell(
            {"n": n, "meeting": meeting} if n in (1, 2) else {"n": n, "sleep": 0.3},
            label=f"slow {n}",
            cost=Cost(1.0, memory_bytes=need),
            threads=1,
        )
        for n, need in NEEDS.items()
    }
    parts = {f"part_{n}": cells[n] for n in (1, 2, 3)}
    total = sums.cell({}, inputs=parts, label="sum", cost=Cost(1.0, memory_bytes=100), threads=1)
    store = LocalStore(tmp_path_factory.mktemp("computed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(computing, "places", lambda **_: 2)
        patch.setattr(computing, "memory_for_results", lambda: 1000)
        compute([total, *cells.values()], store)
    return Computed(store, cells, total)


def test_two_calls_run_at_the_same_time_on_one_thread_each(computed: Computed) -> None:
    one, two = computed.facts[1], computed.facts[2]
    assert one["pid"] != two["pid"]
    assert os.getpid() not in (one["pid"], two["pid"])
    assert one["threads"] == two["threads"] == 1
    assert computed.overlap(1, 2)
    assert require(computed.cells[1], computed.store).manifest["provenance"]["threads"] == 1


def test_what_is_under_way_fits_into_memory_together(computed: Computed) -> None:
    pairs = {(a, b) for a in NEEDS for b in NEEDS if a < b and computed.overlap(a, b)}
    assert (1, 2) in pairs, "two that fit together run together"
    assert all(NEEDS[a] + NEEDS[b] <= 1000 for a, b in pairs)


def test_what_needs_others_waits_for_them(computed: Computed) -> None:
    expected = sum(
        float(require(computed.cells[n], computed.store).tensors("product")["x"].sum()) for n in (1, 2, 3)
    )
    found = require(computed.total, computed.store).json("total")
    assert found["value"] == pytest.approx(expected)
    assert found["began"] > max(computed.facts[n]["ended"] for n in (1, 2, 3))


def test_one_place_gives_the_same_numbers_here_and_restores_the_threads(
    computed: Computed, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [computed.cells[n] for n in (1, 2)]
    monkeypatch.setattr(computing, "places", lambda **_: 1)
    before = torch.get_num_threads()
    compute(cells, store)
    assert torch.get_num_threads() == before
    for cell in cells:
        here, there = require(cell, store), require(cell, computed.store)
        assert here.json("facts")["pid"] == os.getpid() != there.json("facts")["pid"]
        assert here.json("facts")["threads"] == 1
        assert torch.equal(here.tensors("product")["x"], there.tensors("product")["x"])


@pytest.mark.usefixtures("two_cores")
def test_an_error_in_a_worker_arrives_in_its_own_words(store: LocalStore) -> None:
    cells = [refuses.cell({"n": 7}, label="seven", threads=1), *_slow(1)]
    with pytest.raises(BadInputError, match="nothing can be made of 7: give another"):
        compute(cells, store)


@pytest.mark.usefixtures("two_cores")
def test_a_worker_that_is_killed_is_named(store: LocalStore) -> None:
    cells = [dies.cell({}, label="the doomed", threads=1), *_slow(1)]
    with pytest.raises(SanityError, match="out of memory"):
        compute(cells, store)
    compute(_slow(1), store)  # and its lease does not stay


@dataclass(frozen=True)
class Own:
    """A configuration that is no part of the package."""

    n: int


@pytest.mark.usefixtures("two_cores")
def test_what_comes_from_a_notebook_is_computed_here(store: LocalStore) -> None:
    def local(task: Task) -> None:
        task.save_json("facts", {"pid": os.getpid()})

    local.__module__ = "__main__"
    function = computes("test_computing.local", version=1)(local)
    cells = [function.cell({"n": n}, label=f"local {n}", threads=1) for n in (1, 2)]
    cells += [whose.cell(Own(n), label=f"own {n}", threads=1) for n in (1, 2)]
    compute(cells, store)
    assert {require(cell, store).json("facts")["pid"] for cell in cells} == {os.getpid()}


def test_the_log_names_what_runs_while_it_runs(
    store: LocalStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(computing, "heartbeat", functools.partial(heartbeat, every=0.001))

    @computes("test_computing.long", version=1)
    def long(task: Task) -> None:
        with track(description="counting", total=4) as bar:
            bar.update(1)
            _until(lambda: "the long one: counting 25 %; about" in caplog.text)
        task.save_json("facts", {})

    with caplog.at_level(logging.INFO, logger="sanity"):
        compute([long.cell({}, label="the long one")], store)


def test_what_runs_next_to_others_counts_its_share_of_two_cores() -> None:
    alone = slow.cell({"n": 1}, label="one", cost=Cost(10.0), threads=1)
    another = slow.cell({"n": 2}, label="two", cost=Cost(10.0), threads=1)
    third = slow.cell({"n": 3}, label="three", cost=Cost(10.0), threads=1)
    assert total_cost([alone]).seconds == 10.0, "one call has nothing to run next to"
    assert total_cost([alone, another]).seconds == 10.0
    assert total_cost([alone, another, third]).seconds == 15.0


def test_workers_leave_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from sanity.engine import computing, reporting
        from test_computing import _slow
        from sanity.engine.store import LocalStore
        computing.places = lambda **_: 2
        computing.compute(_slow(1, 2, sleep=120.0), LocalStore(Path({str(tmp_path / "store")!r})))
        """
    )
    (tmp_path / "run.py").write_text(script)
    # No guard around the script's main part: whoever calls this from a notebook has none either.
    parent = subprocess.Popen([sys.executable, tmp_path / "run.py"])
    leases = tmp_path / "store" / "leases"
    _until(lambda: leases.exists() and len(list(leases.iterdir())) >= 2)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    _until(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children))


def _until(holds: object, seconds: float = 240.0) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "that took too long"
        time.sleep(0.1)


def test_without_shared_memory_one_thing_is_computed_at_a_time(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import logging, sys
        from pathlib import Path
        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from sanity.engine import computing
        from test_computing import _slow
        from sanity.engine.store import LocalStore
        computing.places = lambda **_: 2
        store = LocalStore(Path({str(tmp_path / "store")!r}))
        computing.compute(_slow(1, 2, 3), store)
        print(len(store.list()))
        """
    )
    (tmp_path / "run.py").write_text(script)
    shell = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && echo full > /dev/shm/full && exec "$0" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell, sys.executable]
    done = subprocess.run([*command, str(tmp_path / "run.py")], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this machine lets nobody mount a small /dev/shm")
    assert done.returncode == 0, done.stderr
    assert "one thing is computed at a time" in done.stdout
    assert done.stdout.splitlines()[-1] == "3"
