"""How well and how sparsely an SAE reconstructs: explained variance, L0, dead latents.

There is one definition of explained variance in the package, and it is here (Section 3 of the paper):

    EV = 1 - sum ||x - x_hat||^2 / sum ||x - mean(x)||^2,

with the mean over all samples, so that it does not depend on how they are split into batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from sanity.engine.arguments import checked
from sanity.engine.cells import Task
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.drawing import drawn_rows
from sanity.evals.inputs import SparseAutoencoder, coded, require_finite
from sanity.evals.metric import Metric
from sanity.evals.score import Score
from sanity.sources import Hook, Pace, RunSpec, Source

# Below this share of E||x||^2 a variance is rounding error of float64 sums.
_ROUNDING = 1e-26


class ExplainedVariance:
    """Explained variance over batches, accumulated in float64.

    The result is the same, up to rounding, however the samples are split. Floor: the mean as
    reconstruction. Ceiling: the activation itself.

    >>> x = torch.eye(2)
    >>> total = ExplainedVariance()
    >>> for row in x.split(1):
    ...     total.update(row, row)
    >>> float(total.score())
    1.0
    """

    def __init__(self) -> None:
        self._n = 0
        self._mean = torch.zeros(())
        self._deviation = 0.0  # sum ||x - mean||^2
        self._residual = 0.0  # sum ||x - x_hat||^2

    @checked
    @torch.no_grad()
    def update(self, x: Float[Tensor, "n d_in"], x_hat: Float[Tensor, "m d_hat"]) -> None:
        """Add samples `x` with their reconstructions `x_hat`.

        Raises `BadInputError` for shapes that differ and for values that are not finite.
        """
        if x.shape != x_hat.shape:
            raise BadInputError(
                f"x has shape {list(x.shape)} and its reconstruction {list(x_hat.shape)}: they must be equal"
            )
        if self._n and x.shape[1] != self._mean.shape[0]:
            raise BadInputError(
                f"a batch {x.shape[1]} wide follows batches {self._mean.shape[0]} wide: all must be equal"
            )
        if not len(x):
            return
        require_finite("x", x)
        require_finite("x_hat", x_hat)
        x = x.double()
        self._residual += float((x - x_hat.double()).square_().sum())
        mean = x.mean(0)
        deviation = float((x - mean).square_().sum())
        # Chan, Golub and LeVeque (1979): sums of squares about the mean of two parts, joined.
        before, after = self._n, self._n + len(x)
        shift = mean - self._mean
        self._deviation += deviation + float(shift.square().sum()) * before * len(x) / after
        self._mean = self._mean + shift * (len(x) / after)
        self._n = after

    def score(self) -> Score:
        """The score over everything added so far.

        Raises `BadInputError` for no samples, and for samples that do not vary.
        """
        if not self._n:
            raise BadInputError("explained variance was asked of no samples: add some with update(x, x_hat)")
        if self._deviation <= _ROUNDING * self._n * float(self._mean.square().sum()):
            raise BadInputError(
                f"the {self._n} samples are all equal, so there is no variance to explain: "
                "give samples that differ"
            )
        value = 1.0 - self._residual / self._deviation
        return Score("explained_variance", value, 0.0, 1.0, True, n=self._n, unit="sample", version="1")


@checked
def explained_variance(x: Float[Tensor, "n d_in"], x_hat: Float[Tensor, "m d_hat"]) -> Score:
    """Share of the variance of `x` that `x_hat` explains; see `ExplainedVariance` for data in batches.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> float(explained_variance(x, x)), float(explained_variance(x, torch.ones(2, 1)))
    (1.0, 0.0)
    """
    total = ExplainedVariance()
    total.update(x, x_hat)
    return total.score()


@checked
@torch.no_grad()
def firing_frequency(
    sae: SparseAutoencoder, batches: Iterable[Float[Tensor, "_ d_in"]]
) -> Float[Tensor, " d_sae"]:
    """Share of the samples of `batches` in which each latent is active, in float64."""
    fired, n = _read(sae, batches, None)
    return fired.double() / n


@checked
@torch.no_grad()
def reconstruction_scores(
    sae: SparseAutoencoder,
    batches: Iterable[Float[Tensor, "_ d_in"]],
    *,
    targets: Iterable[Float[Tensor, "_ d_out"]] | None = None,
) -> dict[str, Score]:
    """Explained variance, L0 and dead latents, by name, in one pass over `batches`.

    The share of dead latents falls with the number of samples: say on how many it was measured. With
    `targets`, part by part as the batches, it is the variance of these that is to be explained: a
    transcoder's.
    """
    total = ExplainedVariance()
    fired, n = _read(sae, batches, total, targets)
    d_sae = len(fired)
    dead = int((fired == 0).sum()) / d_sae
    scores = [
        total.score(),
        Score("l0", int(fired.sum()) / n, float(d_sae), None, False, n=n, unit="sample", version="1"),
        Score("dead_latents", dead, 1.0, 0.0, False, n=d_sae, unit="latent", version="1"),
    ]
    return {score.metric: score for score in scores}


def _read(
    sae: SparseAutoencoder,
    batches: Iterable[Float[Tensor, "_ d_in"]],
    total: ExplainedVariance | None,
    targets: Iterable[Float[Tensor, "_ d_out"]] | None = None,
) -> tuple[Int[Tensor, " d_sae"], int]:
    """How often each latent is active and in how many samples; adds the reconstructions to `total`."""
    fired = torch.zeros(sae.W_dec.shape[0], dtype=torch.int64, device=sae.W_dec.device)
    n = 0
    pairs = ((x, x) for x in batches) if targets is None else zip(batches, targets, strict=True)
    for x, target in pairs:
        require_finite("x", x)
        start = 0
        for active, x_hat in coded(sae, x):
            fired += active
            if total is not None:
                total.update(target[start : start + len(x_hat)], x_hat.to(target))
            start += len(x_hat)
        n += len(x)
    if not n:
        raise BadInputError("no samples were given: an SAE is measured on at least one")
    return fired, n


@dataclass(frozen=True)
class Reconstruction(Eval):
    """Explained variance (of a transcoder: of its target), L0 and dead latents on all held-out activations.

    The validity gate moves the activation itself towards its mean. What explained variance says of a true
    dictionary is a finding (see the eval `recovery`) and turns nothing off.
    """

    grades: Grades | None = Grades(size=4096)
    """`size` are held-out activations for each reading."""
    name: ClassVar[str] = "reconstruction"
    version: ClassVar[int] = 1
    metrics: ClassVar = {
        "explained_variance": Metric(
            "explained variance", "higher", 1.0, "0: the mean as reconstruction", "1: the activation itself",
            gate="mean", reference="the activation itself, moved towards its mean",
        ),
        "l0": Metric(
            "active latents per sample", "none", None, "a dense code: every latent active",
            "none: a quantity to match",
            ungated="it is a quantity to be matched, of which no value is better",
        ),
        "dead_latents": Metric(
            "share of latents that never fire", "lower", 1.0, "1: all dead", "0: none dead",
            gate="silenced", reference="the true dictionary, a share of its latents silenced",
        ),
    }  # fmt: skip

    @override
    def grades_on(self, source: Source) -> bool:
        return isinstance(source, Hook)

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        for one in candidates:
            opened = setting.opened
            targets = opened.targets() if opened.pairs else None
            yield EvalResult(list(reconstruction_scores(one.sae, opened.batches(), targets=targets).values()))

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        rows = []
        for seed in self.grades.seeds:
            x = drawn_rows(setting.opened, self.grades.size, seed=seed).to(setting.device)
            rows += [
                graded_row(explained_variance(x, x * (1 - level)), "mean", level, seed)
                for level in self.grades.levels
            ]
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        if run is None:
            return 1.0
        return 0.05 + source.scored_samples * run.arm.d_sae * source.d_in * pace.seconds_per_product
