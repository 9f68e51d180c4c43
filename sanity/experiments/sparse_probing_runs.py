"""What the cells of `sparse_probing` compute: texts read once per language model, references, and probes."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sanity.data.probing import Pool
from sanity.data.probing_texts import ProbeTask, collect, make_tasks
from sanity.engine.cells import Cell, Result, Task, computes
from sanity.engine.files import disk_errors
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.evals.sparse_probing import (
    Probing,
    ProbingData,
    corrupted_reference,
    counted,
    dense_probes,
    floor_of,
    over_groups,
    probing_scores,
    sparse_probes,
)
from sanity.evals.sparse_probing_texts import TextActivations, pooled_latents
from sanity.experiments.grid import describe, score_rows
from sanity.experiments.real_activations import Place
from sanity.models import Arm, load_sae
from sanity.subject import ActivationStore, Subject

EXPERIMENT = "sparse_probing"
LATENTS = "latents"
OTHER_RANKING = "latents, ranked in standard deviations"
ALL_LATENTS = "all latents (dense)"
PERMUTED = "latents, permuted labels"
NEURONS, COMPONENTS, DIRECTIONS = "raw neurons", "principal components", "random directions"
DENSE = "residual stream (dense)"
LEVELS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
_PERMUTATIONS_OF_ARMS = 5
_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class TextReading:
    """Which labelled texts are read, and where in which language model."""

    place: Place
    pools: tuple[Pool, ...]
    per_class: int
    window: int
    storage_dtype: str
    drop_first: bool
    shard_tokens: int
    device: str


@dataclass(frozen=True)
class ReferenceProbes:
    """Floor, ceiling, and probes on features that nobody trained."""

    probing: Probing
    seed: int
    directions: int
    permutations: int


@dataclass(frozen=True)
class CorruptedProbes:
    """The ceiling's own probes, corrupted in grades."""

    probing: Probing
    seeds: tuple[int, ...]
    levels: tuple[float, ...]
    permutations: int


@dataclass(frozen=True)
class SaeProbes:
    """Probes on the latents of one arm."""

    probing: Probing
    arm: Arm
    l0: int
    hook: str
    subject: str
    device: str


@computes(version=1)
def read_probing_texts(task: Task) -> None:
    """Collect the labelled texts and keep the residual stream of each of their tokens, shard by shard."""
    config: TextReading = task.config
    subject = config.place.load(config.device)
    texts = collect(config.pools, subject.tokenizer, per_class=config.per_class, window=config.window)
    folder = task.scratch / "residuals"
    folder.mkdir(exist_ok=True)
    # Long texts first: texts of one length share a batch, and running out of memory shows at once.
    order = sorted(range(len(texts.windows)), key=lambda i: (-len(texts.windows[i]), i))
    bar: Any = track(description="read labelled texts", total=len(order), unit="text")
    with bar:
        for number, shard in enumerate(_shards(order, texts.windows, config.shard_tokens)):
            path = folder / f"shard-{number:05d}.safetensors"
            if not path.exists():
                temporary = path.with_suffix(".part")
                with disk_errors(folder):
                    save_file(_residuals(subject, texts.windows, shard, config), temporary)
                    os.replace(temporary, path)
            bar.update(len(shard))
    os.rename(folder, task.folder / "residuals")
    task.save_table("texts", texts.table)
    task.save_table("counts", texts.counts)


