"""Sparse probing: can a yes-or-no question about a text be answered from a handful of latents?

The protocol is SAEBench's: latents are averaged over the tokens of a text, ranked by the difference of
their class means, and a logistic probe reads the first k. Ranking and fitting use the training texts, the
strength of regularisation is chosen on the validation texts, and the score is the accuracy on the test
texts, averaged over the tasks of a group and then over groups.

The floor is the same procedure on permuted labels, the choice of latents included; the ceiling is a probe
on all dimensions of the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from sanity.data.probing import WIDER
from sanity.data.probing_texts import LabelledTexts, ProbeTask
from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.score import Score
from sanity.evals.sparse_probing.fit import accuracy, auroc, decide, fit_logistic, log_loss

VERSION = "1"
DENSE = "residual stream (dense)"
"""The probe on all dimensions at once: the ceiling."""
Features: TypeAlias = Any
"""An array or a sparse matrix: one row per text, one column per latent (or neuron, component, direction)."""


@dataclass(frozen=True)
class Probing:
    """How probes are fitted; part of the key of every result."""

    ks: tuple[int, ...] = (1, 2, 5, 16)
    strengths: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Scikit-learn's C, from strong regularisation to weak; features have standard deviation 1."""
    standardised_ranking: bool = False
    """Rank latents by the difference of class means in standard deviations, instead of as it is."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or not self.strengths or min(self.strengths) <= 0:
            raise BadInputError(f"probes need numbers of latents from 1 and positive strengths, not {self}")


def floor_of(
    features: Features, tasks: Sequence[ProbeTask], probing: Probing, *, permutations: int, seed: int
) -> pd.DataFrame:
    """Probes on permuted labels, latents chosen by them: the frame of `sparse_probes`, with `permutation`."""
    found = []
    for number in range(permutations):
        frame = sparse_probes(features, permuted(tasks, seed=1000 * seed + number), probing)
        found.append(frame.assign(permutation=number))
    return pd.concat(found, ignore_index=True)


def corrupted_reference(
    means: Float[np.ndarray, "texts d_in"],
    tasks: Sequence[ProbeTask],
    probing: Probing,
    *,
    levels: Sequence[float],
    seed: int,
) -> pd.DataFrame:
    """The ceiling's own probes as latents, mixed with more and more noise: level and accuracy.

    One latent per task is the logit of that task's dense probe. At `level` it keeps 1 - level of its variance
    over texts, and noise makes up the rest; at 1 nothing of it is left.
    """
    _, directions = dense_probes(means, tasks, probing)
    latents = means @ directions.T
    latents = (latents - latents.mean(0)) / _deviation(latents)
    noise = np.random.default_rng(seed).standard_normal(latents.shape)
    rows = []
    for level in levels:
        mixed = np.sqrt(1 - level) * latents + np.sqrt(level) * noise
        found = sparse_probes(mixed, tasks, probing)
        rows += [{"level": level, "k": k, "value": over_groups(part)} for k, part in found.groupby("k")]
    return pd.DataFrame(rows)


def permuted(tasks: Sequence[ProbeTask], *, seed: int) -> list[ProbeTask]:
    """The same tasks with the labels of each part in random order."""
    rng = np.random.default_rng(seed)

    def shuffle(part: LabelledTexts) -> LabelledTexts:
        return LabelledTexts(part.rows, rng.permutation(part.labels))

    return [
        replace(t, train=shuffle(t.train), validation=shuffle(t.validation), test=shuffle(t.test))
        for t in tasks
    ]


def ranked(
    features: Features, part: LabelledTexts, n: int, *, standardised: bool = False
) -> Int[np.ndarray, " n"]:
    """The `n` columns whose class means on `part` differ most, the most different one first."""
    rows = features[part.rows]
    sign = np.where(part.labels, 1 / part.labels.sum(), -1 / (~part.labels).sum())
    difference = np.abs(np.asarray(rows.T @ sign)).ravel()
    if standardised:
        squares = rows.multiply(rows) if isinstance(rows, csr_matrix) else rows * rows
        mean = np.asarray(rows.mean(0)).ravel()
        deviation = np.sqrt(np.maximum(np.asarray(squares.mean(0)).ravel() - mean**2, 0))
        difference = np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 1e-12)
    order: np.ndarray = np.argsort(-difference, kind="stable")[:n]
    return order


@checked
def sparse_probes(features: Features, tasks: Sequence[ProbeTask], probing: Probing) -> pd.DataFrame:
    """Probes on the first k latents of every task: one row per task and k.

    Columns: task, group, k, accuracy and auroc (on the test texts), strength (chosen on the validation
    texts), latent (the first one), n_test.
    """
    most = min(max(probing.ks), features.shape[1])
    chosen = [ranked(features, t.train, most, standardised=probing.standardised_ranking) for t in tasks]
    parts = [
        [_dense(features[part.rows][:, columns]) for part in task.parts]
        for task, columns in zip(tasks, chosen, strict=True)
    ]
    scaled = [_standardised(*three) for three in parts]
    frames = []
    for k in probing.ks:
        first_k = [[x[:, :k] for x in three] for three in scaled]
        found, _ = _best_probes(first_k, tasks, probing.strengths)
        frames.append(found.assign(k=k, latent=[int(columns[0]) for columns in chosen]))
    return pd.concat(frames, ignore_index=True)


@checked
def dense_probes(
    features: Features, tasks: Sequence[ProbeTask], probing: Probing
) -> tuple[pd.DataFrame, Float[np.ndarray, "tasks width"]]:
    """Probes on all columns at once: a frame like that of `sparse_probes`, and each probe's direction.

    Each task's training texts span at most as many dimensions as there are texts. The problem is solved in
    these, which changes nothing: the penalty does not depend on the basis.
    """
    rotated, bases, scales = [], [], []
    for task in tasks:
        train, validation, test = (_dense(features[part.rows]) for part in task.parts)
        scaled = _standardised(train, validation, test)
        basis = np.linalg.qr(scaled[0].T)[0].T
        rotated.append([x @ basis.T for x in scaled])
        bases.append(basis)
        scales.append(_deviation(train))
    found, weights = _best_probes(rotated, tasks, probing.strengths)
    directions = [w[: len(b)] @ b / s for w, b, s in zip(weights, bases, scales, strict=True)]
    return found.assign(k=features.shape[1], latent=-1), np.stack(directions)


def _dense(rows: Features) -> np.ndarray:
    dense: np.ndarray = rows.toarray() if isinstance(rows, csr_matrix) else rows
    return dense.astype(np.float64, copy=False)


def _deviation(train: np.ndarray) -> np.ndarray:
    """Standard deviations, with 1 for columns that do not vary."""
    deviation = train.std(0)
    return np.where(deviation > 1e-12 * (1 + np.abs(train).max(0)), deviation, 1.0)


def _standardised(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> list[np.ndarray]:
    """All parts in standard deviations from the training texts' mean."""
    mean, deviation = train.mean(0), _deviation(train)
    return [(x - mean) / deviation for x in (train, validation, test)]


