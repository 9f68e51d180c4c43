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
from sanity.evals.causal_editing.dictionaries import (
    Dictionary,
    Swap,
    matched_in_frequency,
    planted_dictionary,
    read,
)
from sanity.evals.causal_editing.fitting import FitSettings, fit_mask, subspace_edit
from sanity.evals.causal_editing.tasks import EditingTask, EditScores, edited, swap_all
from sanity.evals.score import Score

CEILING = "rotation"
"""What tables call the learned rotation."""
DROPPED = "_error_dropped"
"""What ends the names of metrics that are read without the error term."""
PLANTED = "planted dictionary"
"""The kind of reference that the gate corrupts."""
PAIR = ["target", "keep"]
"""The columns of a table that name a pair of attributes."""
PARTS = ("disentanglement", "cause", "isolation")
"""Of the score of an edit: the columns of every table of edits."""

Pairs = tuple[Int[Tensor, " n"], Int[Tensor, " n"]]
ScoreRow = dict[str, Any]


def scored_pairs(task: EditingTask, n: int, *, seed: int) -> Pairs:
    """The pairs that everything of one seed is scored on."""
    return task.test.draw(n, generator=generator(seed, "test pairs"))


@dataclass(frozen=True)
class Reach:
    """The two ends of the scale for one task and one set of pairs."""

    nothing: EditScores
    everything: EditScores
    rotation: EditScores

    @property
    def floor(self) -> float:
        """The better of doing nothing and swapping everything: both know nothing about attributes."""
        return max(self.nothing.disentanglement, self.everything.disentanglement)

    def row(self) -> ScoreRow:
        """`floor`, and the parts of the score at each end: `nothing_cause`, ..., `ceiling_isolation`."""
        ends = {"nothing": self.nothing, "everything": self.everything, "ceiling": self.rotation}
        parts = {f"{end}_{part}": getattr(found, part) for end, found in ends.items() for part in PARTS}
        return {"floor": self.floor, **parts}


def reach(task: EditingTask, rotation: Float[Tensor, "d_model rank"], pairs: Pairs) -> Reach:
    """Both ends, measured."""
    everything, turned = (edited(task.test, edit, *pairs) for edit in (swap_all, subspace_edit(rotation)))
    # Only what is answered rightly is asked about: without an edit every answer stays.
    return Reach(EditScores(0.0, 1.0, len(pairs[0])), everything, turned)


def row(name: str, found: EditScores, **more: Any) -> ScoreRow:
    """One row of a tidy table."""
    return {"what": name, **{part: getattr(found, part) for part in PARTS}, "pairs": found.pairs, **more}


def masked_edits(
    task: EditingTask,
    dictionary: Dictionary,
    pairs: Pairs,
    *,
    fitting: FitSettings,
    seed: int,
    readings: Sequence[bool] = (False,),
    sizes: Sequence[int] = (),
    controls: int | None = None,
) -> dict[str, list[ScoreRow]]:
    """`edits`, what the masks of a dictionary do, and `mask`, their logits, both as rows.

    For each of the `readings`, with the error term (True) or without it, a mask is fitted and measured that
    way. The first is the primary one: its mask is measured on all `pairs`, and it has a curve of all latents
    and of the `sizes` largest logits. Everything else is measured on the first `controls` pairs: the other
    masks, as many random latents matched in frequency, and no latent swapped. Without the error
    term no latent is what the reconstruction alone does. `l0` is how many latents are active at the entities
    that are tested, on average.
    """
    swap = read(dictionary, task)
    l0 = torch.cat([swap.codes[one] != 0 for one in task.test.asked]).sum(1).double().mean()
    few: Pairs = (pairs[0][:controls], pairs[1][:controls])
    edits: list[ScoreRow] = []
    mask: list[ScoreRow] = []
    for number, with_error in enumerate(readings):
        curve = () if number else sizes
        logits = fit_mask(
            task, swap, fitting=fitting, generator=generator(seed, "mask"), with_error=with_error
        )
        chosen = logits > 0
        random = matched_in_frequency(swap, chosen, generator=generator(seed, "matched latents"))
        measured: list[tuple[str, Bool[Tensor, " active"], Pairs]] = [
            ("mask", chosen, few if number else pairs),
            ("random latents", random, few),
        ]
        if not with_error or curve:  # otherwise it is doing nothing, whose score is known
            measured.append(("no latent", torch.zeros_like(chosen), few))
        if curve:
            measured.append(("all latents", torch.ones_like(chosen), few))
        fitted = int((swap.frequency > 0).sum())
        measured += [("largest", largest(swap, logits, m), few) for m in curve if m <= fitted]
        for name, latents, on in measured:
            found = edited(task.test, swap.edit_only(latents, with_error=with_error), *on)
            size = {"size": int(latents.sum()), "active": len(logits), "l0": float(l0)}
            edits.append(row(name, found, with_error=with_error, **size))
        mask += [
            {"latent": latent, "logit": logit, "with_error": with_error}
            for latent, logit in zip(swap.latents.tolist(), logits.tolist(), strict=True)
        ]
    return {"edits": edits, "mask": mask}


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
            f"ravel_{part}{'' if with_error else DROPPED}",
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


def graded_dictionary(
    task: EditingTask,
    rotation: Float[Tensor, "d_model rank"],
    *,
    levels: Sequence[float],
    seeds: Sequence[int],
    n_pairs: int,
    fitting: FitSettings,
) -> list[ScoreRow]:
    """The whole path from dictionary to score, through exact dictionaries that are corrupted in steps.

    At level 0 the latents are the learned rotation's own directions and a basis of what is left, at level 1
    a random basis; between them the orthonormal basis nearest to a mixture of both. Each is exact, so that
    both readings of the error term are one, and each has a fresh mask, fitted at the budget of `fitting`. A
    seed draws the random basis and the pairs, on which the ends of the scale are measured as well.
    """
    rows: list[ScoreRow] = []
    for seed in seeds:
        pairs = task.test.draw(n_pairs, generator=generator(seed, "graded pairs"))
        ends = reach(task, rotation, pairs)
        for level in levels:
            planted = planted_dictionary(rotation, level, generator=generator(seed, "graded basis"))
            swap = read(planted, task)
            logits = fit_mask(task, swap, fitting=fitting, generator=generator(seed, "mask"))
            found = edited(task.test, swap.edit_only(logits > 0, with_error=False), *pairs)
            rows += [
                {
                    "metric": metric,
                    "kind": PLANTED,
                    "level": level,
                    "seed": seed,
                    "value": found.disentanglement,
                    "floor": ends.floor,
                    "ceiling": ends.rotation.disentanglement,
                    "n": found.pairs,
                }
                for metric in ("ravel_disentanglement", f"ravel_disentanglement{DROPPED}")
            ]
    return rows
