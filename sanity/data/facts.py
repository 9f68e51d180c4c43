"""Facts that a language model may know: entities, attributes, and questions answered by the next token.

`city_facts` builds them from the geonames asset, `ravel_facts` (in `facts_ravel`) reads the published RAVEL
data. A template is a text with one `%s` for the entity, as RAVEL writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanity import assets
from sanity.assets.packaged import PackagedFile, packaged
from sanity.errors import BadInputError

TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Facts:
    """Entities with the values of their attributes, and templates that ask for these."""

    kind: str
    """What the entities are: city."""
    values: Mapping[str, Mapping[str, str]]
    """Entity -> attribute -> value; an entity may lack some."""
    templates: Mapping[str, tuple[str, ...]]
    """Attribute -> templates."""
    entity_split: Mapping[str, str]
    """Entity -> "train" or "test"."""
    template_split: Mapping[str, str]
    """Template -> "train" or "test", where the data says so; otherwise they are chosen by a search."""
    source: str

    def __post_init__(self) -> None:
        for attribute, templates in self.templates.items():
            for template in templates:
                if template.count("%s") != 1:
                    raise BadInputError(
                        f"the template {template!r} for {attribute} must hold %s once, where the entity goes"
                    )

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes that there are templates for."""
        return tuple(self.templates)

    def entities(self, split: str) -> tuple[str, ...]:
        """The entities of a split, in a fixed order."""
        return tuple(name for name, where in self.entity_split.items() if where == split)

    def require(self, attribute: str) -> None:
        """Raise `BadInputError` for an attribute that there are no templates for."""
        if attribute not in self.templates:
            raise BadInputError(
                f"{self.source} asks for no attribute {attribute!r} of a {self.kind}: "
                f"choose among {', '.join(self.attributes)}"
            )

    def determines(self, one: str, other: str) -> bool:
        """Whether entities that agree in the attribute `one` always agree in `other`."""
        seen: dict[str, str] = {}
        for values in self.values.values():
            if (
                one in values
                and other in values
                and seen.setdefault(values[one], values[other]) != values[other]
            ):
                return False
        return bool(seen)


class _Cities(PackagedFile):
    templates: Mapping[str, tuple[str, ...]]
    languages: Mapping[str, str]
    continents: Mapping[str, str]


_CITIES = packaged("data/cities.yaml", _Cities)
CITY_TEMPLATES = _CITIES.templates
"""Questions about cities, tried on the default model; `sanity.evals.causal_editing` chooses among them."""


def city_facts(
    folder: Path | None = None,
    *,
    most: int,
    per_country: int,
    keep: Callable[[str], bool] = lambda name: True,
    templates: Mapping[str, Sequence[str]] = CITY_TEMPLATES,
) -> Facts:
    """The largest cities with names of their own, and what geonames says about them.

    Of several cities with one name the largest is meant; cities that a template names as an example are left
    out. A city's split follows from a hash of its name.

    Parameters
    ----------
    folder
        With cities15000.json and countries.json; the geonames asset by default.
    most, per_country
        How many cities at most, in all and of one country: large countries would outweigh all others.
    keep
        Of a city's name: whether to consider it (for instance, whether it is one token).
    """
    cities, countries = (
        read_json_file(
            assets.path("geonames", name) if folder is None else folder / name, "run `sanity fetch geonames`"
        )
        for name in ("cities15000.json", "countries.json")
    )
    examples = " ".join(template for several in templates.values() for template in several)
    taken: Counter[str] = Counter()
    values: dict[str, dict[str, str]] = {}
    for row in sorted(cities.values(), key=lambda row: (-row["population"], row["geonameid"])):
        name, country = row["name"], countries.get(row["countrycode"])
        if name in values or country is None or name in examples or len(values) == most:
            continue
        if taken[row["countrycode"]] < per_country and keep(name):
            taken[row["countrycode"]] += 1
            values[name] = _city_values(row, country)
    return Facts(
        kind="city",
        values=values,
        templates={attribute: tuple(several) for attribute, several in templates.items()},
        entity_split={name: split_of(name) for name in values},
        template_split={},
        source="geonames" if folder is None else str(folder),
    )


def split_of(name: str, *, test_share: float = 0.4) -> str:
    """The split that an entity falls into, by a hash of its name."""
    fraction = int(hashlib.sha256(name.encode()).hexdigest()[:12], 16) / 16**12
    return TEST if fraction < test_share else TRAIN


def _city_values(row: Mapping[str, Any], country: Mapping[str, Any]) -> dict[str, str]:
    values = {
        "country": country["name"].removeprefix("The "),
        "continent": _CITIES.continents.get(country["continentcode"], ""),
        "language": _CITIES.languages.get((country["languages"] or "").split(",")[0].split("-")[0], ""),
        "initial": row["name"][0].upper(),
        "hemisphere": "Northern" if row["latitude"] > 0 else "Southern",
    }
    return {attribute: value for attribute, value in values.items() if value}


def read_json_file(path: Path, way_out: str) -> Any:
    """The content of a JSON file; `BadInputError` with a `way_out` when it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read ({error}): {way_out}") from error
