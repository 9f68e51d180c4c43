"""The eval `sparse_probing`: what a handful of latents tell of a text, between chance and a dense probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from typing_extensions import override

from sanity.data.probing import named_pools
from sanity.data.probing_texts import ProbeTask, check_task, collect, make_tasks
from sanity.engine.cells import Cost, Task
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting
from sanity.evals.metric import Metric
from sanity.evals.sparse_probing.protocol import (
    DENSE,
    Probing,
    ceiling,
    corrupted_reference,
    counted,
    dense_probes,
    floor_of,
    floors,
    over_groups,
    probing_scores,
    sparse_probes,
)
from sanity.evals.sparse_probing.reading import read_texts, text_activations
from sanity.evals.sparse_probing.texts import TextActivations, pooled_latents
from sanity.sources import Hook, Pace, RunSpec, Source, harvests_of

LATENTS = "latents"
OTHER_RANKING = "latents, ranked in standard deviations"
ALL_LATENTS = "all latents (dense)"
PERMUTED = "latents, permuted labels"
NEURONS, COMPONENTS, DIRECTIONS = "raw neurons", "principal components", "random directions"
REFERENCES = (DIRECTIONS, NEURONS, COMPONENTS)
"""Untrained features, in the same protocol."""
_PERMUTATIONS_OF_ARMS = 5
_PERMUTATIONS_OF_GRADES = 20


def _top(k: int) -> Metric:
    words = "one latent" if k == 1 else f"{k} latents"
    return Metric(
        f"sparse probing, {words}", "higher", 0.5, "permuted labels, selection included", "a dense probe",
        gate="dense probe", reference="the dense probe's own logit as a latent, mixed with noise",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class DividedTexts:
    """What the probes of one seed share: texts divided by the seed, with floor and ceiling there."""

    texts: TextActivations
    tasks: Sequence[ProbeTask]
    floor: dict[int, float]
    """Of each k: the score with permuted labels."""
    ceiling: float

    def __post_init__(self) -> None:
        for task in self.tasks:
            check_task(task)


@dataclass(frozen=True)
class SparseProbing(Eval):
    """Logistic probes on the few latents whose class means differ most, on labelled texts (SAEBench)."""

    pools: tuple[str, ...] = ("groups",)
    """Names of pools of labelled text; "groups" are the paper's five concept groups, "wider" all others."""
    per_class: int = 80
    """Texts of each class, as far as there are so many without duplicates."""
    window: int = 32
    """Tokens of a text that are read."""
    ks: tuple[int, ...] = (1, 2, 5, 16)
    permutations: int = 100
    """Permutations of the labels behind the floor."""
    storage_dtype: Literal["float32", "bfloat16", "float16"] = "float16"
    grades: Grades | None = Grades((0.0, 0.25, 0.5, 0.75, 0.9, 1.0), seeds=(1000, 1001, 1002, 1003, 1004))
    """Its seeds divide the texts on which the metric itself is tested; none of them is judged."""
    name: ClassVar[str] = "sparse_probing"
    version: ClassVar[int] = 1
    assets: ClassVar = ("sae-probes", "django-catalogues")
    metrics: ClassVar = {f"sparse_probing_top{k}": _top(k) for k in (1, 2, 5, 16)}

    @property
    def probing(self) -> Probing:
        """How probes are fitted."""
        return Probing(ks=self.ks)

    @override
    def why_not(self, source: Source) -> str:
        return "" if isinstance(source, Hook) else "there is no language model to read labelled texts"

    @override
    def threads(self, source: Source) -> int | None:
        return 1

    @override
    def prepare(self, task: Task, setting: Setting) -> None:
        source = setting.source
        assert isinstance(source, Hook)
        subject = source.at.load(setting.device)
        texts = collect(
            named_pools(self.pools), subject.tokenizer, per_class=self.per_class, window=self.window
        )
        read_texts(task, subject, texts, source, storage_dtype=self.storage_dtype)

    @override
    def refer(self, task: Task, setting: Setting, d_sae: int) -> None:
        tasks = self._tasks(setting, setting.seed)
        means = self._texts(setting, "cpu").text_means()
        kept, _ = harvests_of(setting.inputs)
        components = torch.linalg.eigh(kept.covariance.double()).eigenvectors.flip(1).numpy()
        drawn = np.random.default_rng(setting.seed).standard_normal((means.shape[1], d_sae))
        directions = drawn / np.linalg.norm(drawn, axis=0)
        features: dict[str, Any] = {
            NEURONS: means,
            COMPONENTS: means @ components,
            DIRECTIONS: _ProjectedTexts(means, directions),
        }
        found = [sparse_probes(x, tasks, self.probing).assign(features=n) for n, x in features.items()]
        dense, _ = dense_probes(means, tasks, self.probing)
        found.append(dense.assign(features=DENSE))
        task.save_table("tasks", pd.concat(found, ignore_index=True).assign(seed=setting.seed))
        other = replace(self.probing, standardised_ranking=True)
        again = [sparse_probes(x, tasks, other).assign(features=name) for name, x in features.items()]
        task.save_table("other_ranking", pd.concat(again, ignore_index=True).assign(seed=setting.seed))
        floor = floor_of(means, tasks, self.probing, permutations=self.permutations, seed=setting.seed)
        task.save_table("floor", floor.drop(columns=["latent", "strength"]).assign(seed=setting.seed))
        task.save_table("sizes", _sizes(tasks).assign(seed=setting.seed))

    @override
    def open(self, setting: Setting) -> DividedTexts:
        references = setting.inputs["references"]
        return DividedTexts(
            self._texts(setting, setting.device),
            self._tasks(setting, setting.seed),
            floors(references.table("floor")),
            ceiling(references.table("tasks")),
        )

    @override
    def score(
        self, candidates: Sequence[Candidate], shared: DividedTexts, setting: Setting
    ) -> Iterator[EvalResult]:
        for one in candidates:
            pooled = pooled_latents(one.sae, shared.texts)
            found = self._probed(pooled.means, shared.tasks, seed=setting.seed)
            latents = found[found["features"] == LATENTS]
            yield EvalResult(
                probing_scores(latents, floor=shared.floor, ceiling=shared.ceiling),
                tables={"tasks": found},
                facts={"l0": pooled.l0, "alive": pooled.alive, "latents": len(one.sae.W_dec)},
            )

    def _probed(self, means: Any, tasks: Sequence[ProbeTask], *, seed: int) -> pd.DataFrame:
        """The protocol itself, its variants, and its control: one row per features, task and k."""
        other = replace(self.probing, standardised_ranking=True)
        control = floor_of(means, tasks, self.probing, permutations=_PERMUTATIONS_OF_ARMS, seed=seed)
        numbers = ["accuracy", "auroc", "n_test"]
        by_task = control.groupby(["task", "group", "k"], sort=False, as_index=False)[numbers].mean()
        parts = {
            LATENTS: sparse_probes(means, tasks, self.probing),
            OTHER_RANKING: sparse_probes(means, tasks, other),
            ALL_LATENTS: dense_probes(means, tasks, self.probing)[0],
            PERMUTED: by_task.assign(strength=float("nan"), latent=-1),
        }
        return pd.concat([part.assign(features=name) for name, part in parts.items()], ignore_index=True)

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        """The dense probes' own logits as latents, mixed with noise."""
        assert self.grades is not None
        means = self._texts(setting, "cpu").text_means()
        frames = []
        for seed in self.grades.seeds:
            tasks = self._tasks(setting, seed)
            dense, _ = dense_probes(means, tasks, self.probing)
            permuted = floor_of(means, tasks, self.probing, permutations=_PERMUTATIONS_OF_GRADES, seed=seed)
            found = corrupted_reference(means, tasks, self.probing, levels=self.grades.levels, seed=seed)
            frames.append(
                found.assign(
                    metric=[f"sparse_probing_top{k}" for k in found["k"]],
                    kind="dense probe",
                    seed=seed,
                    floor=found["k"].map(floors(permuted)),
                    ceiling=over_groups(dense),
                    n=counted(dense)["task"].nunique(),
                )
            )
        return pd.concat(frames, ignore_index=True).drop(columns="k")

    def _tasks(self, setting: Setting, seed: int) -> list[ProbeTask]:
        return make_tasks(setting.inputs["prepared"].table("texts"), seed=seed)

    def _texts(self, setting: Setting, device: str) -> TextActivations:
        return text_activations(setting.inputs["prepared"], setting.inputs["train"], device)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float | Cost:
        classes = sum(len(pool.classes) for pool in named_pools(self.pools))
        # About how many tokens are read: most texts fill their window.
        tokens = classes * self.per_class * (1 + 0.75 * self.window)
        if step == "prepare":
            kept = source.d_in * (4 if self.storage_dtype == "float32" else 2)
            return Cost(6 + tokens / pace.tokens_per_second, int(tokens * kept), 2 * 10**9)
        if step == "refer":
            return 2.0 + 0.04 * self.permutations
        if step == "grade" or run is None:
            return 1.0 + 1.5 * (len(self.grades.seeds) if self.grades is not None else 0)
        return 0.8 + tokens * run.arm.d_sae * source.d_in * 1.3 * pace.seconds_per_product


@dataclass(frozen=True, eq=False)
class _ProjectedTexts:
    """Texts projected onto directions, as many rows at a time as are asked for: all at once may be 50 GB."""

    means: np.ndarray
    directions: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.means), self.directions.shape[1]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        projected: np.ndarray = self.means[rows] @ self.directions
        return projected


def _sizes(tasks: Sequence[ProbeTask]) -> pd.DataFrame:
    """How many texts each task has in each part."""
    return pd.DataFrame(
        {
            "task": [t.name for t in tasks],
            "group": [t.group for t in tasks],
            "train": [len(t.train.rows) for t in tasks],
            "validation": [len(t.validation.rows) for t in tasks],
            "test": [len(t.test.rows) for t in tasks],
        }
    )
