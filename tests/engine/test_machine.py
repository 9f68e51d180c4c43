"""What a machine is taken for: a container's limits, and checkouts that git does not read."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sanity.engine import container, machine
from sanity.engine.store import home
from sanity.engine.workers import memory_for_results, places
from sanity.errors import BadInputError

GIB = 2**30
V1 = "9:name=systemd:/\n4:memory:/jobs/one\n3:cpu,cpuacct:/jobs/one\n0::/"
UNLIMITED = "9223372036854771712"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that the process is in a group: its /proc/self/cgroup, and files below /sys/fs/cgroup."""

    def pretend(own: str, files: dict[str, str]) -> None:
        for name, text in {
            "proc/self/cgroup": own,
            **{f"sys/fs/cgroup/{n}": t for n, t in files.items()},
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="ascii")

    monkeypatch.setattr(container, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    machine.memory_bytes.cache_clear()
    yield pretend
    machine.memory_bytes.cache_clear()


HOST = psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("own", "files", "memory", "cores"),
    [
        pytest.param(
            V1,
            {
                "memory/jobs/one/memory.limit_in_bytes": str(GIB),
                "memory/memory.limit_in_bytes": UNLIMITED,
                "cpu/jobs/one/cpu.cfs_quota_us": "-1",
                "cpu/jobs/one/cpu.cfs_period_us": "100000",
                "cpu/jobs/cpu.cfs_quota_us": "250000",
                "cpu/jobs/cpu.cfs_period_us": "100000",
            },
            GIB,
            2,
            id="version 1, the quota a level above",
        ),
        pytest.param(
            V1,
            {
                "memory/memory.limit_in_bytes": str(GIB // 2),
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            GIB // 2,
            1,
            id="version 1, seen from inside a container",
        ),
        pytest.param(
            "0::/user.slice/job.scope",
            {
                "user.slice/job.scope/memory.max": "max",
                "user.slice/memory.max": str(GIB),
                "user.slice/job.scope/cpu.max": "300000 100000",
                "user.slice/cpu.max": "max 100000",
            },
            GIB,
            3,
            id="version 2",
        ),
        pytest.param(
            "0::/", {"memory.max": str(GIB), "cpu.max": "max 100000"}, GIB, 8, id="version 2, container"
        ),
        pytest.param("0::/", {"unified/memory.max": str(GIB)}, GIB, 8, id="both versions"),
        pytest.param(V1, {"memory/memory.limit_in_bytes": UNLIMITED}, HOST, 8, id="no limit"),
        pytest.param("", {"memory.max": "what is this"}, HOST, 8, id="no groups"),
    ],
)
def test_a_containers_limits_are_what_is_shared_out(
    groups: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    files: dict[str, str],
    memory: int,
    cores: int,
) -> None:
    groups(own, files)
    monkeypatch.delenv("SANITY_PROCESSES", raising=False)
    assert machine.memory_bytes() == memory
    assert machine.cores() == cores
    assert memory_for_results() == int(0.7 * memory)
    assert places(threads=1) == cores


def test_a_reader_says_how_many_processes_compute_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanity.engine.workers.cores", lambda: 8)
    for said, found in (("", 4), ("1", 1), ("3", 3), ("64", 4)):
        monkeypatch.setenv("SANITY_PROCESSES", said)
        assert places(threads=2) == found
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("SANITY_PROCESSES", wrong)
        with pytest.raises(BadInputError, match=r"SANITY_PROCESSES is .* want a whole number from 1"):
            places(threads=1)


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that belongs to somebody else."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.delenv(machine._SAID, raising=False)
    return tmp_path


def test_a_foreign_checkout_gives_one_warning_with_gits_reason(
    foreign: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING, "sanity"):
        assert machine.commit(foreign) == "unknown"
        assert machine.git(foreign, "remote") == ""
    (said,) = (record.getMessage() for record in caplog.records)
    assert "dubious ownership" in said
    assert f"--add safe.directory {foreign}" in said
    machine._is_read.cache_clear()  # as in a process that this one starts
    assert machine.git(foreign, "remote") == ""
    assert len(caplog.records) == 1
    machine._is_read.cache_clear()


def test_a_folder_that_is_no_checkout_is_no_reason_to_warn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert machine.commit(tmp_path) == "unknown"
    assert not caplog.records


def test_a_commit_is_marked_where_files_differ_from_it_and_not_for_tables_that_are_kept(
    tmp_path: Path,
) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    package, table = tmp_path / "package" / "code.py", tmp_path / "results" / "long" / "scores.parquet"
    for path in (package, table):
        path.parent.mkdir(parents=True)
        path.write_text("first")
    git("init", "-q")
    git("add", ".")
    git("commit", "-m", "begin")
    for path, marked in ((table, False), (package, True)):
        path.write_text("second")
        machine.commit.cache_clear()
        assert machine.commit(tmp_path).endswith("+changes") is marked
        assert machine.commit(package.parent).endswith("+changes") is marked
    machine.commit.cache_clear()


def test_results_lie_in_the_checkout_of_the_package_wherever_one_starts(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SANITY_HOME", raising=False)
    (tmp_path / "_toc.yml").touch()  # some other book
    monkeypatch.chdir(tmp_path)
    assert home() == repository
    clone = tmp_path / "clone"
    (clone / "book").mkdir(parents=True)
    (clone / "book" / "claims.yml").touch()
    monkeypatch.chdir(clone / "book")
    assert home() == clone
