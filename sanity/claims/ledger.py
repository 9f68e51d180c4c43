"""Reading `book/claims.yml`, with errors that name the claim and the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sanity.claims.schema import (
    ANY_SCALE,
    AllMetrics,
    AnyClaim,
    BestOfSeveral,
    Comparison,
    Control,
    Experiment,
    LedgerFile,
    Scale,
    Value,
    metrics_of,
)
from sanity.engine.yamlfile import read_yaml, validated
from sanity.errors import BadInputError
from sanity.evals.metric import METRICS, Metric

Claim = Comparison | BestOfSeveral | AllMetrics | Value

_CLAIM: TypeAdapter[Claim] = TypeAdapter(AnyClaim)
_Kind = TypeVar("_Kind", Experiment, Scale, Control)


@dataclass(frozen=True)
class Ledger:
    """All claims, their metrics and scales, and the seeds on which ranges are measured."""

    claims: tuple[Claim, ...]
    metrics: Mapping[str, Metric]
    """Those that were declared when the ledger was read."""
    scales: Mapping[str, Scale]
    experiments: Mapping[str, Experiment]
    """Those that are more, or something else, than the grid of their name."""
    controls: Mapping[str, Control]
    """Arms that an equivalence has to be told from."""
    pilot_seeds: frozenset[int]
    content: Mapping[str, Any]
    """What the file says, as plain data: `ledger_of` makes the same ledger of it."""

    def claim(self, name: str) -> Claim:
        """The claim called `name`."""
        for claim in self.claims:
            if claim.id == name:
                return claim
        raise BadInputError(f"no claim is called {name!r}; there are: {', '.join(c.id for c in self.claims)}")


def book_folder() -> Path:
    """The book's folder: that of the project we stand in, else the one next to this package's source."""
    from sanity.engine.store import home

    return next(
        (folder for folder in (home() / "book", Path(__file__).parents[2] / "book") if folder.is_dir()),
        home() / "book",
    )


def read_ledger(path: Path | str | None = None) -> Ledger:
    """Read and check the ledger, `book/claims.yml` by default.

    A claim's metrics have to be declared before, by evals (which this package imports) and by analyses:
    `sanity.experiments.verdicts.book_ledger` sees to that.
    Raises `BadInputError` that lists every fault as "claim 'ID', field NAME: what is wrong".
    """
    file = Path(path) if path is not None else book_folder() / "claims.yml"
    if not file.exists():
        raise BadInputError(f"there is no ledger at {file}: run in the project's folder or give its path")
    content = read_yaml(file)
    validated(LedgerFile, content, str(file))
    return ledger_of(content, str(file))


def ledger_of(
    content: Mapping[str, Any], where: str = "the ledger", *, metrics: Mapping[str, Metric] | None = None
) -> Ledger:
    """The ledger that `content` is, checked against `metrics` (those declared); errors name `where`."""
    known = dict(METRICS) if metrics is None else metrics
    faults: list[str] = []
    experiments = _entries(Experiment, "experiment", content["experiments"], faults)
    scales = _entries(Scale, "scale", content["scales"], faults)
    controls = _entries(Control, "control", content["controls"], faults)
    called = content.get("called", {})
    raw = [_in_words(entry, called) if isinstance(entry, dict) else entry for entry in content["claims"]]
    claims = _claims(raw, content["margins"], known, faults)
    faults += [
        f"claim {claim.id!r}, field scale: no scale is called {claim.scale!r}; {_there([ANY_SCALE, *scales])}"
        for claim in claims
        if claim.scale not in (ANY_SCALE, *scales)
    ]
    if faults:
        raise BadInputError(f"{where}: " + "; ".join(faults))
    pilots = frozenset(content["pilot_seeds"])
    return Ledger(tuple(claims), known, scales, experiments, controls, pilots, content)


def _in_words(entry: dict[str, Any], called: Mapping[str, str]) -> dict[str, Any]:
    """A claim whose arms say what pages call the experiments that they name."""

    def arm(found: Any) -> Any:
        if isinstance(found, list | tuple):
            return [arm(one) for one in found]
        named = isinstance(found, dict) and found.get("experiment") in called
        return {**found, "called": called[found["experiment"]]} if named else found

    return {**entry, **{side: arm(entry[side]) for side in ("judged", "against") if side in entry}}


def _entries(kind: type[_Kind], what: str, raw: Any, faults: list[str]) -> dict[str, _Kind]:
    found = {}
    for name, entry in raw.items():
        try:
            found[str(name)] = kind.model_validate(entry)
        except ValidationError as error:
            faults += [f"{what} {name!r}, {words}" for words in _words(error)]
    return found


def _claims(raw: Any, margins: Any, metrics: Mapping[str, Metric], faults: list[str]) -> list[Claim]:
    """The claims that validate; `margin: NAME` stands for the entry of `margins` of that name."""
    found: list[Claim] = []
    for number, entry in enumerate(raw):
        name = repr(entry.get("id")) if isinstance(entry, dict) and "id" in entry else f"number {number + 1}"
        if not isinstance(entry, dict):
            faults.append(f"claim {name}: must be a mapping, not {entry!r}")
            continue
        entry = {"kind": "comparison", **entry}
        margin = entry.get("margin")
        if isinstance(margin, str):
            if margin not in margins:
                faults.append(
                    f"claim {name}, field margin: no margin is called {margin!r}; {_there(margins)}"
                )
                continue
            entry["margin"] = margins[margin]
        try:
            claim = _CLAIM.validate_python(entry)
        except ValidationError as error:
            faults += [f"claim {name}, {words}" for words in _words(error)]
            continue
        faults += [f"claim {name}, {words}" for words in _misfits(claim, metrics)]
        found.append(claim)
    ids = [claim.id for claim in found]
    faults += [
        f"claim {name!r}, field id: used more than once"
        for name in sorted({i for i in ids if ids.count(i) > 1})
    ]
    return found


def _misfits(claim: Claim, metrics: Mapping[str, Metric]) -> list[str]:
    """What fits the schema and makes no sense."""
    faults = []
    for name in metrics_of(claim):
        if name not in metrics:
            faults.append(f"field metric: nothing imported declares {name}; {_there(sorted(metrics))}")
        elif not isinstance(claim, Value):
            if metrics[name].direction == "none":
                faults.append(f"field metric: {name} has no better side: state an expected range instead")
            if metrics[name].range is None:
                faults.append(f"field metric: {name} has no declared range to take a margin of")
    if not isinstance(claim, Value):
        others = claim.against if isinstance(claim, BestOfSeveral) else (claim.against,)
        if claim.judged in others:
            faults.append("field against: an arm is compared with itself")
    return faults


def _words(error: ValidationError) -> list[str]:
    kinds = {"comparison", "best of several", "all metrics", "value"}
    return [
        f"field {'.'.join(str(part) for part in fault['loc'] if part not in kinds) or 'kind'}: {fault['msg']}"
        + ("" if fault["type"] in ("missing", "extra_forbidden") else f" (given: {fault['input']!r})")
        for fault in error.errors(include_url=False)
    ]


def _there(names: Iterable[str]) -> str:
    return f"there are: {', '.join(names)}"
