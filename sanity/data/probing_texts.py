"""From pools of labelled text to windows of tokens without duplicates, and to split yes-or-no tasks.

Duplicates are removed before anything is divided, so none can sit on both sides: texts with the same
opening, texts that appear under two labels of a pool (all copies), and texts whose window shares a run of
`RUN` tokens with one that was taken before (licences, headers, syndicated news).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from sanity.data.documents import in_seeded_order, opening
from sanity.data.probing import ProbingPool, Row
from sanity.data.text import token_ids
from sanity.errors import BadInputError

RUN = 13
"""Windows that share a run of so many tokens are duplicates; shorter windows when they are equal."""
SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}
SMALLEST = 4
"""Texts that a class needs, so that each part of the split has one and the training part two."""

# Candidates that are tokenised for each text that is wanted, and characters for each token.
_SPARE, _CHARACTERS = 2, 12


@dataclass(frozen=True, eq=False)
class ProbingTexts:
    """Windows of labelled text and where they come from."""

    table: pd.DataFrame
    """One row per text: pool, group, label, unit, tokens (how many), cut (whether the text is longer)."""
    windows: list[list[int]]
    """Token ids of each text, without BOS."""
    counts: pd.DataFrame
    """One row per pool and class: what was there, what was removed and why, what is used."""


def collect(
    pools: Sequence[ProbingPool], tokenizer: Any, *, per_class: int, window: int, seed: int = 0
) -> ProbingTexts:
    """Up to `per_class` texts of every class of every pool, as windows of at most `window` tokens.

    Raises
    ------
    BadInputError
        A class has fewer than `SMALLEST` texts once duplicates are removed, or an argument is out of range.
    AssetError
        A table has not been fetched.
    """
    if window < 1 or per_class < SMALLEST:
        raise BadInputError(
            f"windows of {window} tokens and {per_class} texts a class give no task: take at least one "
            f"token, and {SMALLEST} texts for a split into training, validation and test"
        )
    rows: list[dict[str, Any]] = []
    windows: list[list[int]] = []
    counts: list[dict[str, Any]] = []
    for pool in pools:
        taken, seen = _without_duplicates(pool, tokenizer, per_class, window, seed)
        counts += seen
        windows += [one.ids for one in taken]
        for one in taken:
            unit = hashlib.sha256(one.row.unit.encode("utf-8", "replace")).hexdigest()[:16]
            about = {"pool": pool.name, "group": pool.group, "label": one.label, "unit": unit}
            rows.append(about | {"tokens": len(one.ids), "cut": one.cut})
    return ProbingTexts(pd.DataFrame(rows), windows, pd.DataFrame(counts))


class _Window(NamedTuple):
    """A text as it is read, and whether it is longer than that."""

    label: str
    row: Row
    ids: list[int]
    cut: bool


def _without_duplicates(
    pool: ProbingPool, tokenizer: Any, per_class: int, window: int, seed: int
) -> tuple[list[_Window], list[dict[str, Any]]]:
    """The texts of a pool that are used, and for each class what became of its rows."""
    found = {one.label: one.rows() for one in pool.classes}
    labels_of: dict[str, set[str]] = {}
    for label, (rows, _) in found.items():
        for row in rows:
            labels_of.setdefault(opening(row.text), set()).add(label)
    counts: dict[str, dict[str, Any]] = {}
    candidates: dict[str, list[_Window]] = {}
    for label, (rows, others) in found.items():
        single = [row for row in rows if len(labels_of[opening(row.text)]) == 1]
        ordered = in_seeded_order(single, seed, lambda row: row.unit)
        distinct = list({opening(row.text): row for row in reversed(ordered)}.values())[::-1]
        looked_at = distinct[: _SPARE * per_class]
        candidates[label] = list(_windows(label, looked_at, tokenizer, window, pool.keep))
        counts[label] = {
            "pool": pool.name,
            "group": pool.group,
            "label": label,
            "rows": len(rows) + others,
            "of_other_half": others,
            "contradicting": len(rows) - len(single),
            "repeated": len(single) - len(distinct),
            "looked_at": 0,
            "overlapping": 0,
        }
    taken = list(_taken_in_turns(candidates, counts, per_class))
    for label, count in counts.items():
        mine = [one for one in taken if one.label == label]
        if len(mine) < SMALLEST:
            raise BadInputError(
                f"the class {label!r} of {pool.name!r} has {len(mine)} texts without duplicates (of "
                f"{count['rows']} rows): a split into training, validation and test needs {SMALLEST}"
            )
        count |= {"used": len(mine), "cut": sum(one.cut for one in mine)}
    return taken, list(counts.values())


def _windows(label: str, rows: Sequence[Row], tokenizer: Any, window: int, keep: str) -> Iterator[_Window]:
    """Each row with the tokens at the end that is kept, and whether there were more."""
    if not rows:
        return
    # What is far beyond the window is not tokenised: only that it exists matters.
    most = _CHARACTERS * window
    texts = [row.text.strip() for row in rows]
    shown = [text[:most] if keep == "start" else text[-most:] for text in texts]
    for row, text, part, ids in zip(rows, texts, shown, token_ids(tokenizer, shown), strict=True):
        kept = ids[:window] if keep == "start" else ids[-window:]
        if kept:
            yield _Window(label, row, kept, len(ids) > window or len(part) < len(text))


def _taken_in_turns(
    candidates: dict[str, list[_Window]], counts: dict[str, dict[str, Any]], per_class: int
) -> Iterator[_Window]:
    """Texts of the classes in turns, leaving out those that share a run of tokens with an earlier one."""
    seen: set[tuple[int, ...]] = set()
    queues = {label: iter(rows) for label, rows in candidates.items()}
    left = dict.fromkeys(queues, per_class)
    while left:
        for label in list(left):
            one = next(queues[label], None)
            if one is None:
                del left[label]
                continue
            counts[label]["looked_at"] += 1
            runs = {tuple(one.ids[i : i + RUN]) for i in range(max(1, len(one.ids) - RUN + 1))}
            if runs & seen:
                counts[label]["overlapping"] += 1
                continue
            seen |= runs
            left[label] -= 1
            yield one
            if not left[label]:
                del left[label]


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Some texts with their labels."""

    rows: Int[np.ndarray, " n"]
    """Numbers of the texts."""
    labels: Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """One yes-or-no question, with as many texts of either answer in each part."""

    name: str
    pool: str
    group: str
    train: LabelledTexts
    validation: LabelledTexts
    test: LabelledTexts

    @property
    def parts(self) -> tuple[LabelledTexts, LabelledTexts, LabelledTexts]:
        """Training, validation, test."""
        return self.train, self.validation, self.test


