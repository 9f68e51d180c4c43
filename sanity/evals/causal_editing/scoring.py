"""Scores of an edit: cause, isolation and their mean, between doing nothing and a learned rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.evals.causal_editing.choosing import generator
from sanity.evals.causal_editing.dictionaries import Dictionary, Swap, matched_in_frequency, read
from sanity.evals.causal_editing.fitting import Fitting, fit_mask, subspace_edit
from sanity.evals.causal_editing.tasks import Edited, EditingTask, do_nothing, edited, swap_all
from sanity.evals.score import Score

CEILING = "rotation"
"""What tables call the learned rotation."""
PAIR = ["target", "keep"]
"""The columns of a table that name a pair of attributes."""
PARTS = ("disentanglement", "cause", "isolation")
"""Of the score of an edit: the columns of every table of edits."""

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

    def row(self) -> Row:
        """`floor`, and the parts of the score at each end: `nothing_cause`, ..., `ceiling_isolation`."""
        ends = {"nothing": self.nothing, "everything": self.everything, "ceiling": self.rotation}
        parts = {f"{end}_{part}": getattr(found, part) for end, found in ends.items() for part in PARTS}
        return {"floor": self.floor, **parts}


def reach(task: EditingTask, rotation: Float[Tensor, "d_model rank"], pairs: Pairs) -> Reach:
    """Both ends, measured."""
    found = [edited(task.test, edit, *pairs) for edit in (do_nothing, swap_all, subspace_edit(rotation))]
    return Reach(*found)


def row(name: str, found: Edited, **more: Any) -> Row:
    """One row of a tidy table."""
    return {"what": name, **{part: getattr(found, part) for part in PARTS}, "pairs": found.pairs, **more}


def masked_edits(
    task: EditingTask,
    dictionary: Dictionary,
    pairs: Pairs,
    *,
    fitting: Fitting,
    seed: int,
    sizes: Sequence[int] = (),
    keeps_error: bool = False,
) -> dict[str, list[Row]]:
    """`edits`, what the masks of a dictionary do, and `mask`, their logits, both as rows.

    With `keeps_error` there is a second mask, fitted and measured with the error term.
    """
    swap = read(dictionary, task)
    fits = {
        with_error: fit_mask(
            task, swap, fitting=fitting, generator=generator(seed, "mask"), with_error=with_error
        )
        for with_error in ((False, True) if keeps_error else (False,))
    }
    edits = through_dictionary(
        task, swap, fits[False], pairs, seed=seed, sizes=sizes, keeping_error=fits.get(True)
    )
    mask = [
        {"latent": int(latent), "logit": float(logit), "with_error": with_error}
        for with_error, logits in fits.items()
        for latent, logit in zip(swap.latents.tolist(), logits.tolist(), strict=True)
    ]
    return {"edits": edits, "mask": mask}


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


def with_range(pairs: pd.DataFrame, of_all_seeds: pd.DataFrame, least: float) -> pd.DataFrame:
    """`pairs` with the column `separated`: whether the rotation is ahead of the floor by `least`.

    The mean over seeds decides, and for all of them alike: which seeds are judged must not depend on luck.
    """
    ends = of_all_seeds.reindex(columns=[*PAIR, "ceiling_disentanglement", "floor"])
    gap = (ends["ceiling_disentanglement"] - ends["floor"]).groupby([ends[name] for name in PAIR]).mean()
    own = pairs.set_index(PAIR)
    return own.assign(separated=gap.reindex(own.index) >= least).reset_index()


def mean_scores(edits: pd.DataFrame, pairs: pd.DataFrame, *, version: str) -> list[Score]:
    """The scores of one SAE's masks: means over the pairs that are `separated`.

    Disentanglement stands between floor and ceiling, cause and isolation between 0 and what the rotation
    reaches.
    """
    masks = edits[edits["what"] == "mask"].merge(pairs[pairs["separated"]], on=PAIR)
    return [
        Score(
            f"ravel_{part}{'_with_error' if with_error else ''}",
            float(rows[part].mean()),
            float(rows["floor"].mean()) if part == "disentanglement" else 0.0,
            float(rows[f"ceiling_{part}"].mean()),
            True,
            n=int(rows["pairs"].sum()),
            unit="pair",
            version=version,
        )
        for with_error, rows in masks.groupby("with_error")
        for part in PARTS
    ]


def largest(swap: Swap, logits: Float[Tensor, " active"], m: int) -> Bool[Tensor, " active"]:
    """The `m` latents with the largest logits, of those active at some entity that was fitted on.

    The others' logits stay where they started, above those that fitting has lowered.
    """
    fitted = logits.masked_fill(swap.frequency == 0, -torch.inf)
    chosen = torch.zeros_like(logits, dtype=torch.bool)
    chosen[fitted.topk(m).indices] = True
    return chosen


def graded_rotation(
    task: EditingTask,
    rotation: Float[Tensor, "d_model rank"],
    *,
    levels: Sequence[float],
    seeds: Sequence[int],
    n_pairs: int,
) -> list[Row]:
    """The ceiling corrupted in steps: its subspace turned towards a random one, on other pairs each time.

    Level 0 is the learned subspace, level 1 a random one of the same rank; between them each of its
    directions has the cosine sqrt(1 - level) to the learned one. The scale's ends are measured on the
    same pairs.
    """
    rows: list[Row] = []
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
                    "kind": CEILING,
                    "level": level,
                    "seed": seed,
                    "value": value.disentanglement,
                    "floor": ends.floor,
                    "ceiling": ends.rotation.disentanglement,
                    "n": value.pairs,
                }
            )
    return rows
