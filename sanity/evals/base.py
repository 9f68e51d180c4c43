"""What an eval is: one frozen dataclass, from what it prepares to how its own reference is corrupted.

    prepare   once for a source: texts read, facts asked           -> files
    refer     once for a source and seed: floors, ceilings, untrained references  -> files
    open      once for each call: live objects, such as a language model
    score     many SAEs of one seed in one call, so that reference passes are shared -> `EvalResult`
    grade     the task's own reference, corrupted in steps: what its validity gate reads -> rows

All but `score` may be left out. The planner turns each into a cell (see `sanity.experiments.planner`); a new
eval is one file with one class. Its fields and its `version` are part of the key of everything it computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import CheckedDataclass
from sanity.engine.cells import Cost, Result, Task
from sanity.engine.naming import FamilyMember
from sanity.errors import BadInputError
from sanity.evals.metric import Metric, declare
from sanity.evals.score import Score
from sanity.models import PairedStream, initial_directions
from sanity.sources import OpenedSource, Pace, RunSpec, Source


@dataclass(frozen=True)
class Grades(CheckedDataclass):
    """How a reference is corrupted for the validity gate."""

    levels: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """How far: 0 not at all, 1 entirely."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Draws of the corruption and of what is evaluated; five or more also show false alarms."""
    size: int = 2048
    """What is read for each: samples, activations or tokens, as the eval says."""

    def __post_init__(self) -> None:
        levels = list(self.levels)
        if sorted(set(levels)) != levels or len(levels) < 2 or (levels[0], levels[-1]) != (0.0, 1.0):
            raise BadInputError(f"levels of corruption must rise from 0 to 1; these do not: {levels}")
        if not self.seeds or self.size < 1:
            raise BadInputError("graded corruption needs at least one seed and a size of at least 1")


