"""The eval `directions`: how far decoder and encoder directions are from their start and from each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from typing_extensions import override

from sanity.baselines import SoftFrozenDecoder
from sanity.engine.arguments import checked
from sanity.evals.alignment import cosine_to_init, encoder_decoder_cosine
from sanity.evals.base import Candidate, Eval, EvalResult, Setting
from sanity.evals.cone import share_on_edge
from sanity.evals.metric import Metric
from sanity.models import Constraint
from sanity.sources import Pace, RunSpec, Source


@dataclass(frozen=True)
class Directions(Eval):
    """Cosines of decoder rows and encoder columns to where the decoder began, and to each other."""

    name: ClassVar[str] = "directions"
    version: ClassVar[int] = 1
    metrics: ClassVar = {
        "cosine_to_init": Metric(
            "cosine of decoder directions to their initialisation", "none", None, "0: unrelated",
            "1: unmoved", gate="mixed", reference="the true directions, each mixed with a random one",
        ),
        "encoder_cosine_to_init": Metric(
            "cosine of encoder directions to the decoder's initialisation", "none", None, "0: unrelated",
            "1: unmoved",
        ),
        "encoder_decoder_cosine": Metric(
            "cosine of encoder and decoder directions", "none", None, "0: unrelated", "1: tied",
        ),
        "share_on_edge": Metric(
            "share of latents on the edge of their cone", "higher", 1.0,
            "0: the constraint holds no latent back", "1: it holds every latent back",
        ),
    }  # fmt: skip

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        for one in candidates:
            scores = [encoder_decoder_cosine(one.sae)]
            start = one.start(setting.opened)
            if start is not None and one.run is not None:
                turned = cosine_to_init(one.sae.W_enc.T, start)
                scores += [
                    cosine_to_init(one.sae.W_dec, start),
                    replace(turned, metric="encoder_cosine_to_init"),
                    share_on_edge(one.sae.W_dec, start, smallest_cosine(one.run.arm.constraint)),
                ]
            yield EvalResult(scores)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        return 0.02 + 1e-8 * (run.arm.d_sae * source.d_in if run else 0)


@checked
def smallest_cosine(constraint: Constraint) -> float:
    """tau: the smallest cosine to its start that a constraint leaves a decoder row; -1 where it is free."""
    if isinstance(constraint, SoftFrozenDecoder):
        return constraint.cosine
    return -1.0 if "W_dec" in constraint.learns else 1.0
