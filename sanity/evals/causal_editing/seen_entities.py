"""The eval `causal_editing_seen`: SAEBench's split, in which every entity that is scored was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
import torch
from typing_extensions import override

from sanity.errors import BadInputError
from sanity.evals.base import EvalResult, Grades, Setting
from sanity.evals.causal_editing.asking import AskedSubject, EditedPair, FactQuestions
from sanity.evals.causal_editing.choosing import generator
from sanity.evals.causal_editing.eval import CausalEditing
from sanity.evals.causal_editing.tasks import EditingTask, SplitQuestions

SEEN = "_seen"
"""What ends the names of metrics that are read on entities that were fitted on."""


@dataclass(frozen=True)
class SeenEntities(CausalEditing):
    """`causal_editing` with pairs of entities divided, and not entities.

    Masks and rotations are fitted on a share of the pairs of the entities for fitting and scored on the other
    pairs of the same entities, with the same templates. What was learned of single entities counts here; how
    far an edit carries over to new ones does not show. Its gate is that of `causal_editing`.
    """

    fitted_share: float = 0.7
    """Of the pairs of entities, both directions together."""
    grades: Grades | None = None
    name: ClassVar[str] = "causal_editing_seen"
    version: ClassVar[int] = 1
    metrics: ClassVar = {
        f"{name}{SEEN}": replace(
            metric,
            label=f"{metric.label}, entities seen",
            gate="",
            reference="",
            ungated="its gate is that of the reading on new entities",
        )
        for name, metric in CausalEditing.metrics.items()
    }

    def __post_init__(self) -> None:
        if not 0 < self.fitted_share < 1:
            raise BadInputError(f"fitted_share is {self.fitted_share}: it must lie between 0 and 1")

    @override
    def open(self, setting: Setting) -> AskedSubject:
        return _SeenSubject(self, setting, self.fitted_share)

    @override
    def _scored(self, parts: Sequence[dict[str, Any]], pairs: pd.DataFrame) -> EvalResult:
        found = super()._scored(parts, pairs)
        return replace(found, scores=[replace(one, metric=f"{one.metric}{SEEN}") for one in found.scores])


class _SeenSubject(AskedSubject):
    def __init__(self, questions: FactQuestions, setting: Setting, share: float) -> None:
        super().__init__(questions, setting)
        self._share, self._seed = share, setting.seed

    @override
    def _task(self, pair: EditedPair) -> EditingTask:
        return divided(super()._task(pair), self._share, seed=self._seed)


def divided(task: EditingTask, share: float, *, seed: int) -> EditingTask:
    """The task with its fitting side divided: `share` of the pairs to fit on, the others to score on."""
    side = task.train
    n = len(side.entities)
    drawn = torch.rand(n, n, generator=generator(seed, "pairs to fit on")).triu(1)
    fitted = (drawn + drawn.T).to(side.allowed.device) < share
    parts = [SplitQuestions(side.target, side.others, side.allowed & which) for which in (fitted, ~fitted)]
    if not all(bool(part.allowed.any()) for part in parts):
        raise BadInputError(
            f"{int(side.allowed.sum())} pairs cannot be divided at {share:g}: give more entities"
        )
    return EditingTask(task.target, task.others, *parts)
