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


CITY_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "country": (
        "City: country. Lima: Peru. Osaka: Japan. Cairo: Egypt. Lyon: France. Mumbai: India. "
        "Boston: United States. Wuhan: China. %s:",
        "City: country. Paris: France. Lima: Peru. Nairobi: Kenya. Osaka: Japan. %s:",
        "Paris, France; Lima, Peru; Nairobi, Kenya; Osaka, Japan; %s,",
        "The city of %s is in the country of",
        "Paris is in France. Lima is in Peru. Nairobi is in Kenya. %s is in",
    ),
    "continent": (
        "City: continent. Lima: South America. Osaka: Asia. Cairo: Africa. Paris: Europe. Mumbai: Asia. "
        "Lagos: Africa. Boston: North America. Beijing: Asia. Nairobi: Africa. %s:",
        "On which continent is it? Osaka is on the continent of Asia. Lagos is on the continent of Africa. "
        "Lima is on the continent of South America. %s is on the continent of",
        "The city of %s is on the continent of",
        "The city of %s is in the continent of",
        "City: continent. Paris: Europe. Lima: South America. Nairobi: Africa. Osaka: Asia. "
        "Chicago: North America. %s:",
    ),
    "language": (
        "City: language. Paris: French. Lima: Spanish. Osaka: Japanese. Chicago: English. %s:",
        "In Paris people speak French. In Lima people speak Spanish. In %s people speak",
        "Paris, French; Lima, Spanish; Osaka, Japanese; Chicago, English; %s,",
    ),
    # Of the name, not of the place: nothing else determines it, and it determines nothing else.
    "initial": (
        "Paris: P-a-r-i-s. Lima: L-i-m-a. Osaka: O-s-a-k-a. Chicago: C-h-i-c-a-g-o. %s:",
        "Lagos = L a g o s. Chicago = C h i c a g o. Denver = D e n v e r. Paris = P a r i s. %s =",
        "P is for Paris. L is for Lima. O is for Osaka. First letter of Paris: P. First letter of Lima: L. "
        "First letter of Osaka: O. First letter of %s:",
    ),
    # Tried because they are attributes of the place that no other determines; small models do not know them.
    "hemisphere": (
        "City: hemisphere. Paris: Northern. Lima: Southern. Osaka: Northern. Nairobi: Southern. "
        "Chicago: Northern. Santiago: Southern. %s:",
        "Paris is in the Northern Hemisphere. Lima is in the Southern Hemisphere. Osaka is in the Northern "
        "Hemisphere. Sydney is in the Southern Hemisphere. %s is in the",
    ),
}
"""Questions about cities, tried on the default model; `sanity.evals.causal_editing` chooses among them."""

# ISO 639-1 codes of languages that are some country's first in geonames, as people call them in English.
_LANGUAGE_LIST = (
    "am=Amharic ar=Arabic az=Azerbaijani bg=Bulgarian bn=Bengali bs=Bosnian cs=Czech da=Danish de=German "
    "el=Greek en=English es=Spanish et=Estonian fa=Persian fi=Finnish fr=French he=Hebrew hr=Croatian "
    "hu=Hungarian hy=Armenian id=Indonesian is=Icelandic it=Italian ja=Japanese ka=Georgian kk=Kazakh "
    "km=Khmer ko=Korean ky=Kyrgyz lo=Lao lt=Lithuanian lv=Latvian mk=Macedonian mn=Mongolian ms=Malay "
    "my=Burmese ne=Nepali nl=Dutch no=Norwegian pl=Polish ps=Pashto pt=Portuguese ro=Romanian ru=Russian "
    "si=Sinhala sk=Slovak sl=Slovenian so=Somali sq=Albanian sr=Serbian sv=Swedish sw=Swahili tg=Tajik "
    "th=Thai tk=Turkmen tl=Tagalog tr=Turkish uk=Ukrainian ur=Urdu uz=Uzbek vi=Vietnamese zh=Chinese"
)
_LANGUAGES = dict(pair.split("=") for pair in _LANGUAGE_LIST.split())
_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


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
    cities, countries = (_read(folder, name) for name in ("cities15000.json", "countries.json"))
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
        "continent": _CONTINENTS.get(country["continentcode"], ""),
        "language": _LANGUAGES.get((country["languages"] or "").split(",")[0].split("-")[0], ""),
        "initial": row["name"][0].upper(),
        "hemisphere": "Northern" if row["latitude"] > 0 else "Southern",
    }
    return {attribute: value for attribute, value in values.items() if value}


def _read(folder: Path | None, name: str) -> Mapping[str, Any]:
    path = assets.path("geonames", name) if folder is None else folder / name
    try:
        found: Mapping[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{path} cannot be read as geonames' {name} ({error}): run `sanity fetch geonames`"
        ) from error
    return found
