"""Results in an object store: whole or not there, checked when read, sent by whoever has them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from cluster_cells import numbers, traces
from local_cluster import Client, LocalCluster, until

from sanity.engine.cells import Cell, Task, computes
from sanity.engine.computing import compute
from sanity.engine.local_store import LocalStore
from sanity.engine.objects import Objects
from sanity.engine.remote_store import RemoteStore
from sanity.engine.store import missing, open_store, require
from sanity.errors import BadInputError, CorruptFileError, StorageError

CALLS: list[str] = []


@computes("test_remote_store.numbers", version=1)
def made(task: Task) -> None:
    CALLS.append(task.cell.label)
    task.save_tensors("x", {"x": torch.arange(task.config["n"])})
    task.save_json("inner", {"n": task.config["n"]})
    (task.folder / "sae").mkdir()
    (task.folder / "sae" / "cfg.json").write_text("{}")
    (task.folder / "sae" / "rows.bin").write_bytes(bytes(1000))


@computes("test_remote_store.twice", version=1)
def twice(task: Task) -> None:
    CALLS.append(task.cell.label)
    task.save_json("answer", {"value": 2 * int(task.inputs["of"].tensors("x")["x"].sum())})


def cells(n: int = 3) -> list[Cell]:
    parts = [made.cell({"n": i + 2}, label=f"made {i}") for i in range(n)]
    return [twice.cell({}, inputs={"of": one}, label=f"twice {one.label}") for one in parts]


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@pytest.fixture
def url() -> str:
    return f"memory://runs-{uuid.uuid4().hex}/one"


def opened(url: str, tmp_path: Path, name: str = "here") -> RemoteStore:
    """The store as another machine, with a folder of its own, sees it."""
    return RemoteStore(url, tmp_path / name)


def test_what_one_machine_computes_another_reads(url: str, tmp_path: Path) -> None:
    compute(cells(), opened(url, tmp_path))
    assert len(CALLS) == 6
    other = opened(url, tmp_path, "there")
    compute(cells(), other)
    assert len(CALLS) == 6
    assert [require(cell, other).json("answer")["value"] for cell in cells()] == [2, 6, 12]
    assert sorted(other.list()) == sorted(cell.key for one in cells() for cell in (one, one.inputs[0][1]))
    folder = require(cells()[0].inputs[0][1], other).folder("sae")
    assert (folder / "rows.bin").read_bytes() == bytes(1000)
    assert other.size(cells()[0].inputs[0][1].key) > 1000


def test_only_what_is_asked_for_is_fetched(url: str, tmp_path: Path) -> None:
    compute(cells(1), opened(url, tmp_path))
    other = opened(url, tmp_path, "there")
    part = cells(1)[0].inputs[0][1]
    require(part, other).json("inner")
    names = {path.name for path in (other.root / "results" / part.key).rglob("*") if path.is_file()}
    assert names == {"manifest.json", "inner.json"}


def _object_of(url: str, cell: Cell, name: str) -> tuple[Any, str]:
    files, root = fsspec.core.url_to_fs(url)
    manifest = json.loads(files.cat_file(f"{root}/manifests/{cell.key}.json"))
    return files, f"{root}/objects/{cell.key}/{manifest['files'][name]['sha256']}"


DAMAGES: dict[str, Callable[[Any, str], None]] = {
    "an object is gone": lambda files, path: files.rm_file(path),
    "an object is cut short": lambda files, path: files.pipe_file(path, b"{"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_what_is_damaged_there_is_computed_again(url: str, tmp_path: Path, how: str) -> None:
    compute(cells(1), opened(url, tmp_path))
    DAMAGES[how](*_object_of(url, cells(1)[0], "answer.json"))
    other = opened(url, tmp_path, "there")
    compute(cells(1), other)
    assert CALLS == ["made 0", "twice made 0", "twice made 0"]
    assert require(cells(1)[0], opened(url, tmp_path, "third")).json("answer") == {"value": 2}


def test_a_flipped_byte_is_found_by_whoever_reads_it(url: str, tmp_path: Path) -> None:
    compute(cells(1), opened(url, tmp_path))
    files, path = _object_of(url, cells(1)[0], "answer.json")
    data = files.cat_file(path)
    files.pipe_file(path, bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(CorruptFileError, match=r"objects/.* damaged.*delete it and run again"):
        require(cells(1)[0], opened(url, tmp_path, "there")).json("answer")


def test_a_damaged_manifest_is_no_result(url: str, tmp_path: Path) -> None:
    compute(cells(1), opened(url, tmp_path))
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/manifests/{cells(1)[0].key}.json", b'{"key": "')
    compute(cells(1), opened(url, tmp_path, "there"))
    assert CALLS.count("twice made 0") == 2


def test_a_damaged_copy_is_fetched_again(url: str, tmp_path: Path) -> None:
    store = opened(url, tmp_path)
    compute(cells(1), store)
    copy = store.root / "results" / cells(1)[0].key / "answer.json"
    copy.write_text('{"value": 3}')
    assert require(cells(1)[0], opened(url, tmp_path)).json("answer") == {"value": 2}
    assert len(CALLS) == 2


def test_whoever_was_killed_before_sending_sends_it_the_next_time(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "send", killed)
        with pytest.raises(KeyboardInterrupt):
            compute(cells(1), opened(url, tmp_path))
    part = cells(1)[0].inputs[0][1]
    assert missing([part], opened(url, tmp_path, "there")) == [part]
    compute(cells(1), opened(url, tmp_path))
    assert CALLS == ["made 0", "twice made 0"]
    assert not missing(cells(1), opened(url, tmp_path, "there"))


def test_a_reader_between_files_and_manifest_sees_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    write = Objects.write

    def watched(self: Objects, name: str, data: bytes) -> None:
        if name.startswith("manifests/"):
            key = name.removeprefix("manifests/").removesuffix(".json")
            seen.append((opened(url, tmp_path, "there").get(key), self.sizes(f"objects/{key}")))
        write(self, name, data)

    monkeypatch.setattr(Objects, "write", watched)
    compute(cells(1), opened(url, tmp_path))
    assert len(seen) == 2
    assert all(result is None and sizes for result, sizes in seen)


def test_a_removed_result_is_gone_for_everybody(url: str, tmp_path: Path) -> None:
    store = opened(url, tmp_path)
    compute(cells(1), store)
    store.remove(cells(1)[0].key)
    assert opened(url, tmp_path, "there").list() == [cells(1)[0].inputs[0][1].key]
    assert store.get(cells(1)[0].key) is None


def test_addresses_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_HOME", str(tmp_path))
    assert isinstance(open_store("memory://x/y"), RemoteStore)
    assert open_store("memory://x/y").where == "memory://x/y"
    assert type(open_store(tmp_path / "store")) is LocalStore
    with pytest.raises(BadInputError, match=r"'nonsense://x' is no address of an object store"):
        open_store("nonsense://x")


# ---------------------------------------------------------------------------------------- a real S3 server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's S3 server, a process of its own; keys are its own, never the user's."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'sae-sanity[cluster]'")
    pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in S3.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", address)
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        fsspec.filesystem("s3").mkdir("runs")
        yield address
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


S3 = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.mark.usefixtures("server")
def test_s3_keeps_results(tmp_path: Path) -> None:
    url = f"s3://runs/{uuid.uuid4().hex}"
    compute(cells(), opened(url, tmp_path))
    other = opened(url, tmp_path, "there")
    compute(cells(), other)
    assert len(CALLS) == 6
    assert [require(cell, other).json("answer")["value"] for cell in cells()] == [2, 6, 12]
    DAMAGES["an object is cut short"](*_object_of(url, cells(1)[0], "answer.json"))
    compute(cells(), opened(url, tmp_path, "third"))
    assert len(CALLS) == 7


@pytest.mark.usefixtures("server")
def test_a_bucket_that_is_not_there_is_one_error_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"s3://nobodys/x: cannot write there.*SANITY_STORE elsewhere"):
        compute(cells(1), opened("s3://nobodys/x", tmp_path))
    assert not CALLS


def test_an_object_store_that_lets_us_in_no_more_is_one_error(server: str, tmp_path: Path) -> None:
    url = f"s3://runs/{uuid.uuid4().hex}"
    compute(cells(1), opened(url, tmp_path))

    def allow(actions: str) -> None:
        asked = urllib.request.Request(
            f"{server}/moto-api/reset-auth", data=actions.encode(), headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(asked).read()

    allow("0")  # from now on keys are checked, and ours is nobody's
    try:
        with pytest.raises(StorageError, match=r"s3://runs/.*: no permission to read.*AWS_ACCESS_KEY_ID"):
            compute(cells(1), opened(url, tmp_path, "there"))
    finally:
        allow("inf")
    compute(cells(1), opened(url, tmp_path, "there"))
    assert len(CALLS) == 2, "nothing was lost"


@pytest.mark.slow
def test_two_clients_and_a_killed_worker_on_s3(server: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'sae-sanity[cluster]'")
    url, trace = f"s3://runs/{uuid.uuid4().hex}", tmp_path / "trace"
    trace.mkdir()
    dask = LocalCluster(tmp_path, **S3, AWS_ENDPOINT_URL=server, SANITY_HOME=str(tmp_path))
    try:
        dask.worker("--nworkers", "2")
        dask.ready(2)
        others = [Client(dask, url, trace, n=n) for n in (8, 6)]
        until(lambda: len(traces(trace)) >= 2)
        (busy, *_), *_ = traces(trace).values()  # whichever cells the scheduler gave out first
        os.kill(busy, signal.SIGKILL)
        assert [one.ends(120.0) for one in others] == [0, 0], [one.said for one in others]
    finally:
        dask.close()
    found = traces(trace)
    assert len(found) == 8
    assert sum(len(pids) for pids in found.values()) <= 9, "the killed worker's cell alone began twice"
    assert not missing(numbers(trace, 8, sleep=0.3), opened(url, tmp_path, "there"))
