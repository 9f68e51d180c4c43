"""The eval `beyond_affine`: what a transcoder explains of what the best affine map of the input leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.engine.cells import Task
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.inputs import reconstructed
from sanity.evals.metric import Metric
from sanity.evals.reconstruction import ExplainedVariance
from sanity.evals.score import Score
from sanity.models import PairedStream
from sanity.sources import MLP, Pace, RunSpec, Source, SyntheticCircuit


@dataclass(frozen=True)
class BeyondAffine(Eval):
    """1 - (squared error of the transcoder) / (squared error of the best affine map), on held-out pairs.

    The affine map is fitted by least squares to what arms are trained on. A function's linear part needs no
    latents: a transcoder that is not above 0 shows nothing of the rest. Facts: the affine map's own explained
    variance.
    """

    samples: int = 65_536
    """Training samples that the affine map is fitted to."""
    grades: Grades | None = Grades(size=4096)
    """`size` is not read: all held-out pairs are."""
    name: ClassVar[str] = "beyond_affine"
    version: ClassVar[int] = 1
    metrics: ClassVar = {
        "beyond_affine": Metric(
            "explained of what an affine map leaves", "higher", 1.0, "0: the best affine map of the input",
            "1: the target itself", gate="affine",
            reference="the target, moved towards the affine map's estimate",
        ),
    }  # fmt: skip

    @override
    def why_not(self, source: Source) -> str:
        return "" if isinstance(source, MLP | SyntheticCircuit) else "there are no targets next to inputs"

    @override
    def prepare(self, task: Task, setting: Setting) -> None:
        stream = setting.opened.stream
        assert isinstance(stream, PairedStream)
        task.save_tensors("affine", affine_map(stream, self.samples))

    @override
    def open(self, setting: Setting) -> dict[str, Tensor]:
        found: dict[str, Tensor] = setting.inputs["prepared"].tensors("affine")
        return {name: value.to(setting.device) for name, value in found.items()}

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        for one in candidates:
            own, affine = ExplainedVariance(), ExplainedVariance()
            assert setting.opened.pairs is not None
            for x, target in setting.opened.pairs():
                own.update(target, reconstructed(one.sae, x))
                affine.update(target, (x @ shared["weights"] + shared["bias"]).to(target))
            floor = affine.score()
            yield EvalResult([_beyond(own.score(), floor)], facts={"affine_explained_variance": floor.value})

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        assert setting.opened.pairs is not None
        rows, shared = [], self.open(setting)
        for seed in self.grades.seeds:
            draw = torch.Generator().manual_seed(seed)
            totals = {level: ExplainedVariance() for level in self.grades.levels}
            affine = ExplainedVariance()
            for x, target in setting.opened.pairs():
                some = torch.randint(len(x), (max(2, len(x) // 2),), generator=draw)
                estimate = (x[some] @ shared["weights"] + shared["bias"]).to(target)
                affine.update(target[some], estimate)
                for level, total in totals.items():
                    total.update(target[some], torch.lerp(target[some], estimate, level))
            floor = affine.score()
            rows += [
                graded_row(_beyond(t.score(), floor), "affine", level, seed) for level, t in totals.items()
            ]
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        if step == "prepare":
            return 1.0 + 1e-10 * self.samples * source.d_in**2
        if run is None:
            return 1.0
        return 0.2 + source.scored_samples * run.arm.d_sae * source.d_in * pace.seconds_per_product


def _beyond(own: Score, affine: Score) -> Score:
    value = 1 - (1 - own.value) / max(1 - affine.value, 1e-12)
    return Score("beyond_affine", value, 0.0, 1.0, True, n=own.n, unit="sample", version="1")


@torch.no_grad()
def affine_map(stream: PairedStream, samples: int) -> dict[str, Float[Tensor, "*any"]]:
    """Least squares from inputs to targets over a stream's first batches: `weights` [d_in, d_out], `bias`."""
    d = stream.d_in + 1
    gram = torch.zeros(d, d, dtype=torch.float64)
    cross = torch.zeros(d, stream.d_out, dtype=torch.float64)
    for step in range(-(-samples // stream.batch_size)):
        x = stream.batch(step).double().cpu()
        design = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        gram.addmm_(design.T, design)
        cross.addmm_(design.T, stream.targets(step).double().cpu())
    # A ridge of 1e-9 of the mean variance: inputs may lie in fewer dimensions than they have.
    gram.diagonal().add_(1e-9 * float(gram.diagonal().mean()))
    found = torch.linalg.solve(gram, cross).float()
    return {"weights": found[:-1].contiguous(), "bias": found[-1].contiguous()}