def check_task(task: ProbeTask) -> None:
    """Raise `BadInputError` when a part is empty or has one class only, or when parts share texts."""
    for name, part in zip(SHARES, task.parts, strict=True):
        if not len(part.rows) or part.labels.all() or not part.labels.any():
            raise BadInputError(
                f"the {name} part of the task {task.name!r} has {int(part.labels.sum())} texts that are it "
                f"and {int((~part.labels).sum())} that are not: a probe needs both, so give more texts"
            )
    rows = np.concatenate([part.rows for part in task.parts])
    if len(np.unique(rows)) < len(rows):
        raise BadInputError(f"the parts of the task {task.name!r} share texts: each belongs to one part only")


def make_tasks(texts: pd.DataFrame, *, seed: int) -> list[ProbeTask]:
    """The tasks of all pools in `texts` (the table of `collect`), divided by `seed`.

    Texts of one unit fall into one part, whatever their class. Two classes give one task, more of them one
    task each against the others, which are drawn in equal numbers.
    """
    tasks = []
    for pool, part in texts.groupby("pool", sort=False):
        labels = list(dict.fromkeys(part["label"]))
        if len(labels) < 2:
            raise BadInputError(f"the pool {pool!r} has texts of one class only, {labels}: a probe needs two")
        cells = _divided(part, seed)
        for label in labels[:1] if len(labels) == 2 else labels:
            name = str(pool) if len(labels) == 2 else f"{pool}: {label}"
            parts = [_balanced({lab: cells[lab, step] for lab in labels}, label) for step in SHARES]
            task = ProbeTask(name, str(pool), str(part["group"].iloc[0]), *parts)
            check_task(task)
            tasks.append(task)
    return tasks


def _divided(texts: pd.DataFrame, seed: int) -> dict[tuple[str, str], list[int]]:
    """(label, part of the split) -> numbers of texts of one pool, in an order fixed by `seed`."""
    labels = texts.groupby("unit")["label"].agg(lambda own: "\0".join(sorted(set(own))))
    labels = labels.loc[in_seeded_order(labels.index, seed)]
    # Units of the same classes are divided together, so every class keeps the shares.
    alike = labels.groupby(labels)
    middles = (alike.cumcount() + 0.5) / alike.transform("size")
    bounds = np.cumsum(list(SHARES.values()))[:-1]
    part_of = dict(zip(labels.index, np.searchsorted(bounds, middles, side="right"), strict=True))
    rank = {unit: number for number, unit in enumerate(labels.index)}
    ordered = texts.sort_values("unit", key=lambda units: units.map(rank), kind="stable")
    cells: dict[tuple[str, str], list[int]] = {
        (label, step): [] for label in texts["label"].unique() for step in SHARES
    }
    for number, label, unit in ordered[["label", "unit"]].itertuples():
        cells[label, list(SHARES)[part_of[unit]]].append(number)
    return cells


def _balanced(rows: dict[str, list[int]], label: str) -> LabelledTexts:
    """The texts of `label`, and as many of the other classes, taken from these in turns."""
    others = [own for other, own in rows.items() if other != label]
    longest = max(map(len, others), default=0)
    turns = [own[i] for i in range(longest) for own in others if i < len(own)]
    n = min(len(rows[label]), len(turns))
    chosen = np.array([*rows[label][:n], *turns[:n]], dtype=np.int64)
    return LabelledTexts(chosen, np.arange(2 * n) < n)
