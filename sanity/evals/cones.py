"""The eval `cones`: what the cones about a decoder's anchors reach of a world's true features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from typing_extensions import override

from sanity.evals.base import Candidate, Eval, EvalResult, Setting
from sanity.evals.cone import reach_of_anchors
from sanity.evals.directions import smallest_cosine
from sanity.evals.feature_recovery import mean_max_cosine_of, recovery_of
from sanity.evals.metric import Metric, declare
from sanity.sources import Pace, RunSpec, Source, World


@dataclass(frozen=True)
class Cones(Eval):
    """What an arm's constraint leaves within reach of its decoder, each feature by itself.

    A ceiling on `recovery` and no prediction of it: one latent cannot turn to two features at once.
    """

    name: ClassVar[str] = "cones"
    version: ClassVar[int] = 1
    metrics: ClassVar = {
        "reachable_recovery": Metric(
            "share of true features within reach of a cone", "none", None,
            "what as many random directions recover", "1: every feature within reach",
            ungated="it is computed from where the decoder began, and measures no SAE",
        ),
        "reachable_cosine": Metric(
            "mean largest cosine to a true feature within reach of a cone", "none", None,
            "the exact order-statistics null", "1: every feature within reach",
            ungated="it is computed from where the decoder began, and measures no SAE",
        ),
    }  # fmt: skip

    @override
    def why_not(self, source: Source) -> str:
        return "" if isinstance(source, World) else "nobody knows its true features"

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        truth = setting.opened.truth
        assert truth is not None
        for one in candidates:
            start = one.start(setting.opened)
            if one.run is None or start is None:
                yield EvalResult(refused="nobody knows where its decoder began")
                continue
            reached = reach_of_anchors(truth.world.features, start, smallest_cosine(one.run.arm.constraint))
            yield EvalResult(
                [
                    replace(recovery_of(reached, start), metric="reachable_recovery"),
                    replace(mean_max_cosine_of(reached, start), metric="reachable_cosine"),
                ]
            )

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        assert isinstance(source, World)
        latents = run.arm.d_sae if run else source.spec.n_features
        return 0.05 + 1e-9 * latents * source.spec.n_features * source.d_in


_FORMULA = "it is computed from a formula and measures nothing"
declare(
    {
        "log10_cone_bound": Metric(
            "log10 of the paper's bound on hitting a cone", "none", None, "none", "none", ungated=_FORMULA
        ),
        "cone_reach": Metric(
            "largest cosine that the best of m cones can reach",
            "none",
            None,
            "none",
            "none",
            ungated=_FORMULA,
        ),
    }
)
