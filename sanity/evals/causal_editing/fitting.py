"""What is learned on the training entities: a binary mask over latents, or a rotation as ceiling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.evals.causal_editing.dictionaries import Swap
from sanity.evals.causal_editing.questions import AskedTemplate
from sanity.evals.causal_editing.tasks import EditingTask, PairEdit


@dataclass(frozen=True)
class FitSettings:
    """How a mask or a rotation is fitted."""

    steps: int
    prompts: int
    """Per step: half of them ask for the target, half for an attribute that is to stay."""
    learning_rate: float
    temperature: float = 1.0
    """Of the sigmoid through which the mask's gradient passes."""
    l1: float = 0.0
    """Cost of the mask's soft size, per latent."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.prompts < 2:
            raise BadInputError(
                f"a fit of {self.steps} steps with {self.prompts} prompts each learns nothing: take at least "
                "one step with two prompts, one of each kind"
            )


def fit_mask(
    task: EditingTask,
    swap: Swap,
    *,
    fitting: FitSettings,
    generator: torch.Generator,
    with_error: bool = False,
) -> Float[Tensor, " active"]:
    """The mask's logits: latents above 0 are swapped.

    Forward the mask is binary; backward its gradient is that of sigmoid(logits / temperature). At the start
    no latent is swapped. The loss is the cross-entropy of the source's answer to the target's question plus
    that of the base's answer to another, as in SAEBench's RAVEL.
    """
    logits = torch.zeros(len(swap.latents), device=swap.directions.device, requires_grad=True)

    def edit() -> PairEdit:
        soft = torch.sigmoid(logits / fitting.temperature)
        binary = (logits > 0).to(soft) + soft - soft.detach()
        return swap.edit(binary, with_error=with_error)

    def cost() -> Tensor:
        return fitting.l1 * torch.sigmoid(logits / fitting.temperature).sum()

    _minimise([logits], edit, cost, task, fitting, generator)
    return logits.detach()


def fit_rotation(
    task: EditingTask, *, rank: int, fitting: FitSettings, generator: torch.Generator
) -> Float[Tensor, "d_model rank"]:
    """An orthonormal basis whose span is to be swapped (distributed alignment search, Geiger et al. 2024).

    It starts at a random subspace; its columns are kept orthonormal by a QR decomposition.
    """
    d_model = task.train.target[0].found.shape[1]
    if not 0 < rank <= d_model:
        raise BadInputError(f"a rotation of rank {rank} does not fit into {d_model} dimensions")
    free = torch.randn(d_model, rank, generator=generator).to(task.train.target[0].found) / d_model**0.5
    free.requires_grad_()

    def edit() -> PairEdit:
        return subspace_edit(torch.linalg.qr(free)[0])

    _minimise([free], edit, lambda: free.new_zeros(()), task, fitting, generator)
    basis: Tensor = torch.linalg.qr(free.detach())[0]
    return basis


def subspace_edit(basis: Float[Tensor, "d_model rank"]) -> PairEdit:
    """Swap what lies in the span of `basis`."""

    def apply(asked: AskedTemplate, base: Tensor, source: Tensor) -> Tensor:
        x = asked.found
        return x[base] + (x[source] - x[base]) @ basis @ basis.T

    return apply


def _minimise(
    parameters: list[Tensor],
    edit: Callable[[], PairEdit],
    cost: Callable[[], Tensor],
    task: EditingTask,
    fitting: FitSettings,
    generator: torch.Generator,
) -> None:
    """Adam on both losses, its rate falling to nothing over the last half."""
    optimiser = torch.optim.Adam(parameters, lr=fitting.learning_rate)
    half = fitting.prompts // 2
    turns = _turns(task)
    for step in range(fitting.steps):
        optimiser.param_groups[0]["lr"] = fitting.learning_rate * min(1.0, 2 * (1 - step / fitting.steps))
        target, other = next(turns)
        apply = edit()
        base, source = task.train.draw(half, generator=generator)
        loss = functional.cross_entropy(
            target.logits(apply(target, base, source), base).float(), target.answers[source]
        )
        base, source = task.train.draw(half, generator=generator)
        loss = loss + functional.cross_entropy(
            other.logits(apply(other, base, source), base).float(), other.answers[base]
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss + cost())
        optimiser.step()


def _turns(task: EditingTask) -> Iterator[tuple[AskedTemplate, AskedTemplate]]:
    """The target's questions and the others', each in turn."""
    others = [one for several in zip(*task.train.others.values(), strict=False) for one in several]
    return zip(cycle(task.train.target), cycle(others), strict=False)
