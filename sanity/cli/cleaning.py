"""`sanity clean`: results that no profile reaches any more."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sanity.cli.common import AsJson, columns, show
from sanity.errors import CorruptFileError

if TYPE_CHECKING:
    from sanity.engine.store import LocalStore


def clean_command(
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile", "-p", help="Keep what this profile reaches, too, such as my.yaml; may be repeated."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; else they are only listed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List results that no profile reaches any more, and remove them with --yes.

    A result is reached while a plan has its key: changed settings, definitions and versions leave old results
    behind. What the shipped profiles reach is kept. What a notebook of your own has computed is listed as
    well, and so is what a judge said whom SANITY_JUDGE_URL does not name now.
    """
    from sanity.engine.store import open_store
    from sanity.profiles import names

    store, profiles = open_store(), list(dict.fromkeys([*names(), *(profile or [])]))
    rows = unreached(store, profiles)
    if yes:
        for row in rows:
            store.remove(row["key"])
    value = {"kept_for": profiles, "results": rows, "bytes": sum(r["bytes"] for r in rows), "removed": yes}
    show(value, as_json=as_json, text=lambda: _text(rows, removed=yes))


def unreached(store: LocalStore, profiles: Sequence[str]) -> list[dict[str, Any]]:
    """Results in `store` whose key is in no plan of `profiles`: what they are, and their bytes."""
    from sanity.engine.cells import in_order
    from sanity.experiments import plan
    from sanity.profiles import load

    reached = {cell.key for name in profiles for cell in in_order(plan(load(name)))}
    rows = []
    for key in sorted(set(store.list()) - reached):
        facts: Mapping[str, Any] = {}
        with contextlib.suppress(CorruptFileError):
            result = store.get(key)
            facts = result.manifest if result is not None else {}
        about = {name: str(facts.get(name, "")) for name in ("stage", "label", "finished")}
        rows.append({"key": key, **about, "bytes": store.size(key)})
    return sorted(rows, key=lambda row: -row["bytes"])


def _text(rows: list[dict[str, Any]], *, removed: bool) -> str:
    from sanity.publishing.reproduce import size_words

    if not rows:
        return "Every result is reached by a profile: there is nothing to remove."
    head = ("key", "stage", "what", "computed", "MB")
    body = [
        (row["key"], row["stage"], row["label"], row["finished"], f"{row['bytes'] / 1e6:.1f}") for row in rows
    ]
    size = size_words(sum(row["bytes"] for row in rows))
    count = f"{len(rows)} result{'s' if len(rows) > 1 else ''}"
    said = (
        f"{count} removed: {size} are free again."
        if removed
        else f"{count} that no profile reaches: {size}. Nothing was removed; --yes removes them."
    )
    return "\n".join((columns([head, *body], right=(4,)), "", said))
