"""What the tests of this room are given."""

from __future__ import annotations

import pytest
import torch
from small_stream import ARCHITECTURES, SmallStream

from sanity.models import Architecture


@pytest.fixture
def stream() -> SmallStream:
    return SmallStream()


@pytest.fixture(params=ARCHITECTURES, ids=lambda a: a.label)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    chosen: Architecture = request.param
    return chosen


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen
