"""A judge's server on this machine, and an endpoint that points to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_server import SECRET, Server, serving

from sanity.evals.judging.client import EndpointJudge
from sanity.evals.judging.settings import Endpoint, Key


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that the client would have slept."""
    return []


@pytest.fixture
def open_judge(server: Server, tmp_path: Path, pauses: list[float]) -> Callable[..., EndpointJudge]:
    """A judge behind the server; keyword arguments change its endpoint."""
    plain = Endpoint(
        url=server.url,
        key=Key(SECRET),
        folder=tmp_path / "judge",
        timeout=5.0,
        attempts=3,
        concurrency=1,
        requests_per_minute=10_000,
        tokens_per_minute=10_000_000,
    )

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def made(**changes: Any) -> EndpointJudge:
        return EndpointJudge(Endpoint(**{**dict(plain), **changes}), "test-model", sleep=sleep)

    return made
