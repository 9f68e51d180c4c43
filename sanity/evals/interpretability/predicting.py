"""The eval `interpretability`: how predictable what a latent fires on is from examples, without a judge."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
from typing_extensions import override

from sanity.engine.cells import Cost, Task
from sanity.errors import BadInputError
from sanity.evals.base import GRADED_COLUMNS, Candidate, Eval, EvalResult, Setting
from sanity.evals.interpretability.collecting import divided
from sanity.evals.interpretability.concepts import graded_scores
from sanity.evals.interpretability.contexts import DrawnContexts
from sanity.evals.interpretability.drawing import Contexts, contexts_of
from sanity.evals.interpretability.encoder import SentenceEncoder
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.scoring import ScoringSettings, score_latents, summarise
from sanity.evals.interpretability.unseen_text import load_pool
from sanity.evals.metric import Metric
from sanity.sources import Hook, Pace, RunSpec, Source

log = logging.getLogger("sanity")

SHOWN_CONTEXTS = 4

_SHUFFLED, _RANKED = "0.5: shuffled examples", "1: every context ranked"


def _graded(gate: str) -> dict[str, str]:
    return {"gate": gate, "reference": "latents whose examples are known"}


@dataclass(frozen=True)
class Interpretability(Eval):
    """Held-out contexts ranked by their likeness to a latent's examples, and how much of it is single words.

    Tables: `latents` (a row each) and `examples` (the strongest contexts of the first few). The gate reads
    made-up latents that fire where something known is the case, corrupted in steps.
    """

    drawn: Contexts = Contexts()
    """Which latents are drawn, and from which text."""
    examples: int = 15
    """Strongest contexts that stand for a latent's description; the paper's number."""
    intruder_sets: int = 20
    """Sets of examples with one intruder, per latent."""
    shown: int = 3
    """Latents of each SAE in the table of examples, the first ones drawn."""
    reseeds: int | None = 6
    """Draws of the graded corruption of known concepts."""
    name: ClassVar[str] = "interpretability"
    version: ClassVar[int] = 1
    assets: ClassVar = ("minilm",)
    not_in_scores: ClassVar[frozenset[str]] = frozenset({"reseeds"})
    metrics: ClassVar = {
        "autointerp_auroc": Metric(
            "held-out example AUROC", "higher", 0.5, _SHUFFLED, _RANKED, **_graded("topic")
        ),
        "autointerp_auroc_strong": Metric(
            "held-out example AUROC (strongest quarter)", "higher", 0.5, _SHUFFLED, _RANKED,
            **_graded("topic"),
        ),
        "autointerp_auroc_token_matched": Metric(
            "held-out example AUROC (same word)", "higher", 0.5,
            "0.5: chance among contexts that hold the same word", _RANKED, **_graded("word in topic"),
        ),
        "autointerp_auroc_source_matched": Metric(
            "held-out example AUROC (same source)", "higher", 0.5,
            "0.5: chance among contexts from the same source", _RANKED, **_graded("word"),
        ),
        "autointerp_auroc_shuffled": Metric(
            "held-out example AUROC (another's description)", "none", 0.5, _SHUFFLED, _RANKED,
            ungated="it is a control",
        ),
        "autointerp_lookup_auroc": Metric(
            "AUROC of a word list", "higher", 0.5, _SHUFFLED, _RANKED, **_graded("word")
        ),
        "autointerp_purity": Metric(
            "lexical purity", "higher", 1.0, "what as many random tokens have", "1: always the same word",
            **_graded("word"),
        ),
        "autointerp_ngram_f1": Metric(
            "F1 of the best n-gram", "higher", 1.0, "0: never right", "1: the rule is the latent",
            **_graded("word"),
        ),
        "autointerp_ngram_recall": Metric(
            "recall of the best n-gram", "higher", 1.0, "0: never right", "1: every activation",
            **_graded("word"),
        ),
        "autointerp_intruder": Metric(
            "intruders found", "higher", 0.8, "0.2: one of five at random", "1: every intruder",
            **_graded("topic"),
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        if min(self.examples, self.intruder_sets) < 1 or self.shown < 0:
            raise BadInputError("interpretability takes at least one example and one set with an intruder")
        if self.reseeds is not None and self.reseeds < 2:
            raise BadInputError(f"known concepts are drawn two times or more, not {self.reseeds}")

    @override
    def why_not(self, source: Source) -> str:
        return self.drawn.why_not(source)

    @override
    def threads(self, source: Source) -> int | None:
        return 1

    @override
    def needs(self) -> Mapping[str, Eval]:
        return {"contexts": self.drawn}

    @override
    def prepare(self, task: Task, setting: Setting) -> None:
        """Embed every context of the pool once, for all SAEs."""
        texts = load_pool(setting.inputs["contexts.prepared"]).texts
        task.save_tensors("embeddings", {"contexts": SentenceEncoder(device=setting.device).embed(texts)})

    @override
    def open(self, setting: Setting) -> PoolFeatures:
        return self._features(setting, self.drawn.seed + setting.seed)

    @override
    def score(
        self, candidates: Sequence[Candidate], shared: PoolFeatures, setting: Setting
    ) -> Iterator[EvalResult]:
        scoring = self._scoring(self.drawn.seed + setting.seed)
        for one in candidates:
            contexts = contexts_of(shared.pool, one.inputs["contexts"])
            if contexts is None:
                yield EvalResult(refused=one.inputs["contexts"].json("facts")["refused"])
                continue
            latents = score_latents(contexts, shared, scoring)
            tables = {"latents": latents, "examples": strongest_contexts(contexts, self.shown)}
            yield EvalResult(summarise(latents, shared, scoring), tables)

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        seed, draws = self.drawn.seed, self.reseeds or 0
        gated = [name for name, metric in self.metrics.items() if metric.gate]
        try:
            return graded_scores(
                self._features(setting, seed),
                self._scoring(seed),
                metrics=gated,
                fewest=self.drawn.fewest,
                seeds=range(seed, seed + draws),
            )
        except BadInputError as error:
            # So little text that no concept has enough contexts leaves the scores ungated.
            log.warning("known concepts are not graded: %s", error)
            return pd.DataFrame(columns=list(GRADED_COLUMNS))

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float | Cost:
        assert isinstance(source, Hook)
        windows = (source.held_out_tokens + self.drawn.extra_tokens) / self.drawn.window
        if step == "prepare":
            return Cost(1.0 + windows / 300, memory_bytes=10**9)
        if step == "grade":
            return 1.0 + (self.reseeds or 0) * (0.5 + 2e-4 * windows)
        return 0.1 + self.drawn.latents * (3e-3 + 1e-6 * windows)

    def _features(self, setting: Setting, seed: int) -> PoolFeatures:
        pool = load_pool(setting.inputs["contexts.prepared"])
        embeddings = setting.inputs["prepared"].tensors("embeddings")["contexts"]
        return PoolFeatures(divided(pool, seed=seed), embeddings)

    def _scoring(self, seed: int) -> ScoringSettings:
        return ScoringSettings(examples=self.examples, intruder_sets=self.intruder_sets, seed=seed)


def strongest_contexts(contexts: DrawnContexts, latents: int) -> pd.DataFrame:
    """The strongest contexts of the first few latents: a row each, with its tokens and their activations."""
    rows = [
        {
            "latent": contexts[i].latent,
            "window": context.window,
            "document": context.document,
            "source": context.source,
            "pieces": list(context.pieces),
            "activations": list(context.activations),
        }
        for i in range(min(latents, len(contexts)))
        for context in contexts[i].top(SHOWN_CONTEXTS)
    ]
    return pd.DataFrame(rows)
