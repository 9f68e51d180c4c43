"""`sanity fetch`: the pinned assets, into the cache."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sanity.cli.common import AsJson, columns, show


def fetch_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMES]...", help="Assets; all default ones if none.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the assets and fetch nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the model and the text, and check every byte."""
    from sanity.assets import ASSETS, fetch

    if listing:
        rows = [_facts(asset) for asset in ASSETS.values()]
        show(rows, as_json=as_json, text=lambda: _table(rows))
        return
    places = {name: str(place) for name, place in fetch(names or None).items()}
    show(places, as_json=as_json, text=lambda: columns(list(places.items())))


def _facts(asset: Any) -> dict[str, Any]:
    return {
        "name": asset.name,
        "version": asset.version,
        "megabytes": round(asset.size / 1e6, 1),
        "licence": asset.licence,
        "default": asset.default,
        "description": asset.description,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("name", "version", "MB", "fetched by default", "licence", "what it is")
    return columns(
        [
            head,
            *(
                (
                    r["name"],
                    r["version"],
                    f"{r['megabytes']:.1f}",
                    "yes" if r["default"] else "no",
                    r["licence"],
                    r["description"],
                )
                for r in rows
            ),
        ],
        right=(2,),
    )
