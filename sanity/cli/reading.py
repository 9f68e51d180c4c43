"""`sanity claims`: what the paper said, what was found here, and the verdict."""

from __future__ import annotations

from sanity.cli.common import AsJson, ProfileName, columns, show


def claims_command(profile: ProfileName = "quick", as_json: AsJson = False) -> None:
    """List every claim with value, interval, verdict and its metric's validity gate."""
    from sanity.claims import verdicts

    rows = verdicts(profile)
    show(rows, as_json=as_json, text=lambda: _table(rows))


def _table(rows: list[dict[str, object]]) -> str:
    def words(row: dict[str, object]) -> tuple[str, ...]:
        interval = row["interval"]
        low_high = f"[{interval[0]:.3f}, {interval[1]:.3f}]" if isinstance(interval, list | tuple) else ""
        value = row["value"]
        return (
            str(row["id"]),
            str(row["verdict"]),
            f"{value:.3f}" if isinstance(value, float) else "",
            low_high,
            str(row["gate"]),
        )

    return columns(
        [("claim", "verdict", "value", "interval", "validity gate"), *map(words, rows)], right=(2,)
    )
