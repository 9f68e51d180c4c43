"""Noticing where code waits for numbers: on a graphics card each such read stops the host until all is done.

PyTorch marks its operations itself: the output of `item` is data, the shape of `nonzero` depends on data.
Both are noticed on CPU tensors as they are on a card, so that a step can be tested without one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

_TELLING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_PAST_DISPATCH = ("tolist", "numpy", "__array__", "cpu")
"""Methods that hand numbers to the host without an operation; a copy to the CPU waits for them, too."""


class HostReads(TorchDispatchMode):
    """Counts the operations inside it, and keeps the names of those that give the host a number or a shape.

    >>> with HostReads() as seen:
    ...     total = torch.ones(3).sum()
    >>> seen.names, seen.operations > 0
    ([], True)
    >>> with HostReads() as seen:
    ...     worth = float(total)
    >>> seen.names
    ['aten._local_scalar_dense']
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        """What read, in order."""
        self.operations = 0
        """Everything that was called; on a card most are one launch."""
        self._guards = contextlib.ExitStack()

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.operations += 1
        if _reads(func, args):
            self.names.append(str(func).rpartition(".")[0])
        return func(*args, **(kwargs or {}))

    @override
    def __enter__(self) -> HostReads:
        for name in _PAST_DISPATCH:
            self._guards.enter_context(mock.patch.object(Tensor, name, self._noticed(name)))
        super().__enter__()
        return self

    @override
    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._guards.close()

    def _noticed(self, name: str) -> Any:
        method = getattr(Tensor, name)

        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.names.append(f"Tensor.{name}")
            return method(tensor, *args, **kwargs)

        return read


def _reads(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation waits for numbers: indexing does where a mask says which entries."""
    if func is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return bool(_TELLING & set(func.tags))


@contextlib.contextmanager
def no_host_reads() -> Iterator[HostReads]:
    """Raise where what is done inside reads a number back, with the names of what read."""
    with HostReads() as seen:
        yield seen
    if seen.names:
        raise AssertionError(f"{len(seen.names)} host reads: {', '.join(dict.fromkeys(seen.names))}")
