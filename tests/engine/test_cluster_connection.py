"""A scheduler that cannot be reached: one error each, soon. No cluster is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sanity.engine import connecting
from sanity.engine.cluster import Cluster
from sanity.errors import BadInputError, SanityError

client = pytest.importorskip(
    "distributed.client", reason="Dask is not installed: pip install 'sae-sanity[cluster]'"
)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_a_scheduler_that_does_not_answer_is_one_error(silent: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(connecting, "ANSWER_SECONDS", 0.5)
    for address in (silent, "tcp://127.0.0.1:1", "nonsense", "ftp://a:1"):
        with pytest.raises(BadInputError, match=r"no Dask scheduler answers at .*leave --scheduler out"):
            Cluster(address)


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("can't start new thread")])
def test_a_thread_of_dask_that_does_not_start_is_one_error(error: Exception, monkeypatch: Any) -> None:
    tried: list[object] = []

    def start(loop: object) -> None:
        tried.append(loop)
        raise error

    monkeypatch.setattr(client.LoopRunner, "start", start)
    with pytest.raises(SanityError, match=r"Dask cannot start its thread .*too busy.*what is finished stays"):
        Cluster("tcp://127.0.0.1:1")
    assert len(tried) == 2, "once more, for a machine that is busy for a moment"
