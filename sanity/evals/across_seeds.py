"""The eval `across_seeds`: whether two seeds find the same latents, or the same subspace.

A latent that is there to be found is found again by another seed. Latents of two seeds are matched one to
one (Paulo and Belrose, 2501.16615). Two dictionaries without any latent in common agree, too, and the more
so the more anisotropic they are: the floor of the matched cosine is that of Gaussian directions with the
second moments of the two dictionaries themselves; that of the nearest cosine is the exact law of isotropic
ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.engine.arguments import checked
from sanity.engine.cells import Task
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.feature_recovery import max_cosines, one_to_one
from sanity.evals.geometry import leading_directions, subspace_overlap, written_moment
from sanity.evals.inputs import active_latents, unit_rows
from sanity.evals.metric import Metric
from sanity.evals.score import Score
from sanity.evals.scrambles import mixed_directions
from sanity.evals.sphere import expected_max_cosine, log_any_above
from sanity.sources import Pace, RunSpec, Source

SHARED = 0.7
"""The matched cosine from which a latent counts as found by both seeds, as in 2501.16615."""
_ROUNDS = 20
_SELF = {"gate": "mixed", "reference": "a dictionary next to itself, each direction mixed with a random one"}


@checked
def agreement_scores(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d_b"], *, seed: int
) -> tuple[list[Score], pd.DataFrame]:
    """How far the latents of one dictionary are those of another; a row per latent of `a` behind it.

    `seed` draws the null. Columns of the table: nearest, matched (cosines; NaN for latents that found no
    partner), partner (its row in `b`).
    """
    matching, nearest = one_to_one(a, b), max_cosines(a, b).double().cpu()
    matched = torch.full((len(a),), math.nan, dtype=torch.float64)
    matched[matching.features] = matching.cosines
    partner = torch.full((len(a),), -1)
    partner[matching.features] = matching.latents
    value = float(matching.cosines.mean())
    null = float(one_to_one(_like(a, "a", seed), _like(b, "b", seed)).cosines.mean())
    (m, d), n = b.shape, len(matching.cosines)
    pair: dict[str, Any] = {"higher_is_better": True, "unit": "latent", "version": "1"}
    shared = float((matching.cosines >= SHARED).double().mean())
    scores = [
        Score("seed_mcc", value, null, 1.0, n=n, **pair),
        Score("seed_mcc_beyond_null", value - null, 0.0, 1.0 - null, n=n, **pair),
        Score("seed_shared", shared, math.exp(log_any_above(d, m, SHARED)), 1.0, n=n, **pair),
        Score("seed_nearest", float(nearest.mean()), expected_max_cosine(d, m), 1.0, n=len(a), **pair),
    ]
    return scores, pd.DataFrame({"nearest": nearest, "matched": matched, "partner": partner})


def _like(rows: Float[Tensor, "n d"], name: str, seed: int) -> Float[Tensor, "n d"]:
    """As many Gaussian directions which, brought to length 1, have the second moments of the unit rows."""
    unit = unit_rows(name, rows.detach()).double().cpu()
    values, vectors = torch.linalg.eigh(unit.T @ unit / len(unit))
    # The bare seed has made dictionaries: the null must not draw the same numbers again.
    generator = torch.Generator().manual_seed(int(digest(["agreement null", name, seed])[:8], 16))
    drawn = torch.randn(unit.shape, generator=generator, dtype=torch.float64)
    spread = values.clamp_min(1e-12)
    for _ in range(_ROUNDS):  # length 1 takes from the wide axes: give them more until the moments fit
        achieved = functional.normalize(drawn * spread.sqrt(), dim=1).square().mean(0)
        spread = spread * values.clamp_min(1e-12) / achieved.clamp_min(1e-12)
    like: Tensor = ((drawn * spread.sqrt()) @ vectors.T).float()
    return like


def shared_subspace(a: Float[Tensor, "d d"], b: Float[Tensor, "d d"]) -> Score:
    """Overlap of the leading quarters of the dimensions of what two dictionaries write (second moments)."""
    size = max(1, len(a) // 4)
    found = subspace_overlap(leading_directions(a, size), leading_directions(b, size))
    return Score("seed_subspace", found.value, found.floor, 1.0, True, n=size, unit="dimension", version="1")


@dataclass(frozen=True)
class AcrossSeeds(Eval):
    """Shared latents and shared subspaces of an SAE and that of the next seed. Table: `pairs`."""

    matched_latents: int = 4096
    """Latents of one seed, at most, that are matched with all of another; spread evenly."""
    grades: Grades | None = Grades(size=512)
    """`size` are directions of the dictionary that is corrupted."""
    name: ClassVar[str] = "across_seeds"
    version: ClassVar[int] = 1
    asks_seeds_apart: ClassVar[bool] = True
    compares_seeds: ClassVar[bool] = True
    metrics: ClassVar = {
        "seed_mcc": Metric(
            "mean cosine of latents matched one to one between seeds", "higher", 1.0,
            "Gaussian directions with the dictionaries' own second moments", "1: the same latents", **_SELF,
        ),
        "seed_mcc_beyond_null": Metric(
            "the same beyond that of Gaussian directions of equal second moments", "higher", 1.0,
            "0: no more than anisotropy gives", "the same latents", **_SELF,
        ),
        "seed_shared": Metric(
            f"share of latents with a partner of cosine {SHARED:g} in another seed", "higher", 1.0,
            "what as many random directions share, exactly", "1: every latent", **_SELF,
        ),
        "seed_nearest": Metric(
            "mean largest cosine to a latent of another seed", "higher", 1.0,
            "the exact order-statistics null of isotropic directions", "1: the same latents", **_SELF,
        ),
        "seed_subspace": Metric(
            "overlap of the leading quarters of what two seeds write", "higher", 1.0,
            "a quarter: random subspaces", "1: the same subspace", **_SELF,
        ),
    }  # fmt: skip

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        opened = setting.opened
        for one in candidates:
            if one.other is None:
                raise BadInputError(f"{one.name} came without the SAE of another seed to be compared with")
            a, b = one.sae, one.other
            m = len(a.W_dec)
            chosen = torch.linspace(0, m - 1, min(m, self.matched_latents)).round().long()
            scores, table = agreement_scores(a.W_dec[chosen], b.W_dec, seed=setting.seed)
            squares, fired = _firing(a, opened.sample)
            written = (
                written_moment(a.W_dec, squares),
                written_moment(b.W_dec, _firing(b, opened.sample)[0]),
            )
            if bool(torch.stack([squares.sum(), written[1].trace()]).gt(0).all()):
                scores.append(shared_subspace(*written))
            table.insert(0, "latent", chosen.numpy())
            table["frequency"] = fired[chosen].numpy()
            if opened.truth is not None:
                found = max_cosines(a.W_dec[chosen], opened.truth.world.features)
                table["feature_cosine"] = found.cpu().numpy()
            yield EvalResult(scores, {"pairs": table})

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        rows = []
        n, d = self.grades.size, setting.source.d_in
        weights = torch.exp(-8 * torch.arange(n, dtype=torch.float64) / n)
        for seed in self.grades.seeds:
            directions = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
            for level in self.grades.levels:
                mixed = mixed_directions(directions, level, seed=seed)
                moments = (written_moment(unit_rows("rows", rows), weights) for rows in (directions, mixed))
                scores = [*agreement_scores(directions, mixed, seed=seed)[0], shared_subspace(*moments)]
                rows += [graded_row(one, "mixed", level, seed) for one in scores]
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        if step == "grade" and self.grades is not None:
            return 0.5 + 0.05 * len(self.grades.levels) * len(self.grades.seeds)
        if run is None:
            return 1.0
        n = min(self.matched_latents, run.arm.d_sae)
        return (
            0.2 + 1e-10 * n * n * run.arm.d_sae + 8e3 * run.arm.d_sae * source.d_in * pace.seconds_per_product
        )


def _firing(sae: Any, x: Float[Tensor, "n d_in"]) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Mean squares of all latents over `x`, and how often each fires, in float64."""
    rows, m = active_latents(sae, x), len(sae.W_dec)
    squares = torch.zeros(m, dtype=torch.float64)
    squares.index_add_(0, rows.latents.long().cpu(), rows.values.double().square().cpu())
    return squares / len(x), torch.bincount(rows.latents.cpu(), minlength=m).double() / len(x)
