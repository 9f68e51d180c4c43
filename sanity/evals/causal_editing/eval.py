"""The eval `causal_editing`: facts edited through a learned mask over an SAE's latents."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from typing_extensions import override

from sanity.engine.cells import Cost, Task
from sanity.engine.files import kept_json
from sanity.evals.base import GRADED_COLUMNS, Candidate, Eval, EvalResult, Grades, Setting
from sanity.evals.causal_editing.asking import AskedSubject, EditedPair, FactQuestions
from sanity.evals.causal_editing.choosing import generator, shares_known
from sanity.evals.causal_editing.dictionaries import Dictionary, neurons, principal_components, sae_dictionary
from sanity.evals.causal_editing.fitting import FitSettings, fit_rotation
from sanity.evals.causal_editing.scoring import (
    CEILING,
    DROPPED,
    PLANTED,
    ScoreRow,
    graded_dictionary,
    masked_edits,
    mean_scores,
    reach,
    row,
    scored_pairs,
    with_range,
)
from sanity.evals.causal_editing.tasks import EditingTask, TooFewKnownError
from sanity.evals.metric import Metric
from sanity.sources import Hook, Pace, RunSpec, Source, harvests_of

# Seconds until a process has imported what it needs and loaded the default language model; one SAE's share.
_LOADING, _SHARED_LOADING = 9.0, 3.0

_TABLES = ("edits", "mask")
_FLOORS = {
    "disentanglement": "the better of doing nothing and swapping everything",
    "cause": "0: no answer becomes the other entity's",
    "isolation": "0: no answer stays",
}
_HALF = "doing nothing has all of isolation, and swapping everything all of cause: only their mean is gated"


def _metric(part: str, suffix: str) -> Metric:
    label, mean = f"RAVEL {part}{', error term dropped' if suffix else ''}", part == "disentanglement"
    scaled = functools.partial(
        Metric, label, "higher", 0.5 if mean else 1.0, _FLOORS[part], "a learned rotation (DAS style)"
    )
    if mean:
        return scaled(
            gate=PLANTED, reference="an exact dictionary with the learned rotation among its latents"
        )
    return scaled(ungated=_HALF)


@dataclass(frozen=True)
class CausalEditing(FactQuestions, Eval):
    """Whether a mask over an SAE's latents changes one fact about an entity and leaves others.

    With the error term kept, what the SAE does not reconstruct of the base stays: then only the latents are
    judged. Dropped, as SAEBench has it, the reconstruction is judged, too. A score is a mean over the pairs
    of attributes that have range, which is decided for all seeds alike. A pair of which the subject knows too
    little is refused, and the others go on.

    Tables of an SAE: `edits`, a row per pair and set of latents swapped, and `mask`, the logits. Of the
    references the same, and `pairs`: a row each, with its scale or why it was refused. Prepared: `answers`,
    `templates` and the `choice` among them.
    """

    pairs: tuple[EditedPair, ...] = (EditedPair("number", ("initial",)),)
    least_range: float = 0.1
    """No score from a pair whose ceiling is not this far above its floor."""
    steps: int = 40
    prompts: int = 32
    """Per step of a fit, half of them about the target."""
    learning_rate: float = 0.1
    l1: float = 0.0
    rotation_rank: int = 64
    rotation_steps: int = 60
    rotation_learning_rate: float = 0.01
    exact: tuple[Literal["raw neurons", "PCA"], ...] = ("raw neurons", "PCA")
    """Exact dictionaries with a mask of their own, for comparison."""
    exact_seeds: tuple[int, ...] = (0,)
    scored_pairs: int = 640
    """Pairs of entities that the masks of one seed are scored on, in the primary reading."""
    control_pairs: int = 160
    """The first of them, on which all else of a seed is scored."""
    kept_seeds: tuple[int, ...] | None = None
    """Seeds on which the error term is kept; None: all."""
    dropped_seeds: tuple[int, ...] | None = (0,)
    """Seeds on which it is dropped, with another mask, fitted that way; None: all."""
    sizes: tuple[int, ...] = (16, 64, 256)
    """Mask sizes of the curve."""
    curve_seeds: tuple[int, ...] = (0,)
    grades: Grades | None = Grades(seeds=(1000, 1001, 1002), size=64)
    """`size` are pairs of entities."""

    name: ClassVar[str] = "causal_editing"
    version: ClassVar[int] = 3
    prepare_threads: ClassVar[int | None] = 1
    pools_references: ClassVar[bool] = True
    metrics: ClassVar = {
        f"ravel_{part}{suffix}": _metric(part, suffix) for suffix in ("", DROPPED) for part in _FLOORS
    }

    @override
    def why_not(self, source: Source) -> str:
        if not isinstance(source, Hook):
            return "there is no language model whose facts could be edited"
        return "" if self.pairs else "its `pairs` name no attribute to change"

    @override
    def threads(self, source: Source) -> int | None:
        return 1

    @property
    def _mask_fitting(self) -> FitSettings:
        return FitSettings(self.steps, self.prompts, self.learning_rate, l1=self.l1)

    @override
    def open(self, setting: Setting) -> AskedSubject:
        return AskedSubject(self, setting)

    @override
    def prepare(self, task: Task, setting: Setting) -> None:
        """Ask the subject for every fact with every template tried, and choose templates."""
        asked = self.open(setting)
        answered = asked.answers()
        task.save_table("answers", answered)
        task.save_table("templates", shares_known(answered))
        task.save_json("choice", asked.choice(answered))

    @override
    def refer(self, task: Task, setting: Setting, d_sae: int) -> None:
        """Both ends of every pair's scale, and masks over what reconstructs exactly; refusals are results."""
        refer = functools.partial(self._referred, asked=self.open(setting), setting=setting)
        found = [
            kept_json(task.scratch / f"pair-{i}.json", functools.partial(refer, pair))
            for i, pair in enumerate(self.pairs)
        ]
        task.save_table("pairs", pd.DataFrame([one["pair"] for one in found]))
        for name in _TABLES:
            task.save_table(name, pd.DataFrame([line for one in found for line in one[name]]))
        bases = {str(i): torch.tensor(one["basis"]) for i, one in enumerate(found) if one["basis"]}
        task.save_tensors("bases", bases)

    def _referred(self, pair: EditedPair, asked: AskedSubject, setting: Setting) -> dict[str, Any]:
        try:
            task = asked.task(pair)
        except TooFewKnownError as refusal:
            why = {"refused": str(refusal), "remaining": refusal.remaining, "needed": refusal.least}
            return {"pair": {**pair.columns, **why}, "edits": [], "mask": [], "basis": []}
        began = time.process_time()
        basis = fit_rotation(
            task,
            rank=self.rotation_rank,
            fitting=FitSettings(self.rotation_steps, self.prompts, self.rotation_learning_rate),
            generator=generator(setting.seed, "rotation"),
        )
        ends = reach(task, basis, scored_pairs(task, self.scored_pairs, seed=setting.seed))
        edits = [
            row("do nothing", ends.nothing, size=0),
            row("swap everything", ends.everything, size=basis.shape[0]),
            row(CEILING, ends.rotation, size=self.rotation_rank),
        ]
        rows = {"edits": [{**pair.columns, "through": CEILING, **one} for one in edits], "mask": []}
        train, _ = harvests_of(setting.inputs)
        exact = {
            "raw neurons": lambda: neurons(len(train.mean)),
            "PCA": lambda: principal_components(train.mean, train.covariance),
        }
        for name in self.exact if setting.seed in self.exact_seeds else ():
            masked = self._masked(task, exact[name](), pair, name, setting.seed)
            rows = {table: rows[table] + masked[table] for table in rows}
        cost = {"cpu_seconds": time.process_time() - began}
        scale = {**pair.columns, "refused": "", **task.counts, **ends.row(), **cost}
        return {"pair": scale, **rows, "basis": basis.tolist()}

    def _readings(self, seed: int) -> list[bool]:
        """Whether the error term is kept, for each way in which the SAEs of a seed are read."""
        wanted = {True: self.kept_seeds, False: self.dropped_seeds}
        return [kept for kept, seeds in wanted.items() if seeds is None or seed in seeds]

    def _masked(
        self,
        task: EditingTask,
        dictionary: Dictionary,
        pair: EditedPair,
        through: str,
        seed: int,
        readings: Sequence[bool] = (False,),
    ) -> dict[str, list[ScoreRow]]:
        found = masked_edits(
            task,
            dictionary,
            scored_pairs(task, self.scored_pairs, seed=seed),
            fitting=self._mask_fitting,
            seed=seed,
            readings=readings,
            sizes=self.sizes if seed in self.curve_seeds else (),
            controls=self.control_pairs,
        )
        about = {**pair.columns, "through": through}
        return {table: [{**about, **line} for line in lines] for table, lines in found.items()}

    @override
    def score(
        self, candidates: Sequence[Candidate], shared: AskedSubject, setting: Setting
    ) -> Iterator[EvalResult]:
        """Masks of every SAE, pair by pair: the prompts of a pair are made once for all SAEs."""
        references = setting.inputs["references"]
        every = pd.concat([one.table("pairs") for one in setting.references_of_all_seeds])
        pairs = with_range(references.table("pairs"), every, self.least_range)
        found: list[list[dict[str, Any]]] = [[] for _ in candidates]
        for i, pair in enumerate(self.pairs):
            for one, parts in zip(candidates, found, strict=True):
                if not pairs["refused"][i]:
                    file = one.scratch / f"pair-{i}.json" if one.scratch is not None else None
                    parts.append(kept_json(file, functools.partial(self._edited, one, pair, shared, setting)))
        for parts in found:
            yield self._scored(parts, pairs)

    def _edited(
        self, one: Candidate, pair: EditedPair, asked: AskedSubject, setting: Setting
    ) -> dict[str, Any]:
        task, (train, _) = asked.task(pair), harvests_of(setting.inputs)
        through = sae_dictionary(one.sae, centre=train.mean, factor=train.factor, name=one.name)
        began = time.process_time()
        found = self._masked(task, through, pair, "arm", setting.seed, self._readings(setting.seed))
        return {**found, "cpu_seconds": time.process_time() - began}

    def _scored(self, parts: Sequence[dict[str, Any]], pairs: pd.DataFrame) -> EvalResult:
        """The scores of one SAE, of what it did in every pair that was not refused."""
        if not parts:
            return EvalResult(refused="; ".join(pairs["refused"]))
        edits, mask = (pd.DataFrame([line for one in parts for line in one[name]]) for name in _TABLES)
        scores = mean_scores(edits, pairs, version=str(self.version))
        why = f"in no pair is the learned rotation ahead of the floor by {self.least_range:g}"
        facts = {"pairs": len(parts), "cpu_seconds": sum(one["cpu_seconds"] for one in parts)}
        return EvalResult(scores, {"edits": edits, "mask": mask}, facts, refused="" if scores else why)

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        """Corrupted dictionaries with masks of their own, for the first pair of which enough is known."""
        assert self.grades is not None
        bases = setting.inputs["references"].tensors("bases")
        rows: list[ScoreRow] = []
        for number in sorted(bases, key=int)[:1]:
            rows = graded_dictionary(
                self.open(setting).task(self.pairs[int(number)]),
                bases[number].to(setting.device),
                levels=self.grades.levels,
                seeds=self.grades.seeds,
                n_pairs=self.grades.size,
                fitting=self._mask_fitting,
            )
        return pd.DataFrame(rows, columns=list(GRADED_COLUMNS))

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> Cost:
        seed = run.arm.seed if run is not None else 0
        asked = sum(1 + len(pair.keep) for pair in self.pairs)
        few = min(self.control_pairs, self.scored_pairs)
        curve = len(self.sizes) + 2 if seed in self.curve_seeds and self.sizes else 0
        # A step back through the model takes as long as one forward.
        steps = 2 * len(self.pairs) * self.prompts
        mask = steps * self.steps + asked * (self.scored_pairs + (1 + curve) * few)
        second = (len(self._readings(seed)) - 1) * (steps * self.steps + 3 * asked * few)
        exact = len(self.exact) if seed in self.exact_seeds else 0
        grades = self.grades or Grades()
        one_pair = (steps * self.steps + asked * grades.size) / len(self.pairs)
        prompts = {
            "prepare": 1.5 * len(self.attributes) * self.templates_tried * self.most_entities,
            "refer": steps * self.rotation_steps + 2 * asked * self.scored_pairs + exact * mask,
            "score": mask + second,
            "grade": len(grades.levels) * len(grades.seeds) * one_pair,
        }
        loading = _SHARED_LOADING if step == "score" else _LOADING
        return Cost(loading + prompts[step] / pace.edits_per_second, memory_bytes=2 * 10**9)