def _best_probes(
    parts: Sequence[Sequence[np.ndarray]], tasks: Sequence[ProbeTask], strengths: Sequence[float]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Fit every task at every strength, keep the one with the least validation loss, score it on test.

    Also gives the weights, the intercept last.
    """
    (x, y, here), (xv, yv, herev), (xt, yt, heret) = (
        _stacked([three[i] for three in parts], [task.parts[i] for task in tasks]) for i in range(3)
    )
    n, several = len(tasks), len(strengths)
    strength = np.tile(np.asarray(strengths, dtype=np.float64), n)
    again = np.repeat(np.arange(n), several)
    w = fit_logistic(x[again], y[again], strength, present=here[again])
    losses = log_loss(decide(xv[again], w), yv[again], herev[again]).reshape(n, several)
    # Where strengths differ by rounding only, the stronger regularisation.
    best = np.argmax(losses <= losses.min(1, keepdims=True) + 1e-9, axis=1)
    w = w.reshape(n, several, -1)[np.arange(n), best]
    logits = decide(xt, w)
    found = pd.DataFrame(
        {
            "task": [task.name for task in tasks],
            "group": [task.group for task in tasks],
            "accuracy": accuracy(logits, yt, heret),
            "auroc": auroc(logits, yt, heret),
            "strength": np.asarray(strengths)[best],
            "n_test": heret.sum(1),
        }
    )
    return found, w


def _stacked(
    xs: Sequence[np.ndarray], parts: Sequence[LabelledTexts]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and presence of problems of different sizes as one batch, filled up with zeros."""
    rows, width = max(len(x) for x in xs), max(x.shape[1] for x in xs)
    batch = np.zeros((len(xs), rows, width))
    labels, present = np.zeros((len(xs), rows), dtype=bool), np.zeros((len(xs), rows), dtype=bool)
    for i, (x, part) in enumerate(zip(xs, parts, strict=True)):
        batch[i, : len(x), : x.shape[1]] = x
        labels[i, : len(x)], present[i, : len(x)] = part.labels, True
    return batch, labels, present


def counted(found: pd.DataFrame) -> pd.DataFrame:
    """The rows that a score is made of: those of the concept groups; the wider set counts only if alone."""
    grouped = found["group"] != WIDER
    return found[grouped] if grouped.any() else found


def over_groups(found: pd.DataFrame, column: str = "accuracy") -> float:
    """Mean over concept groups of the mean over their tasks, of the rows that are `counted`."""
    return float(counted(found).groupby("group")[column].mean().mean())


def floors(found: pd.DataFrame) -> dict[int, float]:
    """Of each k: the mean over permutations of the score with permuted labels."""
    by_group = counted(found).groupby(["k", "permutation", "group"])["accuracy"].mean()
    each = by_group.groupby(["k", "permutation"]).mean()
    return {int(str(k)): float(mean) for k, mean in each.groupby("k").mean().items()}


def ceiling(tasks: pd.DataFrame) -> float:
    """The score of the dense probes on the residual stream."""
    return over_groups(tasks[tasks["features"] == DENSE])


def probing_scores(found: pd.DataFrame, *, floor: Mapping[int, float], ceiling: float) -> list[Score]:
    """One score for each k of a frame of `sparse_probes`; `n` are the tasks that it is the mean of."""
    tasks = counted(found)["task"].nunique()
    return [
        Score(
            f"sparse_probing_top{k}",
            over_groups(part),
            floor[int(str(k))],
            ceiling,
            True,
            tasks,
            "task",
            VERSION,
        )
        for k, part in found.groupby("k")
    ]
