"""Labelled text for sparse probing: pools of classes, in the paper's five concept groups and a wider set.

A pool is a handful of classes with texts of one kind; it gives one yes-or-no task per class (one against
the rest), or a single one if there are two. Texts come from the half of the `sae-probes` tables that no
autoencoder reads, and from catalogues of the same messages in five languages. The pools are data, in
`pools.yaml`, which also says which tables are left out and why.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

from sanity.assets.packaged import PackagedFile, packaged
from sanity.data.catalogues import parallel_messages
from sanity.data.documents import half_of, opening
from sanity.data.sources import read_table
from sanity.errors import BadInputError

# The names of the groups in `pools.yaml`.
GROUPS = ("profession", "product and sentiment", "language", "programming language", "news topic")
"""The paper's five concept groups; a score is the mean over them."""
WIDER = "wider set"
"""The group of all other pools, reported apart."""

Side = Literal["start", "end"]


@dataclass(frozen=True)
class Row:
    """One labelled text. Texts of one `unit` say the same and never sit in different parts of a split."""

    unit: str
    text: str


@runtime_checkable
class ClassRows(Protocol):
    """The texts of one class: a frozen dataclass of JSON values, as it is part of a cell's key."""

    @property
    def label(self) -> str:
        """Unique within a pool."""

    def rows(self) -> tuple[list[Row], int]:
        """All texts that may be used, and how many were left to the autoencoders' own text."""


@functools.lru_cache(maxsize=4)
def _texts_and_targets(table: str) -> list[tuple[str, str]]:
    """A table's two columns; a pool's classes are often rows of one table."""
    return [(row["prompt"], row["target"]) for row in read_table(table)]


@dataclass(frozen=True)
class TableRows:
    """Rows of a labelled table whose target is one of `targets`."""

    label: str
    table: str
    targets: tuple[str, ...]

    def rows(self) -> tuple[list[Row], int]:
        """Those of the half that is kept for probing."""
        texts = [text for text, target in _texts_and_targets(self.table) if target in self.targets]
        kept = [text for text in texts if text.strip() and half_of(text) == "probing"]
        return [Row(opening(text), text) for text in kept], len(texts) - len(kept)


@dataclass(frozen=True)
class CatalogueRows:
    """Messages in one language; the English original is the unit."""

    label: str
    language: str

    def rows(self) -> tuple[list[Row], int]:
        """The messages that all languages have."""
        return [Row(unit, said[self.language]) for unit, said in parallel_messages().items()], 0


@dataclass(frozen=True)
class ProbingPool:
    """Classes of texts, and which end of a text is read where it is longer than the window."""

    name: str
    group: str
    classes: tuple[ClassRows, ...]
    keep: Side = "start"

    def __post_init__(self) -> None:
        labels = [one.label for one in self.classes]
        if len(set(labels)) < max(2, len(labels)):
            raise BadInputError(
                f"the pool {self.name!r} has the classes {labels}: a probe tells two or more different ones "
                "apart"
            )


class _PoolEntry(PackagedFile):
    """How `pools.yaml` writes a pool."""

    table: str | None = None
    """From which the `classes` are; `None` for the table that is called as the pool."""
    classes: Mapping[str, tuple[str, ...]] = {}
    """Label -> targets in the table."""
    tables: Mapping[str, str] = {}
    """Label -> table of its own, in which the target "1" stands for it."""
    languages: tuple[str, ...] = ()
    keep: Side = "start"

    def pool(self, name: str, group: str) -> ProbingPool:
        classes: list[ClassRows] = [TableRows(k, self.table or name, t) for k, t in self.classes.items()]
        classes += [TableRows(label, table, ("1",)) for label, table in self.tables.items()]
        classes += [CatalogueRows(language, language) for language in self.languages]
        return ProbingPool(name, group, tuple(classes), self.keep)


class _Pools(PackagedFile):
    groups: Mapping[str, Mapping[str, _PoolEntry]]

    def by_name(self) -> dict[str, ProbingPool]:
        return {
            name: entry.pool(name, group) for group, of in self.groups.items() for name, entry in of.items()
        }


POOLS: Mapping[str, ProbingPool] = MappingProxyType(packaged("data/pools.yaml", _Pools).by_name())
"""Pools by name: those of the five concept groups first."""


def named_pools(names: Sequence[str]) -> tuple[ProbingPool, ...]:
    """Pools by name; "groups" stands for all of the five concept groups, "wider" for all others."""
    chosen: dict[str, ProbingPool] = {}
    for name in names:
        if name in ("groups", "wider"):
            chosen |= {p.name: p for p in POOLS.values() if (p.group == WIDER) == (name == "wider")}
        elif name in POOLS:
            chosen[name] = POOLS[name]
        else:
            raise BadInputError(
                f"there is no pool of labelled text {name!r}: choose groups, wider, or of {', '.join(POOLS)}"
            )
    return tuple(chosen.values())
