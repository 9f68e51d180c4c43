"""What a profile may say, and what each entry means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sanity import evals
from sanity.engine.yamlfile import parse_yaml, read_yaml, validated
from sanity.errors import BadInputError
from sanity.evals.base import Eval
from sanity.profiles.entry import Entry, FileName
from sanity.profiles.grids import GridBlock, inherited
from sanity.profiles.sources import HarderWorldEntry, NoiseEntry, SourceEntry, WorldEntry
from sanity.sources import Pace, Source

assert evals  # importing the room makes its evals known


_BY_NAME = ("sources", "grids", "evals", "analyses")
"""Parts of a profile whose entries have names: one that is based on another replaces single ones."""


class Profile(Entry):
    """How much of everything a run does: sources, grids of arms, and the evals that score them."""

    name: FileName
    about: str
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bf16"] = "float32"
    sources: dict[str, SourceEntry]
    grids: dict[str, tuple[GridBlock, ...]]
    """By name; every row of a table of scores says which grid it is from."""
    evals: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Fields of evals by name; `kind` names the eval where the entry has a name of its own."""
    analyses: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Fields of what is no score of an SAE, by the name of the analysis."""
    pace: Pace = Pace()
    """How fast the machine is that costs are told for."""
    left_out: tuple[str, ...] = ()
    """What this profile does not do, in words for the pages."""

    @model_validator(mode="after")
    def _names_fit_together(self) -> Profile:
        for name in self.sources:
            self._check_parts(name)
            self._origin_of(name)
        for name in self.evals:
            self.eval_named(name)
        for pace, value in vars(self.pace).items():
            if not 0 < value < math.inf:
                raise ValueError(f"the pace {pace} is {value}: give a number above 0")
        for name, blocks in self.grids.items():
            if not blocks:
                raise ValueError(f"the grid {name} has no blocks")
            for block in blocks:
                named = [*block.sources, *([block.scored_on] if block.scored_on else [])]
                if unknown := [source for source in named if source not in self.sources]:
                    there = ", ".join(self.sources)
                    raise ValueError(f"the grid {name} names the source {unknown[0]!r}; there are: {there}")
                try:
                    for one in block.evals:
                        self.eval_named(one)
                except BadInputError as error:
                    raise ValueError(f"the grid {name}: {error}") from error
        return self

    def source_named(self, name: str, seed: int | None = None) -> Source:
        """The source that the profile calls `name`, with local text as it is now, for an arm of this seed."""
        if name not in self.sources:
            raise BadInputError(f"no source is called {name!r}; there are: {', '.join(self.sources)}")
        entry = self.sources[name]
        made = entry.made(self.source_named)
        redrawn = isinstance(entry, WorldEntry | HarderWorldEntry) and entry.redrawn
        return made.redrawn(seed) if redrawn and seed is not None else made

    def place_of(self, source: str) -> str:
        """What tables call a source: the hook, or the world's name.

        Noise is at the place that it is like; the column `trained_on_noise` tells them apart.
        """
        origin = self._origin_of(source)
        entry = self.sources[origin]
        assert not isinstance(entry, NoiseEntry)
        return entry.place(origin)

    def _origin_of(self, source: str) -> str:
        """The source that `source` is, or that it is noise like, or that this is noise like in turn."""
        seen: list[str] = []
        while isinstance(entry := self.sources.get(source), NoiseEntry):
            seen.append(source)
            source = entry.like
            if source in seen:
                raise BadInputError(f"noise is like itself: {' -> '.join((*seen, source))}")
        if entry is None:
            raise BadInputError(f"{seen[-1] if seen else 'a grid'} names {source!r}, which is no source")
        return source

    def _check_parts(self, name: str, above: tuple[str, ...] = ()) -> None:
        """Whether what a source is made of is there, and not made of it in turn."""
        if name in above:
            raise BadInputError(f"sources are made of each other: {' -> '.join((*above, name))}")
        if name not in self.sources:
            raise BadInputError(f"{above[-1]} names {name!r}, which is no source")
        for part in self.sources[name].parts:
            self._check_parts(part, (*above, name))

    def eval_named(self, name: str) -> Eval:
        """The eval that the profile calls `name`, with the fields that it gives it."""
        fields = dict(self.evals.get(name, {}))
        made: Eval = built(Eval.class_named(str(fields.pop("kind", name))), fields, f"the eval {name}")
        return made

    def grid(self, name: str) -> GridBlock:
        """The first block of a grid, which is what chapters describe; unknown grids are refused."""
        if not self.grids.get(name):
            raise BadInputError(
                f"the profile {self.name} has no grid {name!r}; it has: {', '.join(self.grids)}"
            )
        return self.grids[name][0]


def built(kind: type[Any], fields: dict[str, Any], what: str) -> Any:
    """A frozen dataclass of `kind` from plain data, every field checked against its type."""
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(fields.keys() - known):
        raise BadInputError(f"{what} has no field {', '.join(unknown)}; it has: {', '.join(sorted(known))}")
    made: Any = validated(kind, fields, what)
    return made


def names() -> list[str]:
    """The profiles that exist, from small to large."""
    found = {
        p.name.removesuffix(".yaml")
        for p in resources.files(__package__).iterdir()
        if p.name.endswith(".yaml")
    }
    order = [
        "demo",
        "smoke",
        "quick",
        "calibration",
        "controls",
        "synthetic",
        "overnight",
        "card",
        "gpu",
        "paper",
    ]
    return [n for n in order if n in found] + sorted(found - set(order))


def name_of(profile: str) -> str:
    """What a profile is called: a file of one's own by its name without suffix."""
    own = Path(profile)
    return own.stem if own.suffix in (".yaml", ".yml") else profile


