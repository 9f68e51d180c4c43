"""Every way in which code can wait for a number is noticed, and none that does not."""

from __future__ import annotations

import contextlib
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
    "a tensor through a mask": lambda x: x.__setitem__(x > 0, x.abs().max()),
    "entries through a mask": lambda x: x.index_put_((x > 0,), x.new_zeros(())),
    "to the host": lambda x: x.to("cpu"),
    "to the host, by name": lambda x: x.double().to(device="cpu", dtype=torch.float32),
    "a list of numbers": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "rows by a list": lambda x: x[[0, 1]],
    "eigenvalues": lambda x: torch.linalg.eigvalsh(x.T @ x),
    "singular values": lambda x: torch.linalg.svd(x),
    "an inverse": lambda x: torch.linalg.inv(x.T @ x),
    "a pseudo-inverse": lambda x: torch.linalg.pinv(x),
    "solve": lambda x: torch.linalg.solve(x.T @ x, x.T),
    "cholesky": lambda x: torch.linalg.cholesky(x.T @ x + torch.eye(3)),
    "qr": lambda x: torch.linalg.qr(x),
    "multinomial": lambda x: x.abs().multinomial(1),
    "normal": lambda x: torch.normal(x, x.abs()),
    "histogram": lambda x: x.histc(4),
    "isin": lambda x: torch.isin(x, x),
}
COPIES: dict[str, Callable[[Tensor], Any]] = {
    "to the host": lambda x: x.to(torch.device("cpu")),
    "into the host": lambda x: torch.empty(4, 3).copy_(x),
    "from the host": lambda x: x.copy_(torch.ones(4, 3)),
    "a number from the host": lambda x: x[0, 0].copy_(torch.ones(())),
    "rows by numbers on the host": lambda x: x.index_select(0, torch.zeros(1, dtype=torch.int64)),
    "entries by numbers on the host": lambda x: x[torch.zeros(1, dtype=torch.int64)],
}
QUIET: dict[str, Callable[[Tensor], Any]] = {
    "topk": lambda x: x.topk(2, dim=1),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "rows by number": lambda x: x[torch.zeros(2, dtype=torch.int64)],
    "sort": lambda x: x.sort(stable=True, dim=1),
    "index_select": lambda x: x.index_select(0, torch.zeros(1, dtype=torch.int64)),
    "write through a mask": lambda x: x.clone().masked_fill_(x > 0, 0.0),
    "write a row": lambda x: x.__setitem__(0, 1.0),
    "write rows by number": lambda x: x.__setitem__(torch.zeros(2, dtype=torch.int64), 1.0),
    "to another type": lambda x: x.to(x.device, torch.float64),
    "copy": lambda x: x.copy_(x + 1),
    "lengths": lambda x: torch.linalg.vector_norm(x, dim=1),
    "products": lambda x: torch.linalg.vecdot(x, x),
    "a single number": lambda x: x + torch.tensor(1.0),
    "spread by number": lambda x: torch.normal(x, 1.0),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_is_noticed(name: str) -> None:
    with HostReads() as seen:
        READS[name](torch.randn(4, 3))
    assert seen.names
    with pytest.raises(AssertionError, match="host reads"), no_host_reads():
        READS[name](torch.randn(4, 3))


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_between_devices_is_noticed(name: str) -> None:
    """On tensors without numbers, which stand for a card's."""
    x = torch.empty(4, 3, device="meta")
    with HostReads() as seen, contextlib.suppress(NotImplementedError):
        COPIES[name](x)
    assert len(seen.names) == 1
    with no_host_reads():
        _ = x + torch.tensor(1.0) + torch.ones(3, device=x.device)


@pytest.mark.parametrize("name", QUIET)
def test_what_does_not_wait_is_left_alone(name: str) -> None:
    with no_host_reads() as seen:
        QUIET[name](torch.randn(4, 3))
    assert seen.operations > 0
    assert torch.randn(2).tolist()
    assert not seen.names, "nothing is watched afterwards"
