"""Cells on a real Dask cluster of several processes: killed workers, two clients, bad schedulers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_cells import dies_once, numbers, refuses, runs_out, stumbles, total, traces
from local_cluster import Client, LocalCluster, until
from tiny_profile import tiny_profile

from sanity.engine import cluster
from sanity.engine.cells import Cell, in_order
from sanity.engine.computing import _compute_group, compute
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError, SanityError
from sanity.experiments.planner import plan_grids

distributed = pytest.importorskip(
    "distributed", reason="Dask is not installed: pip install 'sae-sanity[cluster]'"
)
if not os.environ.get("SANITY_TEST_CLUSTER"):
    pytest.skip(
        "a cluster of processes is slow to start and waits by the clock: make test-cluster",
        allow_module_level=True,
    )

pytestmark = pytest.mark.timeout(300)  # then it fails, and says where every thread stands


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    made = LocalCluster(tmp_path_factory.mktemp("dask"))
    for _ in range(3):
        made.worker("--resources", "GPU=1") if not made.processes[1:] else made.worker()
    made.ready(3)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def last_words(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the cluster said, next to a test that fails."""
    yield
    if "dask" in request.fixturenames:
        print(request.getfixturevalue("dask").last_words())


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "trace").mkdir()
    return tmp_path / "trace"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def sum_of(parts: list[Cell], trace: Path, **more: Any) -> Cell:
    return total.cell(
        {"group": "sums", "trace": str(trace), **more},
        inputs={str(i): part for i, part in enumerate(parts)},
        label=f"sum of {len(parts)}",
    )


def value(cell: Cell, store: LocalStore) -> Any:
    return require(cell, store).json("answer")["value"]


