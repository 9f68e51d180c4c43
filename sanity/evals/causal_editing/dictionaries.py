"""What a swap goes through: latents of an SAE, raw neurons, or principal components."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.causal_editing.questions import AskedTemplate
from sanity.evals.causal_editing.tasks import EditingTask, PairEdit
from sanity.evals.inputs import SparseAutoencoder, require_finite, require_width


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Latents of raw activations, and the reconstruction `latents @ directions + offset`."""

    name: str
    encode: Callable[[Tensor], Tensor]
    """Of activations [n, d_model]: latents [n, m]."""
    directions: Float[Tensor, "m d_model"]
    offset: Float[Tensor, " d_model"]


@torch.no_grad()
def sae_dictionary(
    sae: SparseAutoencoder, *, centre: Float[Tensor, " d_in"], factor: float, name: str = "SAE"
) -> Dictionary:
    """The latents of an SAE that reads (activation - centre) * factor.

    Raises `BadInputError` for a decoder that is not linear: then a swap is no sum of directions.
    """
    W_dec = sae.W_dec.detach()
    require_width("centre", len(centre), W_dec.shape[1], "the decoder")
    zero = torch.zeros(1, W_dec.shape[0]).to(W_dec)
    offset = sae.decode(zero)[0]
    some = torch.rand(2, W_dec.shape[0], generator=torch.Generator().manual_seed(0)).to(W_dec)
    if not torch.allclose(sae.decode(some), some @ W_dec + offset, rtol=1e-3, atol=1e-3):
        raise BadInputError(
            f"decode of {type(sae).__name__} is not latents @ W_dec plus a bias: latents cannot be swapped "
            "one by one through it"
        )
    centre = centre.to(W_dec)

    def encode(x: Tensor) -> Tensor:
        return sae.encode((x.to(W_dec) - centre) * factor)

    return Dictionary(name, encode, W_dec / factor, offset / factor + centre)


def neurons(d_model: int) -> Dictionary:
    """Every unit of the residual stream as a latent: exact."""
    return Dictionary("raw neurons", lambda x: x, torch.eye(d_model), torch.zeros(d_model))


def principal_components(
    mean: Float[Tensor, " d_model"], covariance: Float[Tensor, "d_model d_model"]
) -> Dictionary:
    """All principal components of activations: exact, like `neurons`, in another basis."""
    basis = torch.linalg.eigh(covariance.double()).eigenvectors.flip(1).float()
    return Dictionary("PCA", lambda x: (x - mean.to(x)) @ basis.to(x), basis.T.contiguous(), mean.float())


def planted_dictionary(
    rotation: Float[Tensor, "d_model rank"], level: float, *, generator: torch.Generator
) -> Dictionary:
    """An exact dictionary that has the directions of `rotation` among its latents, at level 0.

    At level 1 it is a random orthonormal basis, between them the one nearest to a mixture of both.
    """
    d_model = len(rotation)
    rest = torch.linalg.svd(rotation, full_matrices=True).U[:, rotation.shape[1] :]
    other = torch.linalg.qr(torch.randn(d_model, d_model, generator=generator).to(rotation))[0]
    mixture = (1 - level) ** 0.5 * torch.cat([rotation, rest], 1) + level**0.5 * other
    left, _, right = torch.linalg.svd(mixture)
    basis = left @ right
    return Dictionary(
        "the planted dictionary", lambda x: x @ basis, basis.T.contiguous(), rotation.new_zeros(d_model)
    )


@dataclass(frozen=True, eq=False)
class Swap:
    """A dictionary read at a task's prompts: any subset of its latents can be swapped between entities.

    Only latents that are active on some entity are kept, `latents` of them by number; swapping others
    changes nothing.
    """

    latents: Int[Tensor, " active"]
    codes: dict[AskedTemplate, Float[Tensor, "n active"]]
    rebuilt: dict[AskedTemplate, Float[Tensor, "n d_model"]]
    directions: Float[Tensor, "active d_model"]
    frequency: Float[Tensor, " active"]
    """How often each latent is active at the entities of the training questions."""

    def edit(self, mask: Tensor, *, with_error: bool) -> PairEdit:
        """Swap the latents where `mask` [active] is 1; gradients flow to `mask`.

        With the error term, what the dictionary does not reconstruct of the base stays in place.
        """

        def apply(asked: AskedTemplate, base: Tensor, source: Tensor) -> Tensor:
            codes = self.codes[asked]
            start = asked.found[base] if with_error else self.rebuilt[asked][base]
            return start + ((codes[source] - codes[base]) * mask) @ self.directions

        return apply

    def edit_only(self, chosen: Bool[Tensor, " active"], *, with_error: bool) -> PairEdit:
        """The same for a set of latents."""
        return self.edit(chosen.to(self.directions), with_error=with_error)


@torch.no_grad()
def read(dictionary: Dictionary, task: EditingTask) -> Swap:
    """Encode what the task's prompts hold at their entities.

    Raises `BadInputError` when no latent is ever active there, or two latents are needed and none differs.
    """
    dense = {one: dictionary.encode(one.found) for one in task.asked}
    active = torch.stack([(z != 0).any(0) for z in dense.values()]).any(0)
    if not bool(active.any()):
        raise BadInputError(
            f"no latent of {dictionary.name} is active on any of {len(task.train.entities)} entities for "
            f"fitting and {len(task.test.entities)} for testing: a dead dictionary can edit nothing"
        )
    latents = active.nonzero()[:, 0]
    directions = dictionary.directions.to(active.device)[latents]
    codes = {one: z[:, latents] for one, z in dense.items()}
    offset = dictionary.offset.to(directions)
    rebuilt = {one: z @ directions + offset for one, z in codes.items()}
    for one, x in rebuilt.items():
        require_finite(f"the reconstruction by {dictionary.name} for {one.template!r}", x)
    fired = torch.cat([codes[one] != 0 for one in task.train.asked])
    return Swap(latents, codes, rebuilt, directions, fired.float().mean(0))


def matched_in_frequency(
    swap: Swap, chosen: Bool[Tensor, " active"], *, generator: torch.Generator
) -> Bool[Tensor, " active"]:
    """As many other latents, drawn at random among the eight nearest in frequency to each of `chosen`.

    Where fewer are left than are needed, those are taken.
    """
    free = ~chosen
    picked = torch.zeros_like(chosen)
    wanted = chosen.nonzero()[:, 0]
    for latent in wanted[torch.randperm(len(wanted), generator=generator).to(wanted.device)].tolist():
        left = free.nonzero()[:, 0]
        if len(left) == 0:
            break
        near = left[(swap.frequency[left] - swap.frequency[latent]).abs().argsort(stable=True)[:8]]
        one = near[int(torch.randint(len(near), (), generator=generator))]
        picked[one], free[one] = True, False
    return picked
