"""`sanity models`: the language models that have names, and the families that were tried."""

from __future__ import annotations

from sanity.cli.common import AsJson, columns, show


def models_command(as_json: AsJson = False) -> None:
    """List the language models that have names, and which families any folder may hold."""
    from sanity.subject import known_subjects
    from sanity.subject.families import NOT_EDITABLE, TESTED

    edits = {family: bool(backends) and family not in NOT_EDITABLE for family, backends in TESTED.items()}
    rows = [
        (name, ", ".join(TESTED[name]) or "none", "yes" if edits[name] else "no") for name in sorted(TESTED)
    ]
    show(
        {
            "names": known_subjects(),
            "families": {name: {"backends": TESTED[name], "causal_editing": edits[name]} for name in TESTED},
        },
        as_json=as_json,
        text=lambda: (
            f"By name: {', '.join(known_subjects())}\n\nOr a folder with a causal language model of "
            "transformers. Families that were tried, each as a tiny model (others are tried when they are "
            "loaded):\n\n" + columns([("family", "backends", "causal editing"), *rows])
        ),
    )
