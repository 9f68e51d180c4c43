"""What a CUDA graph does, on a processor: the operations of one step, recorded and done again.

A graph keeps which operations were called, on which tensors, with which numbers of Python; replayed it does
these, whatever would be called by then. Here the same is done with PyTorch's operations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from typing_extensions import override

from sanity.models.card.state import State
from sanity.models.controller import Controllers

Work = Callable[[], None]


class Recorded(TorchDispatchMode):
    """Keeps the operations inside it; `replay` does them again, on what the other tensors hold then."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        """Once; what an operation made then stands for what it made when it was recorded."""
        known: dict[int, Any] = {}

        def now(value: Any) -> Any:
            return known.get(id(value), value) if isinstance(value, Tensor) else value

        for func, args, kwargs, made in self.calls:
            again = func(*tree_map(now, args), **tree_map(now, kwargs))
            pairs = zip(tree_leaves(made), tree_leaves(again), strict=True)
            known |= {id(before): after for before, after in pairs if isinstance(before, Tensor)}


def recorded(state: State) -> Callable[[Work], Work]:
    """Stands in for `capture.cuda_graph`: recording changes nothing of `state`, as capturing does not."""

    def capture(work: Work) -> Work:
        before = [(tensor, tensor.clone()) for tensor in tensors_of(state)]
        with Recorded() as calls:
            work()
        for tensor, value in before:
            tensor.copy_(value)
        return calls.replay

    return capture


def tensors_of(state: State) -> list[Tensor]:
    """All that a step can find, in a fixed order."""
    found: list[Tensor] = []
    changed(state, lambda tensor: found.append(tensor) or tensor)
    return found


def changed(owner: Any, of: Callable[[Tensor], Tensor]) -> Any:
    """A state with every tensor replaced; what it knows of its learners stays."""
    if isinstance(owner, Tensor):
        return of(owner)
    if isinstance(owner, State | Controllers):
        new = copy.copy(owner)
        for name, value in vars(owner).items():
            setattr(new, name, value if name == "learners" else changed(value, of))
        return new
    if isinstance(owner, dict):
        return {name: changed(value, of) for name, value in owner.items()}
    return type(owner)(changed(one, of) for one in owner) if isinstance(owner, list | tuple) else owner