def test_workers_compute_what_is_missing_each_cell_once(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    parts = numbers(trace, 6, sleep=0.3)
    both = [sum_of(parts, trace), sum_of(parts[:3], trace)]
    compute(both, store, scheduler=dask.address)
    assert [value(cell, store) for cell in both] == [15, 3]
    found = traces(trace)
    assert all(len(pids) == 1 for pids in found.values())
    assert len(found) == 8
    pids = {pid for some in found.values() for pid in some}
    assert len(pids) >= 2, "several workers took part"
    assert os.getpid() not in pids
    compute(both, LocalStore(store.root), scheduler=dask.address)
    assert traces(trace) == found, "nothing is computed a second time"


def test_a_worker_that_is_killed_loses_its_unfinished_cell_only(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    doomed = dies_once.cell({"n": 7, "trace": str(trace)}, label="doomed")
    others = numbers(trace, 8, sleep=0.2)
    compute([doomed, *others], store, scheduler=dask.address)
    found = traces(trace)
    assert value(doomed, store) == 7
    assert len(found["doomed"]) == 2
    assert len(set(found["doomed"])) == 2, "another process took it over"
    assert all(len(found[f"number {i}"]) == 1 for i in range(8))


@pytest.mark.slow
def test_a_profile_gives_the_same_there_as_here_also_when_a_worker_is_killed(
    dask: LocalCluster, store: LocalStore, tmp_path: Path
) -> None:
    profile = tiny_profile(only=["synthetic_recovery_references"])
    planned = in_order([run.scored["reconstruction"] for run in plan_grids(profile).runs])

    def kill_one() -> None:
        until(lambda: len(store.list()) >= 1)
        dask.kill_a_worker()

    killer = threading.Thread(target=kill_one)
    killer.start()
    compute(planned, store, scheduler=dask.address)
    killer.join()
    here = compute(planned, LocalStore(tmp_path / "here"))
    assert store.list() == here.list()
    for cell in planned:
        assert require(cell, store).files == require(cell, here).files, cell.label


def test_a_cell_that_fails_once_is_tried_again_and_a_refusal_is_not(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    once = stumbles.cell({"trace": str(trace)}, label="stumbles")
    compute([once], store, scheduler=dask.address)
    assert value(once, store) == 1
    with pytest.raises(BadInputError, match="nothing can be made of this: give another"):
        compute([refuses.cell({"trace": str(trace)}, label="refused")], store, scheduler=dask.address)
    assert len(traces(trace)["refused"]) == 1
    assert len(traces(trace)["stumbles"]) == 2


def test_a_cell_that_runs_out_of_memory_is_named_and_not_tried_again(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    with pytest.raises(
        SanityError, match=r"too large: the graphics card is out of memory .* 1\.05 GiB were free"
    ):
        compute([runs_out.cell({"trace": str(trace)}, label="too large")], store, scheduler=dask.address)
    assert len(traces(trace)["too large"]) == 1


def test_two_clients_at_once_compute_no_cell_twice(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    others = [Client(dask, store.where, trace, n=n) for n in (8, 6)]
    assert [one.ends() for one in others] == [0, 0]
    found = traces(trace)
    assert len(found) == 8
    assert all(len(pids) == 1 for pids in found.values())


def test_a_client_that_is_killed_is_followed_by_another(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    first = Client(dask, store.where, trace, n=12, sleep=0.5)
    until(lambda: len(store.list()) >= 2)
    first.kill()
    compute(numbers(trace, 12, sleep=0.5), store, scheduler=dask.address)
    found = traces(trace)
    assert len(found) == 12
    assert all(len(pids) == 1 for pids in found.values()), "what was under way went on, and was kept"


def test_cells_that_want_a_card_go_where_there_is_one(
    dask: LocalCluster, store: LocalStore, trace: Path
) -> None:
    wants = make_dataclass("Wants", [("device", str)], frozen=True)
    assert numbers(trace, 1)[0].wants_card is False
    assert total.cell({"of": wants("cuda")}, label="").wants_card
    assert not total.cell({"of": wants("cpu")}, label="").wants_card
    # The first worker alone offers one.
    with cluster.Cluster(dask.address) as connected:
        cells = numbers(trace, 2, sleep=0.2)
        for cell in cells:
            cell.__dict__["wants_card"] = True
        assert connected.has_place(cells[0])
        for cell in cells:
            connected.start(_compute_group, [cell], store.where)
        assert not connected.has_place(cells[0])
        while connected.under_way:
            connected.finished()
    assert len({pid for pids in traces(trace).values() for pid in pids}) == 1


def test_a_scheduler_that_goes_away_is_one_error_and_the_run_goes_on_without_it(
    tmp_path: Path, store: LocalStore, trace: Path
) -> None:
    small = LocalCluster(tmp_path)
    try:
        small.worker()
        small.ready(1)
        other = Client(small, store.where, trace, n=4, sleep=0.5, answer=8.0)
        until(lambda: store.list())
        small.scheduler.kill()
        assert other.ends() == 1
    finally:
        small.close()
    assert "SanityError: the scheduler" in other.said
    assert "went away" in other.said
    compute(numbers(trace, 4, sleep=0.5), store)
    found = traces(trace)
    assert max(len(pids) for pids in found.values()) <= 2
    assert sum(len(pids) for pids in found.values()) <= 5, "all but the unfinished was kept"


def test_a_scheduler_that_falls_silent_is_one_error(
    tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = LocalCluster(tmp_path)
    try:
        with cluster.Cluster(small.address) as connected:
            monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 1.0)
            monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
            assert not connected.has_place(numbers(trace, 1)[0]), "it has no worker"
            small.scheduler.send_signal(signal.SIGSTOP)
            with pytest.raises(SanityError, match=r"the scheduler .* went away"):
                connected.has_place(numbers(trace, 1)[0])
    finally:
        small.close()


def test_a_worker_of_several_threads_is_refused(tmp_path: Path, store: LocalStore, trace: Path) -> None:
    wide = LocalCluster(tmp_path)
    try:
        wide.worker(threads=2)
        wide.ready(1)
        with pytest.raises(BadInputError, match=r"worker tcp://.* has 2 threads.*--nthreads 1"):
            compute(numbers(trace, 1), store, scheduler=wide.address)
    finally:
        wide.close()


def test_a_scheduler_without_the_package_is_named(tmp_path: Path, store: LocalStore, trace: Path) -> None:
    """Of which this package is hidden by one of its name, also where it is installed to be edited."""
    (tmp_path / "sanity").mkdir()
    (tmp_path / "sanity" / "__init__.py").write_text("raise ImportError('another')", encoding="utf-8")
    bare = LocalCluster(tmp_path, PYTHONPATH=str(tmp_path))
    try:
        with pytest.raises(
            BadInputError, match=r"scheduler tcp://.* cannot run this package .*the same there"
        ):
            compute(numbers(trace, 1), store, scheduler=bare.address)
        bare.worker()
        bare.ready(1)
        with pytest.raises(BadInputError, match=r"worker tcp://.* cannot run this package .*the same there"):
            compute(numbers(trace, 1), store, scheduler=bare.address)
    finally:
        bare.close()


def test_workers_that_are_not_as_they_have_to_be_are_named(
    dask: LocalCluster, store: LocalStore, trace: Path, monkeypatch: Any
) -> None:
    other = cluster.Edition("0" * 12, "version 9, commit 123")
    monkeypatch.setattr(cluster.Edition, "here", classmethod(lambda cls: other))
    with pytest.raises(
        BadInputError, match=r"worker tcp://.* another edition .*version 9, commit 123.*same on"
    ):
        compute(numbers(trace, 1), store, scheduler=dask.address)
