"""Noticing where code waits for numbers: on a graphics card each such read stops the host until all is done.

PyTorch marks some of its operations itself: the output of `item` is data, the shape of `nonzero` depends on
data. Others wait on a card alone, and are known here by name, or by a mask that says which entries are meant.
All are noticed on CPU tensors as they are on a card, so that a step can be tested without one.

What is copied from the host counts, too, since a captured step cannot do it. Among CPU tensors PyTorch copies
nothing, so that only lists of numbers and the word `"cpu"` show; tensors on the device "meta", which have
shapes and no numbers, show whatever is on another device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

_TELLING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_PAST_DISPATCH = ("tolist", "numpy", "__array__", "cpu", "to")
"""Methods that may hand numbers to the host without an operation."""
_BY_NAME = frozenset({"histc", "isin", "multinomial", "segment_reduce"})
"""Operations that look at numbers on a card, or at what a library says of them, and are not marked."""
_OLD_DECOMPOSITIONS = frozenset({"cholesky", "cholesky_inverse", "cholesky_solve", "geqrf", "ormqr"})
_PRODUCTS = frozenset({"linalg_vector_norm", "linalg_cross", "linalg_solve_triangular"})
"""What of linear algebra is no decomposition: all else waits to hear whether it came to an end."""
_CHECKED_SPREAD = ("normal.float_Tensor", "normal.Tensor_Tensor")
"""Draws of which a card checks first that no standard deviation is negative."""


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
        given = kwargs or {}
        if _reads(func, args) or _between_devices(func, args, given):
            self.names.append(str(func).rpartition(".")[0])
        return func(*args, **given)

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
            if name != "to" or "cpu" in [one for one in (*args, *kwargs.values()) if isinstance(one, str)]:
                self.names.append(f"Tensor.{name}")
            return method(tensor, *args, **kwargs)

        return read


def _reads(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation waits for numbers: one with indices does where a mask says which entries."""
    name = func._schema.name.removeprefix("aten::")
    if "index" in name and len(args) > 1 and isinstance(args[1], list | tuple):
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    if name == "lift_fresh":  # a list of numbers became a tensor; a single number is passed by value
        return bool(args[0].ndim)
    if name.lstrip("_").startswith("linalg_"):
        return name not in _PRODUCTS
    known = name in _BY_NAME | _OLD_DECOMPOSITIONS or str(func).endswith(_CHECKED_SPREAD)
    return known or bool(_TELLING & set(func.tags))


def _between_devices(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation brings numbers from one device to another; a single one from the host may come."""
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    copies = func._schema.name in ("aten::copy_", "aten::_to_copy")
    devices = {one.device.type for one in tensors if copies or one.ndim or one.device.type != "cpu"}
    target = kwargs.get("device")
    if tensors and copies and target is not None:
        devices.add(torch.device(target).type)
    return len(devices) > 1


@contextlib.contextmanager
def no_host_reads() -> Iterator[HostReads]:
    """Raise where what is done inside reads a number back, with the names of what read."""
    with HostReads() as seen:
        yield seen
    if seen.names:
        raise AssertionError(f"{len(seen.names)} host reads: {', '.join(dict.fromkeys(seen.names))}")
