"""The eval `recovery`: what an SAE has found of a world whose features are known."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
from typing_extensions import override

from sanity.data import SyntheticStream, world_of
from sanity.engine.cells import Task
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.corrupted_truth import KINDS, corrupted_truth
from sanity.evals.metric import Metric
from sanity.evals.truth import (
    Truth,
    absorption_of,
    feature_table,
    geometry_table,
    latent_table,
    recovery_scores,
    spanned,
    truth_of,
    truth_scores,
)
from sanity.sources import Pace, RunSpec, Source, World
from sanity.sources.base import FIRST_CALIBRATION_STEP

_TRUTH = {"gate": "mixed", "reference": "the true directions, each mixed with a random one"}
_FOUND = "what as many random directions recover"
_DICTIONARY = "1: the true dictionary"


@dataclass(frozen=True)
class Recovery(Eval):
    """Which true features an SAE has, how well it detects them, and how its latents lie to each other.

    Tables: `absorption` (in a hierarchy), and in detail `features`, `latents` (a row each) and `geometry`.
    The gate corrupts the true dictionary, its encoder tied to it, in four ways.
    """

    grades: Grades | None = Grades(size=2048)
    """`size` are samples for each reading."""
    graded_l0: int | None = None
    """Active latents per sample of the true dictionary that is graded; None: as many as features."""
    detail: bool = True
    """Whether the tables behind the scores are kept, and pursuit and span are measured: that takes longer."""
    name: ClassVar[str] = "recovery"
    version: ClassVar[int] = 1
    not_in_scores: ClassVar[frozenset[str]] = frozenset({"grades", "graded_l0"})
    metrics: ClassVar = {
        "recovery": Metric("share of true features recovered", "higher", 1.0, _FOUND, _DICTIONARY, **_TRUTH),
        "frequency_weighted_recovery": Metric(
            "share of feature activations recovered", "higher", 1.0, _FOUND, _DICTIONARY, **_TRUTH
        ),
        "mean_max_cosine": Metric(
            "mean largest cosine to a true feature", "higher", 0.65,
            "the exact order-statistics null: 0.347 for d = 100, m = 3200", _DICTIONARY, **_TRUTH,
        ),
        "mean_matched_cosine": Metric(
            "mean cosine of features and latents matched one to one (MCC)", "higher", 0.65,
            "a random dictionary against random features", _DICTIONARY, **_TRUTH,
        ),
        "detection_f1": Metric(
            "F1 of detecting features by their nearest latent", "higher", 1.0, "a latent that is always on",
            "1: every activation of every feature", **_TRUTH,
        ),
    }  # fmt: skip

    @override
    def why_not(self, source: Source) -> str:
        return "" if isinstance(source, World) else "nobody knows its true features"

    @override
    def open(self, setting: Setting) -> Truth:
        stream, source = setting.opened.truth, setting.source
        assert stream is not None
        assert isinstance(source, World)
        return truth_of(stream, source.held_out)

    @override
    def score(self, candidates: Sequence[Candidate], shared: Truth, setting: Setting) -> Iterator[EvalResult]:
        stream = setting.opened.truth
        assert stream is not None
        times_seen = functools.cache(stream.times_active)
        for one in candidates:
            absorbed, absorption = absorption_of(one.sae, shared)
            scores, tables = [*recovery_scores(one.sae, shared), *absorbed], {"absorption": absorption}
            if self.detail and one.run is not None:
                latents = latent_table(one.sae, shared, one.start(setting.opened))
                scores += spanned(one.sae, shared, latents, l0=one.run.l0)
                tables["features"] = feature_table(one.sae, shared, times_seen(one.run.steps))
                tables["latents"] = latents
                tables["geometry"] = geometry_table(one.sae, latents)
            yield EvalResult(scores, {name: table for name, table in tables.items() if len(table)})

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        assert isinstance(setting.source, World)
        rows: list[dict[str, Any]] = []
        world = world_of(setting.source.spec, device=setting.device)
        l0 = self.graded_l0 or max(1, round(float(world.probabilities.sum())))
        for kind in KINDS:
            for seed in self.grades.seeds:
                stream = SyntheticStream(world, batch_size=self.grades.size, seed=seed)
                fitted = stream.batch(FIRST_CALIBRATION_STEP)
                truth = truth_of(stream, self.grades.size)
                for level in self.grades.levels:
                    sae = corrupted_truth(stream.world, kind, level, seed=seed, k=l0, x=fitted)
                    rows += [graded_row(one, kind, level, seed) for one in truth_scores(sae, truth)]
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        assert isinstance(source, World)
        each = 0.1 / (2048 * 640 * 40) * source.spec.n_features * source.d_in
        if step == "grade" and self.grades is not None:
            readings = len(KINDS) * len(self.grades.levels) * len(self.grades.seeds)
            return 1.0 + each * readings * self.grades.size
        return 0.3 + each * source.held_out
