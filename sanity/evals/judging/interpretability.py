"""The eval `judged_interpretability`: latents described and recognised by judges that passed a gate.

prepare   each judge is asked about excerpts whose concepts are known: its gate
score     each judge describes latents and recognises their contexts; the first that passed gives the score
grade     from the gate's answers: ever more questions with another concept's description; a judge that
          compares texts also describes and recognises latents whose meaning is known, corrupted in steps
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from typing_extensions import override

from sanity.engine.cells import Cost, Result, Task
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Setting
from sanity.evals.interpretability import Contexts
from sanity.evals.interpretability.collecting import divided
from sanity.evals.interpretability.contexts import DrawnContexts
from sanity.evals.interpretability.drawing import contexts_of
from sanity.evals.interpretability.unseen_text import load_pool
from sanity.evals.interpretability.windows import Pool
from sanity.evals.judging.asking import Asker, Judge, JudgeSpec
from sanity.evals.judging.budget import Usage
from sanity.evals.judging.cache import AnswerCache
from sanity.evals.judging.client import open_endpoint
from sanity.evals.judging.costs import LOAD_SECONDS, cost_of, usage_of
from sanity.evals.judging.gate import (
    CONCEPTS,
    SHUFFLED_KIND,
    gate_verdict,
    graded_accuracy,
    registry_excerpts,
    run_gate,
)
from sanity.evals.judging.local import open_local
from sanity.evals.judging.matching import open_matcher
from sanity.evals.judging.opinions import Opinion, scored, why_silent
from sanity.evals.judging.planted import PLANTED_DRAWS, planted_accuracy
from sanity.evals.judging.scoring import Judgement, LatentTexts, judge_latents, texts_of
from sanity.evals.judging.settings import judges_called
from sanity.evals.metric import Metric
from sanity.sources import Pace, RunSpec, Source


@dataclass(frozen=True)
class JudgedInterpretability(Eval):
    """The paper's measure: how well contexts are recognised by a description that a judge wrote.

    Tables: `latents` and `transcript` of every judge (column `judge`), and `judges`, a row each, with whether
    it passed. A judge that failed its gate is not asked further behind an endpoint; one on this machine is,
    and its scores do not count.
    """

    drawn: Contexts = Contexts()
    """Which latents are drawn, and from which text."""
    model: str = ""
    """A judge on this machine: `minilm`, which compares texts, a known language model or a folder with one.
    Empty: those that the environment names (SANITY_JUDGE_*)."""
    latents: int = 200
    """Per SAE, the first ones drawn; fewer where fewer were drawn."""
    examples: int = 15
    """Strongest contexts that a description is made from."""
    contexts: int = 50
    """Activating contexts to recognise, and as many others."""
    same_word: int = 0
    """Activating contexts to tell from others that hold the same word, and as many of those; 0: not asked."""
    gate_contexts: int = 20
    """Excerpts that have a known concept, and as many that have not, for each concept of the gate."""
    gate_redraws: int = 0
    """Further draws of the gate's excerpts, to see how much it moves; they decide nothing."""
    gate_margin: float = 0.25
    """How far above chance a judge has to be where the truth is known."""
    texts_per_question: int = 10
    """Contexts that a judge behind an endpoint classifies in one call; a language model on this machine has
    one at a time, and the text matcher all that belong to a description."""
    reseeds: int | None = 12
    """Draws of the graded corruption of known descriptions, all from the same answers."""
    seed: int = 0
    """Of excerpts, and passed on to endpoints. With an SAE's own seed added: of its latents' silent contexts,
    of the order of contexts, and of who gets whose description."""
    judges: tuple[JudgeSpec, ...] = ()
    """Filled in when cells are planned: neither address nor key nor price, so that no result knows them."""
    name: ClassVar[str] = "judged_interpretability"
    version: ClassVar[int] = 2
    asks_seeds_apart: ClassVar[bool] = False
    not_in_scores: ClassVar[frozenset[str]] = frozenset({"reseeds"})
    metrics: ClassVar = {
        "autointerp_judge": Metric(
            "judged interpretability (accuracy)", "higher", 0.5,
            "0.5: chance, near which shuffled descriptions come", "1: every context classified",
            gate=SHUFFLED_KIND, reference="descriptions that are known to be right",
        ),
        "autointerp_judge_shuffled": Metric(
            "judged accuracy with another's description", "none", 0.5, "0.5: chance",
            "1: every context classified", ungated="it is a control",
        ),
        "autointerp_judge_same_word": Metric(
            "judged interpretability among contexts of the same word (accuracy)", "higher", 0.5,
            "0.5: chance among contexts that hold the same word", "1: every context classified",
            gate="word in topic", reference="latents whose meaning is known",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        if self.latents < 2 or not 1 <= self.examples <= 15 or self.contexts < 1 or self.gate_contexts < 2:
            raise BadInputError(
                "a judge is asked about 2 or more latents, each described from 1 to 15 contexts and "
                "recognised in 1 or more, and its gate has 2 or more excerpts of a kind; it was given "
                f"{self.latents}, {self.examples}, {self.contexts} and {self.gate_contexts}"
            )
        if self.same_word < 0 or self.gate_redraws < 0:
            raise BadInputError("contexts of the same word and draws of the gate's excerpts are 0 or more")
        if not 0 < self.gate_margin < 0.5:
            raise BadInputError(f"the gate's margin is between 0 and 0.5, not {self.gate_margin}")
        if self.texts_per_question < 1 or (self.reseeds is not None and self.reseeds < 2):
            raise BadInputError("a question has one text or more, and answers are drawn two times or more")

    @override
    def in_environment(self) -> Eval | None:
        found = self.judges or judges_called(
            self.model, texts_per_question=self.texts_per_question, seed=self.seed
        )
        return replace(self, judges=found) if found else None

    @override
    def why_not(self, source: Source) -> str:
        return self.drawn.why_not(source)

    @override
    def needs(self) -> Mapping[str, Eval]:
        return {"contexts": self.drawn}

    @override
    def prepare(self, task: Task, setting: Setting) -> None:
        """The gate of every judge; nothing of any SAE is in it."""
        # Sums of money are rarest: one excerpt in sixty names one.
        excerpts = registry_excerpts(per_source=max(150, 14 * self.gate_contexts), seed=self.seed)
        corpus = load_pool(setting.inputs["contexts.prepared"]).texts
        tables: dict[str, list[pd.DataFrame]] = {"concepts": [], "items": [], "transcript": [], "redraws": []}
        for spec in self.judges:
            judge = opened(spec, setting.device, task.scratch, corpus)
            first, *more = (
                run_gate(judge, excerpts, n=self.gate_contexts, seed=seed)
                for seed in range(self.seed, self.seed + 1 + self.gate_redraws)
            )
            found = {
                **{name: getattr(first, name) for name in ("concepts", "items", "transcript")},
                "redraws": pd.concat(
                    [one.concepts.assign(draw=draw) for draw, one in enumerate([first, *more])]
                ),
            }
            for name, table in found.items():
                tables[name].append(table.assign(judge=spec.label))
        for name, parts in tables.items():
            task.save_table(name, pd.concat(parts, ignore_index=True))

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        by_judge = [self._opinions(spec, candidates, setting) for spec in self.judges]
        return (scored(opinions) for opinions in zip(*by_judge, strict=True))

    def _opinions(
        self, spec: JudgeSpec, candidates: Sequence[Candidate], setting: Setting
    ) -> Iterator[Opinion]:
        """What a judge makes of each SAE; it is opened for the first of which it is asked."""
        passed, why = self.verdict(setting.inputs["prepared"], spec)
        pool = load_pool(setting.inputs["contexts.prepared"])
        judge = None
        for one in candidates:
            silent = why_silent(spec, passed, why, one.inputs["contexts"])
            judged = None
            if not silent:
                judge = judge or opened(spec, setting.device, candidates[0].scratch, pool.texts)
                judged = self._judged(judge, one, pool, setting)
                if judged.refused:
                    silent = f"{judged.unanswered:.0%} of the contexts have no usable answer"
            yield Opinion(spec, passed, why, judged, silent)

    def _judged(self, judge: Judge, one: Candidate, pool: Pool, setting: Setting) -> Judgement:
        contexts = contexts_of(pool, one.inputs["contexts"])
        assert contexts is not None
        seed = self.seed + (one.run.arm.seed if one.run is not None else setting.seed)
        return judge_latents(judge, self.texts(contexts, seed=seed), seed=seed)

    def texts(self, contexts: DrawnContexts, *, seed: int) -> list[LatentTexts]:
        """What a judge is shown of the latents of a collection."""
        return texts_of(
            contexts,
            self.latents,
            examples=self.examples,
            classified=self.contexts,
            same_word=self.same_word,
            seed=seed,
        )

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        """Of the judge that counts, or of the first one where none does; `counts` says which of the two."""
        gate = setting.inputs["prepared"]
        passed = {spec: self.verdict(gate, spec)[0] for spec in self.judges}
        spec = next((spec for spec, did in passed.items() if did), self.judges[0])
        items = gate.table("items")
        table = graded_accuracy(items[items["judge"] == spec.label], seeds=range(self.reseeds or 0))
        if spec.kind == "matcher":
            pool = load_pool(setting.inputs["contexts.prepared"])
            planted = planted_accuracy(
                opened(spec, setting.device, task.scratch, pool.texts),
                divided(pool, seed=self.drawn.seed),
                self.texts,
                fewest=self.drawn.fewest,
                seeds=range(self.seed, self.seed + min(self.reseeds or 0, PLANTED_DRAWS)),
            )
            table = pd.concat([table, planted], ignore_index=True)
        return table.assign(judge=spec.label, counts=passed[spec])

    def verdict(self, gate: Result, spec: JudgeSpec) -> tuple[bool, str]:
        """Whether a judge passed its gate (which `prepare` ran), and why not."""
        concepts = gate.table("concepts")
        return gate_verdict(concepts[concepts["judge"] == spec.label], margin=self.gate_margin)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> Cost:
        if step == "grade":
            return Cost(7.0 if any(spec.kind == "matcher" for spec in self.judges) else 0.2)
        of = self._gate_cost if step == "prepare" else self._score_cost
        return sum(map(of, self.judges), Cost(0.0, 0, 0))

    def expected(self, spec: JudgeSpec, saes: int) -> tuple[Usage, float]:
        """What a judge's gate and judging so many SAEs may cost, and how many seconds they may take.

        Without what is on disk already.
        """
        usage, seconds = self._gate_usage(spec), self._gate_cost(spec).seconds
        for _ in range(saes):
            usage += self._score_usage(spec)
        return usage, seconds + saes * self._score_cost(spec).seconds

    def _gate_usage(self, spec: JudgeSpec) -> Usage:
        asked = {"latents": len(CONCEPTS), "examples": 0, "contexts": 2 * self.gate_contexts}
        return usage_of(spec, context_characters=130, **asked)

    def _score_usage(self, spec: JudgeSpec) -> Usage:
        asked = {"latents": self.latents, "examples": self.examples}
        contexts = 2 * self.contexts + self.same_word
        return usage_of(spec, contexts=contexts, context_characters=round(4.5 * self.drawn.window), **asked)

    def _gate_cost(self, spec: JudgeSpec) -> Cost:
        return cost_of(spec, self._gate_usage(spec), descriptions=0) + Cost(2 * LOAD_SECONDS, 0, 0)

    def _score_cost(self, spec: JudgeSpec) -> Cost:
        return cost_of(spec, self._score_usage(spec), descriptions=self.latents)


def opened(spec: JudgeSpec, device: str, scratch: Path | None, corpus: Sequence[str]) -> Judge:
    """The judge; a language model on this machine keeps its answers in `scratch`, for an interrupted run.

    From `corpus` the text matcher knows how common words are.
    """
    if spec.kind == "matcher":
        return open_matcher(spec.model, corpus, device=device)
    if spec.kind == "endpoint":
        return Asker(open_endpoint(spec.model, seed=spec.seed), spec.texts_per_question)
    cache = AnswerCache(scratch / "answers") if scratch is not None else None
    return Asker(open_local(spec.model, device=device, cache=cache), spec.texts_per_question)