def load(name: str, *, only: Sequence[str] | None = None, **changes: Any) -> Profile:
    """The profile `name`, with top-level entries replaced by `changes`; unknown names are refused.

    With `only`, it has the named grids and no others.

    `name` may also be the path of a YAML file of one's own, such as `my.yaml`; folders with models and texts
    that it names are looked for next to it.
    """
    own = Path(name)
    if name_of(name) != name:
        if own.stem in names():
            raise BadInputError(f"{own} is called like the profile {own.stem} that is there: rename it")
        return _profile(own.stem, read_yaml(own), only=only, folder=own.resolve().parent, **changes)
    if name not in names():
        raise BadInputError(f"no profile is called {name!r}; there are: {', '.join(names())}")
    text = (resources.files(__package__) / f"{name}.yaml").read_bytes()
    return read_profile(name, text, only=only, **changes)


def _like(entry: Any) -> str | None:
    return entry.get("like") if isinstance(entry, dict) else None


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    """The entries of a profile with `based_on: NAME`, and all others of the profile NAME that is there.

    A named entry that is null is left out, and so are grids that are like it. With `only: [NAMES]` it has
    these grids and no others.
    """
    given = dict(given)
    if (base := given.pop("based_on", None)) is None:
        return given
    if base not in names():
        raise BadInputError(f"a profile is based on {base!r}; there are: {', '.join(names())}")
    text = (resources.files(__package__) / f"{base}.yaml").read_bytes()
    below = _completed(parse_yaml(text, f"profile {base!r}"))
    for part in (part for part in _BY_NAME if isinstance(given.get(part), dict)):
        merged = below.get(part, {}) | given[part]
        gone = {name for name, entry in merged.items() if entry is None}
        given[part] = {name: entry for name, entry in merged.items() if not gone & {name, _like(entry)}}
    return below | given


def read_profile(
    name: str, text: str | bytes, *, only: Sequence[str] | None = None, **changes: Any
) -> Profile:
    """A profile from YAML text; see `load`."""
    return _profile(name, parse_yaml(text, f"profile {name!r}"), only=only, **changes)


def _profile(
    name: str,
    given: dict[str, Any],
    *,
    only: Sequence[str] | None,
    folder: Path | None = None,
    **changes: Any,
) -> Profile:
    """A profile from its entries; `folder` is where the folders that it names are looked for."""
    where = f"profile {name!r}"
    given = _completed(given) | changes
    only = given.pop("only", None) if only is None else only
    if given.setdefault("name", name) != name:
        raise BadInputError(f"{where} names itself {given['name']!r}: leave the name to its file")
    if not isinstance(given.get("grids"), Mapping):
        raise BadInputError(f"{where} cannot be used: its grids are no mapping of names to blocks")
    grids = inherited(given["grids"])
    if only is not None:
        if unknown := sorted(set(only) - set(grids)):
            raise BadInputError(f"{where} has no grid {unknown[0]!r}; it has: {', '.join(grids)}")
        grids = {grid: blocks for grid, blocks in grids.items() if grid in only}
    return validated(Profile, {**given, "grids": grids}, where, context={"folder": folder})
