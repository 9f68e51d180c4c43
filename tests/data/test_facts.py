"""Facts about cities, and RAVEL's published data in both of its layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sanity.data.facts import CITY_TEMPLATES, TEST, TRAIN, Facts, city_facts
from sanity.data.facts_ravel import REVISION, facts_version, ravel_facts
from sanity.errors import AssetError, BadInputError


@pytest.fixture
def geonames(tmp_path: Path) -> Path:
    """Five cities in two countries."""
    countries = {
        "AA": {"name": "The Aland", "continentcode": "EU", "languages": "fr-AA,en"},
        "BB": {"name": "Beland", "continentcode": "SA", "languages": "xx"},
    }
    rows = [("Uno", "AA", 9, 5.0), ("Due", "AA", 8, -5.0), ("Tre", "AA", 7, 1.0), ("Uno", "BB", 6, 1.0)]
    rows += [("Quattro", "BB", 5, -2.0), ("Paris", "AA", 99, 1.0)]
    cities = {
        str(i): {"geonameid": i, "name": n, "countrycode": c, "population": p, "latitude": lat}
        for i, (n, c, p, lat) in enumerate(rows)
    }
    (tmp_path / "countries.json").write_text(json.dumps(countries))
    (tmp_path / "cities15000.json").write_text(json.dumps(cities))
    return tmp_path


def test_a_city_is_the_largest_of_its_name_and_no_example(geonames: Path) -> None:
    facts = city_facts(geonames, most=10, per_country=2)
    assert list(facts.values) == ["Uno", "Due", "Quattro"]  # Tre is the third of its country
    assert facts.values["Uno"] == {
        "country": "Aland", "continent": "Europe", "language": "French", "initial": "U",
        "hemisphere": "Northern",
    }  # fmt: skip
    assert facts.values["Quattro"]["hemisphere"] == "Southern"
    assert "language" not in facts.values["Quattro"]  # no language that we have a name for
    assert list(city_facts(geonames, most=1, per_country=2, keep=lambda name: len(name) > 3).values) == [
        "Quattro"
    ]


def test_splits_are_disjoint_and_do_not_depend_on_the_company(geonames: Path) -> None:
    all_of_them = city_facts(geonames, most=10, per_country=9)
    fewer = city_facts(geonames, most=2, per_country=9)
    assert not set(all_of_them.entities(TRAIN)) & set(all_of_them.entities(TEST))
    assert all(all_of_them.entity_split[name] == fewer.entity_split[name] for name in fewer.values)


def test_what_determines_what() -> None:
    values = {
        "a": {"country": "x", "continent": "k", "initial": "a"},
        "b": {"country": "x", "continent": "k", "initial": "b"},
        "c": {"country": "y", "continent": "k", "initial": "a"},
    }
    facts = Facts("city", values, {"country": ("%s",)}, {}, {}, "here")
    assert facts.determines("country", "continent")
    assert not facts.determines("continent", "country")
    assert not facts.determines("country", "initial")
    assert not facts.determines("initial", "country")
    with pytest.raises(BadInputError, match="no attribute 'colour' of a city: choose among country"):
        facts.require("colour")


def test_templates_hold_the_entity_once() -> None:
    assert all(t.count("%s") == 1 for several in CITY_TEMPLATES.values() for t in several)
    with pytest.raises(BadInputError, match="must hold %s once"):
        Facts("city", {}, {"country": ("the city is in",)}, {}, {}, "here")


def test_an_unreadable_geonames_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cities15000\.json cannot be read"):
        city_facts(tmp_path, most=1, per_country=1)


@pytest.mark.assets
def test_the_asset_has_cities_of_many_countries(assets: dict[str, Path]) -> None:
    facts = city_facts(most=400, per_country=20)
    assert len(facts.values) == 400
    assert len({of["country"] for of in facts.values.values()}) > 40
    assert facts.values["Tokyo"] | {"hemisphere": ""} == {
        "country": "Japan", "continent": "Asia", "language": "Japanese", "initial": "T", "hemisphere": "",
    }  # fmt: skip
    assert facts.determines("country", "continent")
    assert not facts.determines("country", "initial")
    assert not facts.determines("country", "hemisphere")
    assert 0.3 < len(facts.entities(TEST)) / 400 < 0.5


ENTITIES = {
    "Paris": {"Country": "France", "Language": "French"},
    "Lyon": {"Country": "France", "Language": "French"},
    "Oslo": {"Country": "Norway", "Language": "Norwegian"},
}
SPLIT = {"Paris": "train", "Lyon": "val", "Oslo": "test"}
PROMPTS = {"Country": ["%s is in", "%s, in the country of"], "Language": ["In %s they speak"]}
PROMPT_SPLIT = {"%s is in": "train", "%s, in the country of": "test", "In %s they speak": "train"}


def check(facts: Facts) -> None:
    assert facts.templates == {a: tuple(t) for a, t in PROMPTS.items()}
    assert facts.values["Oslo"] == ENTITIES["Oslo"]
    assert facts.entities(TRAIN) == ("Paris",)
    assert facts.entities(TEST) == ("Oslo",)
    assert facts.template_split == PROMPT_SPLIT


@pytest.mark.parametrize("below", ["", "base"])
def test_ravel_from_its_json_files(tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    files = {
        "entity_attributes": ENTITIES,
        "attribute_to_prompts": PROMPTS,
        "entity_to_split": SPLIT,
        "prompt_to_split": PROMPT_SPLIT,
    }
    for name, content in files.items():
        (folder / f"ravel_city_{name}.json").write_text(json.dumps(content))
    check(ravel_facts(tmp_path))
    (folder / "ravel_city_entity_to_split.json").write_text(json.dumps({"Paris": "train"}))
    with pytest.raises(BadInputError, match="lacks 2 entities"):
        ravel_facts(tmp_path)
    (folder / "ravel_city_prompt_to_split.json").write_text("{")
    with pytest.raises(BadInputError, match=r"prompt_to_split\.json cannot be read"):
        ravel_facts(tmp_path)


def hub_layout(folder: Path) -> None:
    for split in ("train", "val", "test"):
        names = [name for name, where in SPLIT.items() if where == split]
        rows = [{"ID": str(i), "City": n, "URL": "u", **ENTITIES[n]} for i, n in enumerate(names)]
        templates = [
            {"Template": t, "Attribute": a, "Source": "RAVEL", "Entity": ""}
            for a, several in PROMPTS.items()
            for t in several
            if PROMPT_SPLIT[t] == split
        ]
        templates.append(
            {"Template": "Paris is %s", "Attribute": "Other", "Source": "Wikipedia", "Entity": "Paris"}
        )
        for name, table in (("city_entity", rows), ("city_prompt", templates)):
            (folder / name).mkdir(exist_ok=True)
            pd.DataFrame(table).to_parquet(folder / name / f"{split}-00000-of-00001.parquet")


def test_ravel_from_the_hubs_layout(tmp_path: Path) -> None:
    hub_layout(tmp_path)
    check(ravel_facts(tmp_path))


def test_cities_that_a_prompt_cannot_tell_apart_lose_the_attribute(tmp_path: Path) -> None:
    hub_layout(tmp_path)
    path = tmp_path / "city_entity" / "train-00000-of-00001.parquet"
    twice = pd.read_parquet(path)
    pd.concat([twice, twice.assign(ID="9", Country="United States")]).to_parquet(path)
    assert ravel_facts(tmp_path).values["Paris"] == {"Language": "French"}


def test_a_folder_without_ravel_and_a_hub_that_is_off(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no RAVEL data about a city"):
        ravel_facts(tmp_path)
    with pytest.raises(AssetError, match="city_entity of hij/ravel could not be read"):
        ravel_facts()


def test_the_version_of_a_folder_is_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        (folder / "base").mkdir(parents=True)
        (folder / "base" / "ravel_city_entity_attributes.json").write_text('{"a": 1}')
    assert facts_version(first) == facts_version(second)
    (second / "base" / "ravel_city_entity_attributes.json").write_text('{"a": 2}')
    assert facts_version(first) != facts_version(second)
    assert facts_version() == REVISION
