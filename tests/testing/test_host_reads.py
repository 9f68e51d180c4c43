"""Every way in which code can wait for a number is noticed, and none that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sanity.testing.host_reads import HostReads, no_host_reads

READS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x[0, 0].item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "bool": lambda x: bool((x > 0).any()),
    "if": lambda x: 1 if x.sum() > 0 else 0,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "nonzero": lambda x: (x > 0).nonzero(),
    "mask": lambda x: x[x > 0],
    "set by a tensor on the host": lambda x: x[torch.tensor(1)],
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().abs().flatten().bincount(),
    "repeats": lambda x: x[:, 0].repeat_interleave(x[:, 1].abs().long()),
    "equal": lambda x: torch.equal(x, x),
}
QUIET: dict[str, Callable[[Tensor], Any]] = {
    "topk": lambda x: x.topk(2, dim=1),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "rows by number": lambda x: x[torch.zeros(2, dtype=torch.int64)],
    "sort": lambda x: x.sort(stable=True, dim=1),
    "index_select": lambda x: x.index_select(0, torch.zeros(1, dtype=torch.int64)),
    "write through a mask": lambda x: x.clone().masked_fill_(x > 0, 0.0),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_is_noticed(name: str) -> None:
    with HostReads() as seen:
        READS[name](torch.randn(4, 3))
    assert seen.names
    with pytest.raises(AssertionError, match="host reads"), no_host_reads():
        READS[name](torch.randn(4, 3))


@pytest.mark.parametrize("name", QUIET)
def test_what_does_not_wait_is_left_alone(name: str) -> None:
    with no_host_reads() as seen:
        QUIET[name](torch.randn(4, 3))
    assert seen.operations > 0
    assert torch.randn(2).tolist()
    assert not seen.names, "nothing is watched afterwards"
