"""The eval `loss`: what the language model loses with an SAE spliced in, as recovered shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor
from typing_extensions import override

from sanity.engine.cells import Result, Task
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.drawing import drawn_windows, spread_windows
from sanity.evals.layer_splicing import hook_of, losses_at_layer
from sanity.evals.metric import Metric
from sanity.evals.mlp_splicing import losses_in_place
from sanity.evals.score import Score
from sanity.evals.scrambles import MeanMixture
from sanity.evals.splicing import LossRecovered, loss_recovered
from sanity.sources import Hook, Layers, OneLayer, Pace, RunSpec, Source, harvests_of
from sanity.subject import MLPSubject

_MEAN = {"gate": "mean", "reference": "the activation itself, moved towards its mean"}


@dataclass(frozen=True)
class Loss(Eval):
    """Cross-entropy and KL divergence between mean ablation (0) and the unspliced model (1)."""

    tokens: int = 2048
    """Held-out tokens, in windows spread over the text."""
    grades: Grades | None = Grades(size=384)
    """`size` are held-out tokens for each reading."""
    name: ClassVar[str] = "loss"
    version: ClassVar[int] = 1
    asks_seeds_apart: ClassVar[bool] = False
    metrics: ClassVar = {
        "ce_recovered": Metric(
            "cross-entropy recovered", "higher", 1.0, "0: mean ablation", "1: the unspliced model", **_MEAN
        ),
        "kl_recovered": Metric(
            "KL divergence recovered", "higher", 1.0, "0: mean ablation", "1: the unspliced model", **_MEAN
        ),
    }

    @override
    def why_not(self, source: Source) -> str:
        if isinstance(source, Hook) or (isinstance(source, OneLayer) and isinstance(source.of, Layers)):
            return ""
        if len(source.blocks) > 1:
            return (
                "it has several layers, which are spliced one at a time: score on a source `one layer` of it"
            )
        return "there is no language model to splice an SAE into"

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        hook, inputs = _at(setting)
        _, held_out = harvests_of(inputs)
        tokens, documents = spread_windows(held_out, self.tokens, among=hook.scored(held_out))
        saes = {str(i): one.sae for i, one in enumerate(candidates)}
        found = losses_at(setting, saes, tokens, documents=documents)
        for i, _ in enumerate(candidates):
            loss = found[str(i)]
            scores = [loss.cross_entropy, loss.kl_divergence, *recovered_shares(loss)]
            yield EvalResult(scores, tables={"per_document": loss.per_document})

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        kept, held_out = harvests_of(_at(setting)[1])
        one = setting.source
        width = one.of.d_in if isinstance(one, OneLayer) else kept.d_in
        mixed = {f"{level:g}": MeanMixture(width, level, setting.device) for level in self.grades.levels}
        rows = []
        for seed in self.grades.seeds:
            found = losses_at(setting, mixed, drawn_windows(held_out, self.grades.size, seed=seed))
            rows += [
                graded_row(score, "mean", float(name), seed)
                for name, loss in found.items()
                for score in recovered_shares(loss)
            ]
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        if step == "grade" and self.grades is not None:
            passes = len(self.grades.seeds) * (len(self.grades.levels) + 2)
            return 4.0 + 2.4 * passes * self.grades.size / pace.tokens_per_second
        return 1.0 + self.tokens / pace.tokens_per_second


def _at(setting: Setting) -> tuple[Hook, Mapping[str, Result]]:
    """The hook that is spliced, and its harvests."""
    source = setting.source
    if isinstance(source, OneLayer):
        assert isinstance(source.of, Layers)
        return hook_of(source), source.of.inputs_by_hook(setting.inputs)[source.index]
    assert isinstance(source, Hook)
    return source, setting.inputs


def losses_at(
    setting: Setting, saes: Mapping[str, Any], tokens: Tensor, *, documents: Tensor | None = None
) -> dict[str, LossRecovered]:
    """Losses with each SAE spliced in at the setting's hook, on some of its held-out windows.

    At an MLP, with each transcoder in the MLP's place; at one layer of several, of crosscoders with the
    reconstruction of that layer.
    """
    source, inputs = _at(setting)
    kept, held_out = harvests_of(inputs)
    tokens, first = tokens.to(setting.device), held_out.drop_first
    if isinstance(setting.source, OneLayer):
        more: dict[str, Any] = {"device": setting.device, "leave_first": first, "documents": documents}
        return losses_at_layer(setting.source, setting.inputs, saes, tokens, **more)
    subject = source.at.load(setting.device)
    if isinstance(subject, MLPSubject):
        return losses_in_place(subject, kept, saes, tokens, leave_first=first, documents=documents)
    return loss_recovered(
        subject,
        saes,
        tokens,
        hook=source.at.hook,
        centre=kept.mean,
        factor=kept.factor,
        mean=kept.mean,
        leave_first=first,
        documents=documents,
    )


def recovered_shares(loss: LossRecovered) -> list[Score]:
    """How far each loss has come from mean ablation (0) to the unspliced model (1).

    Where mean ablation costs nothing there is no way to be recovered, and the share is left out.
    """
    named = {"ce_recovered": loss.cross_entropy, "kl_recovered": loss.kl_divergence}
    return [
        replace(score, metric=name, value=score.normalised(), floor=0.0, ceiling=1.0, higher_is_better=True)
        for name, score in named.items()
        if score.has_range
    ]
