"""What processes tell each other that hold a shard of the latents each, of the same arms.

Process r of n has the rows of W_enc, W_dec and all else that belongs to the latents from r d_sae / n to
before (r + 1) d_sae / n. The rest (b_dec, an affine skip, coefficients) each has as a whole, and moves alike.
Of a step they tell each other, for a batch of B samples:

- the pre-activations that may be selected: B k from each;
- what their latents rebuild of each sample, which is summed up: B d_out, for every nested prefix;
- sums over latents: d_in for b_dec, and a few numbers.

`SingleShard` holds everything itself and asks nobody; `Shards` asks through torch.distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.errors import SanityError

_WHOLE = {"b_dec", "W_skip", "step"}
"""What of a checkpoint's tensors belongs to no latent, by a part of their names."""

Told = TypeVar("Told")


def per_latent(name: str) -> bool:
    """Whether a parameter, or a tensor of a checkpoint, has a row for each latent."""
    return not _WHOLE & set(name.split("."))


class SingleShard:
    """All latents are in this process."""

    rank, count = 0, 1

    def total(self, value: Tensor) -> Tensor:
        """The sum over shards; `value` is used up."""
        return value

    def least(self, value: Tensor) -> Tensor:
        """The smallest of all shards; `value` is used up."""
        return value

    def joined(self, own: Float[Tensor, "groups each"]) -> Float[Tensor, "groups all"]:
        """What all shards have of each group, one after the other."""
        return own

    def own(self, joined: Tensor) -> Tensor:
        """The part of this shard of what was joined."""
        return joined

    def holders(self, name: str) -> int:
        """How many processes have the same numbers of a parameter."""
        return 1 if per_latent(name) else self.count

    # -- between the hosts

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, where any process has it."""
        return flags

    def lowest(self, number: float) -> float:
        """The smallest that any process has."""
        return number


ALONE = SingleShard()


class Shards(SingleShard):
    """This process's place among the others; cards talk by NCCL, their hosts by gloo."""

    def __init__(self, hosts: dist.ProcessGroup) -> None:
        self.rank, self.count, self._hosts = dist.get_rank(), dist.get_world_size(), hosts

    @override
    def total(self, value: Tensor) -> Tensor:
        value = value.contiguous()
        dist.all_reduce(value)
        return value

    @override
    def least(self, value: Tensor) -> Tensor:
        value = value.contiguous()
        dist.all_reduce(value, dist.ReduceOp.MIN)
        return value

    @override
    def joined(self, own: Float[Tensor, "groups each"]) -> Float[Tensor, "groups all"]:
        own = own.contiguous()
        every = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(every, own)
        return torch.cat(every, 1)

    @override
    def own(self, joined: Tensor) -> Tensor:
        return joined.chunk(self.count, 1)[self.rank]

    @override
    def agree(self, *flags: bool) -> tuple[bool, ...]:
        told = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self._hosts)
        return tuple(bool(flag) for flag in told.tolist())

    @override
    def lowest(self, number: float) -> float:
        told = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(told, dist.ReduceOp.MIN, group=self._hosts)
        return float(told)

    def everyones(self, told: Told) -> list[Told]:
        """What each process says, in order."""
        every: list[Any] = [None] * self.count
        dist.all_gather_object(every, told, group=self._hosts)
        return every

    def from_first(self, work: Callable[[], Told]) -> Told:
        """What `work` gives the first process, which alone does it; an error of its is everyone's."""
        told: list[Any] = [None, None]
        if self.rank == 0:
            try:
                told[0] = work()
            except SanityError as error:
                told[1] = error
        dist.broadcast_object_list(told, src=0, group=self._hosts)
        if told[1] is not None:
            raise told[1]
        answer: Told = told[0]
        return answer

    def dealt(self, whole: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """This shard of the named tensors that the first process has; the others give None."""
        shapes = self.from_first(lambda: {n: (v.shape, v.dtype) for n, v in (whole or {}).items()})
        own = {}
        for name, (shape, dtype) in shapes.items():
            full = None if whole is None else whole[name].cpu().contiguous()
            if per_latent(name):
                own[name] = torch.empty(shape[0] // self.count, *shape[1:], dtype=dtype)
                parts = None if full is None else list(full.chunk(self.count))
                dist.scatter(own[name], parts, src=0, group=self._hosts)
            else:
                own[name] = torch.empty(shape, dtype=dtype) if full is None else full
                dist.broadcast(own[name], src=0, group=self._hosts)
        return own

    def gathered(self, own: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The opposite of `dealt`: whole tensors on the first host; None on the others."""
        whole = {}
        for name, value in own.items():
            part = value.cpu().contiguous()
            if not per_latent(name):
                whole[name] = part
                continue
            full = part.new_empty(len(part) * self.count, *part.shape[1:]) if self.rank == 0 else None
            parts = None if full is None else list(full.chunk(self.count))
            dist.gather(part, parts, dst=0, group=self._hosts)
            if full is not None:
                whole[name] = full
        return whole if self.rank == 0 else None