@dataclass(frozen=True, eq=False)
class Setting:
    """Where an eval works: a source and a seed, with the results that were asked for.

    `inputs` holds the source's own cells, and of this eval `prepared` and `references` where it has them;
    where it pools these, `references.SEED` of every seed; of an eval that it `needs` under the name N,
    `N.prepared`.
    """

    source: Source
    seed: int
    batch_size: int
    device: str
    inputs: Mapping[str, Result]

    @cached_property
    def opened(self) -> OpenedSource:
        """The source, ready to be read: opened once."""
        return self.source.open(self.inputs, batch_size=self.batch_size, seed=self.seed, device=self.device)

    @property
    def references_of_all_seeds(self) -> list[Result]:
        """This seed's references alone, unless the eval pools those of all seeds."""
        pooled = [result for name, result in self.inputs.items() if name.startswith("references.")]
        return pooled or [self.inputs["references"]]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An SAE that is to be scored.

    `inputs` holds what other evals found out about it, under the names by which they are needed. `scratch`
    survives a kill. `other` is the SAE of the next seed, for an eval that `compares_seeds`.
    """

    sae: Any
    run: RunSpec | None = None
    """What it was trained as; None for one that was given."""
    inputs: Mapping[str, Result] = field(default_factory=dict)
    scratch: Path | None = None
    other: Any = None

    @property
    def name(self) -> str:
        """In words."""
        return self.run.arm.label if self.run is not None else type(self.sae).__name__

    def start(self, opened: OpenedSource) -> Float[Tensor, "d_sae d_in"] | None:
        """The unit rows with which its decoder began; None where nobody knows."""
        if self.run is None:
            return None
        stream = opened.stream
        space = (stream.d_in, stream.covariance)
        if isinstance(stream, PairedStream):
            space = (stream.d_out, stream.target_covariance)
        directions = initial_directions(self.run.arm, *space, self.sae.W_dec.dtype)
        return directions.to(self.sae.W_dec.device)


@dataclass(frozen=True, eq=False)
class EvalResult:
    """What an eval says of one SAE: scores, tables and tensors with the detail behind them, and facts.

    With `refused`, in words, there is nothing to score. With the fact `counts` False the scores are shown and
    no claim is judged by them; the fact `why` says why.
    """

    scores: Sequence[Score] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    tensors: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


GRADED_COLUMNS = ("metric", "kind", "level", "seed", "value", "floor", "ceiling", "n")
"""Of the rows that `grade` gives."""


def graded_row(score: Score, kind: str, level: float, seed: int) -> dict[str, Any]:
    """A score as the validity gate reads it."""
    ends = {"value": score.value, "floor": score.floor, "ceiling": score.ceiling, "n": score.n}
    return {"metric": score.metric, "kind": kind, "level": level, "seed": seed, **ends}


@dataclass(frozen=True)
class Eval(FamilyMember, family="eval"):
    """The base of all evals. A new one gives a `name`, its `metrics` and `score`; the rest as it needs."""

    version: ClassVar[int] = 1
    """Raise it whenever the numbers change: old scores are then no longer found."""
    metrics: ClassVar[Mapping[str, Metric]] = {}
    """What it measures; declared here and nowhere else."""
    asks_seeds_apart: ClassVar[bool] = True
    """Whether SAEs of different seeds are scored in calls of their own, since a seed draws what they are
    asked; otherwise all SAEs of a source are scored in one call."""
    prepare_threads: ClassVar[int | None] = None
    """On how many threads `prepare` works best; None: on all."""
    pools_references: ClassVar[bool] = False
    """Whether a score reads the references of all seeds of its grid's block, and not of its own alone: such
    as for a decision that must be the same for all seeds."""
    compares_seeds: ClassVar[bool] = False
    """Whether a score is about a pair: the SAE of a seed, and that of the next seed of its grid's block. The
    last seed is followed by the first, but for two seeds, which are one pair and have one score."""
    not_in_scores: ClassVar[frozenset[str]] = frozenset({"grades"})
    """Fields that only `grade` reads: they are no part of the key of scores."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if cls.__dict__.get("name"):
            declare(cls.metrics)

    def in_environment(self) -> Eval | None:
        """The eval as it is planned here: itself.

        One that reads the environment (who is the judge?) puts what it finds into its fields, so that it is
        part of every key, and gives None where there is nothing to ask: then nothing is planned.
        """
        return self

    def why_not(self, source: Source) -> str:
        """Why it cannot be asked of SAEs on this source, in words; empty where it can."""
        return ""

    def grades_on(self, source: Source) -> bool:
        """Whether its reference can be corrupted on this source, where it has `grade`."""
        return True

    def threads(self, source: Source) -> int | None:
        """On how many threads the steps after `prepare` work best; None: on all."""
        return source.threads

    def needs(self) -> Mapping[str, Eval]:
        """Other evals whose prepared files and scores of the same SAE this one reads, by a name for each."""
        return {}

    def prepare(self, task: Task, setting: Setting) -> None:
        """Fill the task's folder with what all SAEs of a source share."""

    def refer(self, task: Task, setting: Setting, d_sae: int) -> None:
        """Fill the task's folder with floors, ceilings and untrained references of the setting's seed."""

    def open(self, setting: Setting) -> Any:
        """Live objects that `score` shares between the SAEs of one call."""
        return None

    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterable[EvalResult]:
        """What is found of each SAE, in order."""
        raise BadInputError(f"{type(self).__name__} does not say how it scores: define score")

    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        """The task's own reference, corrupted in steps: rows with the columns `GRADED_COLUMNS`.

        What trained and random arms score takes no part in it.
        """
        raise BadInputError(f"{type(self).__name__} has no reference to corrupt: define grade")

    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float | Cost:
        """What "prepare", "refer", "score" (of one SAE) or "grade" is expected to take on two cores.

        On its own threads, where it overrides `threads`.
        """
        return 1.0

    def has(self, step: str) -> bool:
        """Whether it takes the step "prepare", "refer" or "grade"."""
        return getattr(type(self), step) is not getattr(Eval, step)
