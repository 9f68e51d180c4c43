"""The published RAVEL data, from a folder of its JSON files or from its hub repository.

Huang, Wu, Potts, Geva and Geiger, "RAVEL: Evaluating Interpretability Methods on Disentangling Language
Model Representations", 2024 (arXiv 2402.17700).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sanity.data.facts import TEST, TRAIN, Facts, read_json_file
from sanity.data.hub import hub_errors
from sanity.data.local import content_hash, files_below
from sanity.errors import BadInputError

REPOSITORY = "hij/ravel"
REVISION = "2c45eb232b9944c235509db5320345eaba563e07"

_JSON = ("entity_attributes", "attribute_to_prompts", "entity_to_split", "prompt_to_split")
_SPLITS = (TRAIN, "val", TEST)


def ravel_facts(
    source: str | Path = REPOSITORY, *, kind: str = "city", revision: str | None = REVISION
) -> Facts:
    """The entities, attributes and templates of one kind of entity, with the published splits.

    The split "val" is left unused. Cities of one name that differ in an attribute lose that attribute: a
    prompt cannot tell them apart.

    Parameters
    ----------
    source
        A folder with `ravel_KIND_entity_attributes.json`, `..._attribute_to_prompts.json`,
        `..._entity_to_split.json` and `..._prompt_to_split.json` (in itself or in `base/`), a local folder
        in the hub repository's layout (`KIND_entity/*.parquet`, `KIND_prompt/*.parquet`), or the name of that
        repository.
    revision
        The commit of the hub repository.

    Raises
    ------
    BadInputError
        The folder holds neither layout, or a file lacks what it must have.
    AssetError
        The hub cannot be reached.
    """
    folder = Path(source)
    for base in (folder, folder / "base"):
        if (base / f"ravel_{kind}_entity_attributes.json").is_file():
            return _from_json(base, kind)
    if folder.is_dir() and not (folder / f"{kind}_entity").is_dir():
        raise BadInputError(
            f"{folder} holds no RAVEL data about a {kind}: it needs ravel_{kind}_entity_attributes.json and "
            f"its three companions, or the folders {kind}_entity and {kind}_prompt of the hub repository"
        )
    return _from_hub(str(source), kind, None if folder.is_dir() else revision)


def facts_version(source: str | Path = REPOSITORY) -> str:
    """A name for the content of the data: a hash of a folder's files, or the hub's commit.

    Of a folder all JSON and Parquet files count, with their names.
    """
    folder = Path(source)
    if not folder.is_dir():
        return REVISION
    return content_hash(folder, files_below(folder, "*.json", "*.parquet"))


def _from_json(folder: Path, kind: str) -> Facts:
    entities, prompts, entity_split, prompt_split = (
        read_json_file(folder / f"ravel_{kind}_{name}.json", "RAVEL has four such files for a kind of entity")
        for name in _JSON
    )
    missing = sorted(set(entities) - set(entity_split))
    if missing:
        raise BadInputError(
            f"ravel_{kind}_entity_to_split.json in {folder} lacks {len(missing)} entities, "
            f"such as {missing[0]!r}"
        )
    return _facts(
        kind,
        {name: {a: str(v) for a, v in values.items() if v} for name, values in entities.items()},
        {attribute: tuple(t for t in several if t in prompt_split) for attribute, several in prompts.items()},
        entity_split,
        prompt_split,
        str(folder),
    )


def _from_hub(source: str, kind: str, revision: str | None) -> Facts:
    entity_split: dict[str, str] = {}
    values: dict[str, dict[str, set[str]]] = {}
    column = ""
    for split, row in _rows(source, f"{kind}_entity", revision):
        column = column or _name_column(row, kind, source)
        name = row[column]
        entity_split.setdefault(name, split)
        for attribute, value in row.items():
            if attribute not in (column, "ID", "URL") and value:
                values.setdefault(name, {}).setdefault(attribute, set()).add(str(value))
    templates: dict[str, dict[str, str]] = {}
    for split, row in _rows(source, f"{kind}_prompt", revision):
        absent = [name for name in ("Template", "Attribute") if name not in row]
        if absent:
            raise BadInputError(
                f"{kind}_prompt of {source} has no column {absent[0]!r}: it has {', '.join(row)}"
            )
        # Those of Wikipedia name their entity already, and ask for no attribute.
        if row["Attribute"] and row["Attribute"] != "Other" and not row.get("Entity"):
            templates.setdefault(row["Attribute"], {}).setdefault(row["Template"], split)
    return _facts(
        kind,
        {name: {a: next(iter(v)) for a, v in of.items() if len(v) == 1} for name, of in values.items()},
        {attribute: tuple(several) for attribute, several in templates.items()},
        entity_split,
        {template: split for several in templates.values() for template, split in several.items()},
        source,
    )


def _facts(
    kind: str,
    values: Mapping[str, Mapping[str, str]],
    templates: Mapping[str, tuple[str, ...]],
    entity_split: Mapping[str, str],
    template_split: Mapping[str, str],
    source: str,
) -> Facts:
    usable = {a: tuple(t for t in several if t.count("%s") == 1) for a, several in templates.items()}
    return Facts(
        kind=kind,
        values=values,
        templates={a: several for a, several in usable.items() if several},
        entity_split={name: split for name, split in entity_split.items() if split in (TRAIN, TEST)},
        template_split={t: s for t, s in template_split.items() if s in (TRAIN, TEST)},
        source=source,
    )


def _name_column(row: Mapping[str, Any], kind: str, source: str) -> str:
    """The column with the entity's name: `City` for a city, `Nobel Laureate` for a nobel_prize_winner."""
    wanted = kind.replace("_", " ").lower()
    for name in row:
        if name.lower() in (wanted, "entity", "name"):
            return name
    raise BadInputError(f"{kind}_entity of {source} has no column with the {wanted}: it has {', '.join(row)}")


def _rows(source: str, name: str, revision: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from datasets import load_dataset

    files = {split: f"{name}/{split}*.parquet" for split in _SPLITS}
    options = {"revision": revision, "streaming": True, "verification_mode": "no_checks"}
    with hub_errors(f"{name} of {source}", "give a folder with RAVEL's JSON files"):
        for split in _SPLITS:
            for row in load_dataset(source, data_files=files, split=split, **options):
                yield split, row
