"""`sanity fetch`: the pinned assets, into the cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sanity.cli.common import AsJson, columns, show

if TYPE_CHECKING:
    from sanity.assets import Asset


def fetch_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMES]...", help="Assets; all default ones if none.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="What this profile needs, such as demo or my.yaml."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the assets and fetch nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the model and the text, and check every byte."""
    from sanity.assets import ASSETS, asset, fetch

    wanted = [*(names or ()), *(_needed_by(profile) if profile is not None else ())]
    if listing:
        rows = [_facts(asset(name)) for name in (wanted or ASSETS)]
        show(rows, as_json=as_json, text=lambda: _table(rows))
        return
    places = {n: str(place) for n, place in fetch(wanted if profile or names else None).items()}
    _unpack_models(places)
    show(places, as_json=as_json, text=lambda: columns(list(places.items())))


def _needed_by(profile: str) -> list[str]:
    from sanity.engine.cells import in_order
    from sanity.experiments import plan
    from sanity.experiments.readiness import needed
    from sanity.profiles import load

    return sorted(needed(in_order(plan(load(profile)))))


def _unpack_models(names: Iterable[str]) -> None:
    """Unpack packed language models now, so that no later command waits for it."""
    from sanity.subject import known_subjects, prepare

    for name in set(names) & set(known_subjects()):
        prepare(name)


def _facts(asset: Asset) -> dict[str, Any]:
    return {
        "name": asset.name,
        "version": asset.version,
        "megabytes": round(asset.size / 1e6, 1),
        "licence": asset.licence,
        "default": asset.default,
        "description": asset.description,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("name", "version", "MB", "default", "what it is", "licence")
    body = [
        (
            row["name"],
            row["version"],
            f"{row['megabytes']:.1f}",
            "yes" if row["default"] else "no",
            row["description"],
            row["licence"],
        )
        for row in rows
    ]
    return columns([head, *body], right=(2,))
