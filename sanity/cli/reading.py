"""`sanity claims`: what the paper said, what was found here, and the verdict."""

from __future__ import annotations

from typing import Any

from sanity.cli.common import AsJson, ProfileName, columns, show


def claims_command(profile: ProfileName = "quick", as_json: AsJson = False) -> None:
    """List every claim with value, interval, verdict and its metric's validity gate.

    A verdict is fragile where a margin a fifth smaller or larger would give another; the nearest is named.

    Judged are the scores that have been computed; none is computed here.
    """
    from sanity.experiments.verdicts import verdict_tables
    from sanity.profiles import load

    found = verdict_tables(load(profile))
    rows = [{**row, "missing_scores": found.missing} for row in found.results]
    show(rows, as_json=as_json, text=lambda: _text(rows, found.missing, profile))


def _text(rows: list[dict[str, Any]], missing: int, profile: str) -> str:
    def words(row: dict[str, Any]) -> tuple[str, ...]:
        interval = row["interval"]
        low_high = f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval is not None else ""
        value = row["value"]
        return (
            row["id"],
            row["verdict"],
            "" if value is None else f"{value:.3f}",
            low_high,
            "" if row["flips_at"] is None else f"fragile: another at {row['flips_at']:.1%}",
            row["gate"],
        )

    table = columns(
        [("claim", "verdict", "value", "interval", "fragile", "validity gate"), *map(words, rows)], right=(2,)
    )
    said = (
        f"{missing} tables of scores are not computed yet, and what rests on them is open; "
        f"compute them with: sanity reproduce --profile {profile}"
    )
    return f"{table}\n\n{said}" if missing else table
