"""Scores of an edit: cause, isolation and their mean, between doing nothing and a learned rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.evals.causal_editing.choosing import generator
from sanity.evals.causal_editing.dictionaries import (
    Dictionary,
    Swap,
    matched_in_frequency,
    read,
    sae_dictionary,
)
from sanity.evals.causal_editing.fitting import Fitting, fit_mask, subspace_edit
from sanity.evals.causal_editing.tasks import Edited, EditingTask, do_nothing, edited, swap_all
from sanity.evals.inputs import SparseAutoencoder
from sanity.evals.score import Score

VERSION = "2"
METRICS = {"ravel_disentanglement": "disentanglement", "ravel_cause": "cause", "ravel_isolation": "isolation"}

Pairs = tuple[Int[Tensor, " n"], Int[Tensor, " n"]]
Row = dict[str, Any]


def scored_pairs(task: EditingTask, n: int, *, seed: int) -> Pairs:
    """The pairs that everything of one seed is scored on."""
    return task.test.draw(n, generator=generator(seed, "test pairs"))


@dataclass(frozen=True)
class Reach:
    """The two ends of the scale for one task and one set of pairs."""

    nothing: Edited
    everything: Edited
    rotation: Edited

    @property
    def floor(self) -> float:
        """The better of doing nothing and swapping everything: both know nothing about attributes."""
        return max(self.nothing.disentanglement, self.everything.disentanglement)

    def separates(self, least: float) -> bool:
        """Whether the rotation is ahead of the floor by at least `least`."""
        return self.rotation.disentanglement - self.floor >= least


def reach(task: EditingTask, rotation: Float[Tensor, "d_model rank"], pairs: Pairs) -> Reach:
    """Both ends, measured."""
    found = [edited(task.test, edit, *pairs) for edit in (do_nothing, swap_all, subspace_edit(rotation))]
    return Reach(*found)


def row(name: str, found: Edited, **more: Any) -> Row:
    """One row of a tidy table."""
    return {
        "what": name,
        "cause": found.cause,
        "isolation": found.isolation,
        "disentanglement": found.disentanglement,
        "pairs": found.pairs,
        **more,
    }


def through_dictionary(
    task: EditingTask,
    swap: Swap,
    logits: Float[Tensor, " active"],
    pairs: Pairs,
    *,
    seed: int,
    sizes: Sequence[int],
    keeping_error: Float[Tensor, " active"] | None = None,
) -> list[Row]:
    """Everything that is measured with the masks of one dictionary.

    Rows without the error term: the mask of `logits`, as many random latents matched in frequency, no and all
    latents swapped (what the reconstruction alone does), and the `sizes` largest of the logits. With it: the
    mask of `keeping_error`, the logits fitted that way, and as many random latents; no latent swapped is
    doing nothing there. `l0` is how many latents are active at the cities that are tested, on average.
    """
    l0 = torch.cat([swap.codes[one] != 0 for one in task.test.asked]).sum(1).double().mean()
    rows = []

    def measure(name: str, latents: Bool[Tensor, " active"], *, with_error: bool, **more: Any) -> None:
        found = edited(task.test, swap.edit_only(latents, with_error=with_error), *pairs)
        rows.append(row(name, found, with_error=with_error, size=int(latents.sum()), **more))

    for fitted, with_error in ((logits, False), (keeping_error, True)):
        if fitted is not None:
            chosen, draws = fitted > 0, generator(seed, "matched latents")
            measure("mask", chosen, with_error=with_error)
            random = matched_in_frequency(swap, chosen, generator=draws)
            measure("random latents", random, with_error=with_error)
    measure("no latent", torch.zeros_like(logits) > 0, with_error=False)
    measure("all latents", torch.ones_like(logits) > 0, with_error=False)
    for m in sizes:
        if m <= int((swap.frequency > 0).sum()):
            measure("largest", largest(swap, logits, m), with_error=False)
    for one in rows:
        one |= {"active": len(logits), "l0": float(l0)}
    return rows


def largest(swap: Swap, logits: Float[Tensor, " active"], m: int) -> Bool[Tensor, " active"]:
    """The `m` latents with the largest logits, of those active at some entity that was fitted on.

    The others' logits stay where they started, above those that fitting has lowered.
    """
    fitted = logits.masked_fill(swap.frequency == 0, -torch.inf)
    chosen = torch.zeros_like(logits, dtype=torch.bool)
    chosen[fitted.topk(m).indices] = True
    return chosen


def score_sae(
    task: EditingTask,
    sae: SparseAutoencoder | Dictionary,
    *,
    pairs: Pairs,
    ends: Reach,
    seed: int,
    fitting: Fitting | None = None,
    mask: Sequence[int] | None = None,
    centre: Float[Tensor, " d_in"] | None = None,
    factor: float = 1.0,
) -> list[Score]:
    """The metrics of any SAE in memory, without and with the error term.

    With `mask` (numbers of latents) these are swapped: what an SAE scrambled after its mask was fitted still
    does. Without, a mask is fitted as `fitting` says, one without and one with the error term.
    """
    if isinstance(sae, Dictionary):
        dictionary = sae
    else:
        zero = torch.zeros(sae.W_dec.shape[1]) if centre is None else centre
        dictionary = sae_dictionary(sae, centre=zero, factor=factor)
    swap = read(dictionary, task)
    how = fitting or Fitting(steps=30, prompts=32, learning_rate=0.1)

    def chosen(*, with_error: bool) -> Bool[Tensor, " active"]:
        if mask is not None:
            return torch.isin(swap.latents, torch.tensor(list(mask), device=swap.latents.device))
        draws = generator(seed, "mask")
        return fit_mask(task, swap, fitting=how, generator=draws, with_error=with_error) > 0

    found = {
        suffix: edited(
            task.test, swap.edit_only(chosen(with_error=with_error), with_error=with_error), *pairs
        )
        for suffix, with_error in (("", False), ("_with_error", True))
    }
    return [one for suffix, value in found.items() for one in as_scores(value, ends, suffix)]


def as_scores(found: Edited, ends: Reach, suffix: str = "") -> list[Score]:
    """Disentanglement between floor and ceiling; cause and isolation up to what the rotation reaches."""
    return [
        Score(
            metric + suffix,
            getattr(found, part),
            ends.floor if part == "disentanglement" else 0.0,
            getattr(ends.rotation, part),
            True,
            n=found.pairs,
            unit="pair",
            version=VERSION,
        )
        for metric, part in METRICS.items()
    ]


def graded_rotation(
    task: EditingTask,
    rotation: Float[Tensor, "d_model rank"],
    *,
    levels: Sequence[float],
    seeds: Sequence[int],
    n_pairs: int,
) -> list[Mapping[str, Any]]:
    """The ceiling corrupted in grades: its subspace turned towards a random one, on other pairs each time.

    Level 0 is the learned subspace, level 1 a random one of the same rank; between them each of its
    directions has the cosine sqrt(1 - level) to the learned one. The scale's ends are measured on the
    same pairs.
    """
    rows: list[Mapping[str, Any]] = []
    for seed in seeds:
        pairs = task.test.draw(n_pairs, generator=generator(seed, "graded pairs"))
        other = torch.randn(rotation.shape, generator=generator(seed, "graded subspace")).to(rotation)
        other = torch.linalg.qr(other - rotation @ (rotation.T @ other))[0]
        ends = reach(task, rotation, pairs)
        for level in levels:
            basis = (1 - level) ** 0.5 * rotation + level**0.5 * other
            value = ends.rotation if level == 0 else edited(task.test, subspace_edit(basis), *pairs)
            rows.append(
                {
                    "metric": "ravel_disentanglement",
                    "level": level,
                    "seed": seed,
                    "value": value.disentanglement,
                    "floor": ends.floor,
                    "ceiling": ends.rotation.disentanglement,
                    "n": value.pairs,
                }
            )
    return rows