def _shards(order: Sequence[int], windows: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """The texts in groups of about so many tokens."""
    ends = np.cumsum([len(windows[i]) for i in order])
    which = (ends - 1) // tokens
    return [[order[int(i)] for i in np.flatnonzero(which == shard)] for shard in np.unique(which)]


def _residuals(
    subject: Subject, windows: Sequence[Sequence[int]], texts: Sequence[int], config: TextReading
) -> dict[str, Tensor]:
    """Activations [tokens, d_model] of some texts, and the number of each token's text."""
    bos = subject.tokenizer.bos_token_id
    start = [] if bos is None else [bos]
    # As in the autoencoders' own text: what is left out is the first position, or nothing.
    first = int(config.drop_first)
    dtype, kept, numbers = getattr(torch, config.storage_dtype), [], []
    longest = max(len(windows[i]) for i in texts) + len(start)
    at_once = max(1, _BATCH_TOKENS // longest)
    for begin in range(0, len(texts), at_once):
        batch = texts[begin : begin + at_once]
        ids = [[*start, *windows[i]] for i in batch]
        width = max(map(len, ids))
        # Attention is causal: what follows a text changes nothing in it.
        tokens = torch.tensor([[*row, *row[:1] * (width - len(row))] for row in ids])
        found = subject.residual(tokens, config.place.hook)
        for row, (number, own) in enumerate(zip(batch, ids, strict=True)):
            if len(own) <= first:
                raise BadInputError("a text of one token is nothing once its first position is left out")
            stored = found[row, first : len(own)].to("cpu", dtype)
            if not bool(torch.isfinite(stored).all()):
                raise BadInputError(f"activations do not fit {dtype}: set storage_dtype to bfloat16")
            kept.append(stored)
            numbers.append(torch.full((len(stored),), number, dtype=torch.int32))
    return {"activations": torch.cat(kept), "texts": torch.cat(numbers)}


def text_activations(texts: Result, train: Result, device: str) -> TextActivations:
    """The residuals of the texts, and the normalisation that the autoencoders were trained with."""
    kept = ActivationStore(train.folder("activations"))
    names = sorted(name for name in texts.files if name.startswith("residuals/"))

    def load(name: str) -> Mapping[str, Tensor]:
        loaded: dict[str, Tensor] = load_file(texts.local(name))
        return loaded

    return TextActivations(
        len(texts.table("texts")),
        [functools.partial(load, name) for name in names],
        kept.mean.to(device),
        kept.factor,
    )


@dataclass(frozen=True, eq=False)
class _Projected:
    """Texts projected onto directions, as many rows at a time as are asked for: all at once may be 50 GB."""

    means: np.ndarray
    directions: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.means), self.directions.shape[1]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        projected: np.ndarray = self.means[rows] @ self.directions
        return projected


@computes(version=2, threads=1)
def measure_references(task: Task) -> None:
    """Floor, ceiling, and the same protocol on raw neurons, principal components and random directions."""
    config: ReferenceProbes = task.config
    tasks = make_tasks(task.inputs["texts"].table("texts"), seed=config.seed)
    means = text_activations(task.inputs["texts"], task.inputs["train"], "cpu").mean()
    covariance = ActivationStore(task.inputs["train"].folder("activations")).covariance.double()
    components = torch.linalg.eigh(covariance).eigenvectors.flip(1).numpy()
    drawn = np.random.default_rng(config.seed).standard_normal((means.shape[1], config.directions))
    directions = drawn / np.linalg.norm(drawn, axis=0)
    features = {NEURONS: means, COMPONENTS: means @ components, DIRECTIONS: _Projected(means, directions)}
    found = [sparse_probes(x, tasks, config.probing).assign(features=n) for n, x in features.items()]
    dense, _ = dense_probes(means, tasks, config.probing)
    found.append(dense.assign(features=DENSE))
    task.save_table("tasks", pd.concat(found, ignore_index=True).assign(seed=config.seed))
    other = replace(config.probing, standardised_ranking=True)
    again = [sparse_probes(x, tasks, other).assign(features=name) for name, x in features.items()]
    task.save_table("other_ranking", pd.concat(again, ignore_index=True).assign(seed=config.seed))
    floor = floor_of(means, tasks, config.probing, permutations=config.permutations, seed=config.seed)
    task.save_table("floor", floor.drop(columns=["latent", "strength"]).assign(seed=config.seed))
    task.save_table("sizes", _sizes(tasks).assign(seed=config.seed))


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


def floors(found: pd.DataFrame) -> dict[int, float]:
    """Of each k: the mean over permutations of the score with permuted labels."""
    by_group = counted(found).groupby(["k", "permutation", "group"])["accuracy"].mean()
    each = by_group.groupby(["k", "permutation"]).mean()
    return {int(str(k)): float(mean) for k, mean in each.groupby("k").mean().items()}


def ceiling(tasks: pd.DataFrame) -> float:
    """The score of the dense probes on the residual stream."""
    return over_groups(tasks[tasks["features"] == DENSE])


@computes(version=1, threads=1)
def corrupt_references(task: Task) -> None:
    """The dense probes' own logits as latents, corrupted in grades: what the metric makes of it."""
    config: CorruptedProbes = task.config
    means = text_activations(task.inputs["texts"], task.inputs["train"], "cpu").mean()
    rows = []
    for seed in config.seeds:
        tasks = make_tasks(task.inputs["texts"].table("texts"), seed=seed)
        dense, _ = dense_probes(means, tasks, config.probing)
        floor = floors(floor_of(means, tasks, config.probing, permutations=config.permutations, seed=seed))
        found = corrupted_reference(means, tasks, config.probing, levels=config.levels, seed=seed)
        for row in found.to_dict("records"):
            k = int(row["k"])
            rows.append(
                {
                    "metric": f"sparse_probing_top{k}",
                    "level": float(row["level"]),
                    "seed": seed,
                    "value": float(row["value"]),
                    "floor": floor[k],
                    "ceiling": over_groups(dense),
                    "n": counted(dense)["task"].nunique(),
                }
            )
    task.save_table("graded", pd.DataFrame(rows))


def _one_seed(cell: Cell) -> object:
    """SAEs of one seed read the same texts with the same division."""
    run: SaeProbes = cell.config
    return [{n: c.key for n, c in cell.inputs if n != "sae"}, run.arm.seed, run.device]


@computes(version=1, together=_one_seed, threads=1)
def measure_probing(tasks: Sequence[Task]) -> None:
    """Probes on the latents of the arms of one seed."""
    first: SaeProbes = tasks[0].config
    inputs = tasks[0].inputs
    texts = text_activations(inputs["texts"], inputs["train"], first.device)
    divided = make_tasks(inputs["texts"].table("texts"), seed=first.arm.seed)
    floor, top = floors(inputs["references"].table("floor")), ceiling(inputs["references"].table("tasks"))
    for task in tasks:
        config: SaeProbes = task.config
        sae = load_sae(task.inputs["sae"].folder("sae")).to(device=config.device)
        pooled = pooled_latents(sae, texts)
        about = describe(EXPERIMENT, config.hook, config.arm, config.l0) | {"subject": config.subject}
        found = _probed(pooled.means, divided, config)
        scores = probing_scores(found[found["features"] == LATENTS], floor=floor, ceiling=top)
        task.save_table("tasks", found.assign(**about))
        task.save_table("scores", pd.DataFrame(score_rows(about, scores)))
        task.save_json("facts", {"l0": pooled.l0, "alive": pooled.alive, "latents": sae.d_sae})


def _probed(means: Any, tasks: Sequence[ProbeTask], config: SaeProbes) -> pd.DataFrame:
    """The protocol itself, its variants, and its control: one row per features, task and k."""
    other = replace(config.probing, standardised_ranking=True)
    control = floor_of(means, tasks, config.probing, permutations=_PERMUTATIONS_OF_ARMS, seed=config.arm.seed)
    numbers = ["accuracy", "auroc", "n_test"]
    by_task = control.groupby(["task", "group", "k"], sort=False, as_index=False)[numbers].mean()
    parts = {
        LATENTS: sparse_probes(means, tasks, config.probing),
        OTHER_RANKING: sparse_probes(means, tasks, other),
        ALL_LATENTS: dense_probes(means, tasks, config.probing)[0],
        PERMUTED: by_task.assign(strength=float("nan"), latent=-1),
    }
    return pd.concat([part.assign(features=name) for name, part in parts.items()], ignore_index=True)


def in_memory(texts: Result, train: Result, references: Result, *, seed: int, device: str) -> ProbingData:
    """What `score_sae` needs, with the floor and ceiling of one seed."""
    return ProbingData(
        text_activations(texts, train, device),
        make_tasks(texts.table("texts"), seed=seed),
        floors(references.table("floor")),
        ceiling(references.table("tasks")),
    )
