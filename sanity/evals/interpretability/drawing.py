"""The eval `contexts`: which latents of an SAE are drawn, and where in unseen text they fire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from sanity.engine.cells import Cost, Result, Task
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Setting
from sanity.evals.interpretability.collecting import collect_contexts, divided
from sanity.evals.interpretability.contexts import DrawnContexts
from sanity.evals.interpretability.unseen_text import (
    activations_of,
    cut_pool,
    keep_pool,
    load_pool,
    read_on,
)
from sanity.evals.interpretability.windows import Pool
from sanity.sources import Hook, Pace, RunSpec, Source, harvests_of

_IN_MEMORY = 500_000
"""Tokens up to which the activations of all SAEs of a call are read once and kept."""


@dataclass(frozen=True)
class Contexts(Eval):
    """Latents drawn from each SAE at random, with their contexts: no score, but what others score from.

    The text is one for all; a training seed divides its documents and draws latents in its own way, so that
    seeds carry that noise, too. All SAEs of a seed are asked the same.
    """

    extra_tokens: int = 32_768
    """Unseen tokens read beyond the held-out ones; contexts come from both."""
    window: int = 32
    """Tokens per context, at most."""
    latents: int = 200
    """Latents drawn among the eligible of each SAE; the paper's number."""
    fewest: int = 10
    """A latent is eligible with at least so many contexts in which it fires, and as many others, per part."""
    seed: int = 0
    """Of the parts and of the order in which latents are drawn; an SAE's own seed is added."""
    name: ClassVar[str] = "contexts"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.extra_tokens < 0 or self.window < 8 or self.latents < 1 or self.fewest < 3:
            raise BadInputError(
                f"contexts were asked for with {self.extra_tokens} extra tokens, windows of {self.window}, "
                f"{self.latents} latents and at least {self.fewest} contexts: give at least 0, 8, 1 and 3"
            )

    @override
    def why_not(self, source: Source) -> str:
        return "" if isinstance(source, Hook) else "there is no text in which a latent could fire"

    @override
    def threads(self, source: Source) -> int | None:
        return 1

    @override
    def prepare(self, task: Task, setting: Setting) -> None:
        source = setting.source
        assert isinstance(source, Hook)
        _, held_out = harvests_of(setting.inputs)
        text = read_on(task, source, held_out, extra_tokens=self.extra_tokens, device=setting.device)
        keep_pool(task, cut_pool(text, source, window=self.window, seed=self.seed), text.text_hash)

    @override
    def open(self, setting: Setting) -> tuple[Pool, Callable[[], Iterable[Tensor]]]:
        kept, held_out = harvests_of(setting.inputs)
        prepared = setting.inputs["prepared"]
        pool = divided(load_pool(prepared), seed=self.seed + setting.seed)
        rows = activations_of(prepared, held_out, kept.normalisation, setting.device)
        if pool.n_tokens >= _IN_MEMORY:
            return pool, rows
        everything = list(rows())
        return pool, lambda: everything

    @override
    def score(
        self,
        candidates: Sequence[Candidate],
        shared: tuple[Pool, Callable[[], Iterable[Tensor]]],
        setting: Setting,
    ) -> Iterator[EvalResult]:
        pool, activations = shared
        amounts = {"n": self.latents, "fewest": self.fewest, "seed": self.seed + setting.seed}
        for one in candidates:
            try:
                found = collect_contexts(one.sae, pool, activations, **amounts)
            except BadInputError as error:
                # An arm may have no latent to ask about: pages say so, and go on with the others.
                yield EvalResult(refused=str(error))
            else:
                yield EvalResult(facts=found.facts(), tensors={"contexts": found.tensors()})

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> Cost:
        assert isinstance(source, Hook)
        tokens = source.held_out_tokens + self.extra_tokens
        if run is None:
            reading = 3.0 + self.extra_tokens / pace.tokens_per_second if self.extra_tokens else 0.0
            return Cost(
                6.0 + reading + tokens / 50_000,
                disk_bytes=self.extra_tokens * source.bytes_per_token + 50 * tokens,
                memory_bytes=3 * 10**9,
            )
        each = run.arm.d_sae * (source.d_in * pace.seconds_per_product + 1e-9)
        return Cost(0.1 + tokens * each, disk_bytes=2_000_000)


def contexts_of(pool: Pool, scored: Result) -> DrawnContexts | None:
    """What `Contexts` found of an SAE in the pool it prepared; None where no latent could be drawn."""
    facts = scored.json("facts")
    return None if "refused" in facts else DrawnContexts.restore(pool, scored.tensors("contexts"), facts)
