"""The page of what `benchmarks.gpu` measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def page(result: Row) -> str:
    """Markdown: the machine, the table, many arms, and the checks."""
    parts = ["# Training steps on a graphics card", "Written by `make bench-gpu`."]
    if result["card"] is None:
        parts.append("No graphics card was available where this was written: nothing here is a time.")
    else:
        rates = result["rates"]
        told = ", ".join(f"{rates[kind] / 1e12:,.0f} TFLOP/s in {kind}" for kind in ("f32", "tf32", "bf16"))
        parts.append(f"{result['card']}: copies {rates['copy'] / 1e12:.1f} TB/s, products {told}.")
        parts += [_shape(name, rows, result["floor_ms"][name]) for name, rows in _by_shape(result["table"])]
        parts += ["## Many arms on one stream", _many(result["many"])]
    return "\n\n".join([*parts, _checks(result["parity"])]) + "\n"


def _by_shape(rows: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
    names = dict.fromkeys(f"{row['d']} x {row['m']}" for row in rows)
    return [(name, [row for row in rows if f"{row['d']} x {row['m']}" == name]) for name in names]


def _shape(name: str, rows: list[Row], floor: float) -> str:
    """All implementations at one shape: times, and how often as fast ours is as the fastest other."""
    others = [row["ms"] for row in rows if not row["name"].startswith(("ours", "product")) and "ms" in row]
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append([row["name"], row["failed"], *[""] * 7])
            continue
        counts = [f"{row[key]:.0f}" for key in ("launches", "kernels", "reads", "synchronisations")]
        lead = f"{min(others) / row['ms']:.2f}x" if others and row["name"].startswith("ours") else ""
        lines.append(
            [
                row["name"],
                f"{row['ms']:.2f}",
                lead,
                f"{floor / row['ms']:.0%}",
                *counts,
                f"{row['peak_gb']:.1f}",
            ]
        )
    k, batch = rows[0]["k"], rows[0]["batch"]
    head = [
        "implementation", "ms per step", "against the fastest other", "share of the floor", "launches",
        "kernels", "reads", "synchronisations", "peak GB",
    ]  # fmt: skip
    return f"## {name}, k {k}, batch {batch:,}: floor {floor:.2f} ms\n\n{_table(head, lines)}"


def _many(rows: list[Row]) -> str:
    lines = [
        [str(row["arms"]), row["batches"], f"{row['ms']:.2f}", f"{row['arm_samples_per_s'] / 1e6:.2f} M"]
        if "ms" in row
        else [str(row["arms"]), row["batches"], row["failed"], ""]
        for row in rows
    ]  # fmt: skip
    return _table(["arms", "batches", "ms per step", "arm-samples per second"], lines)


def _checks(found: Row) -> str:
    """What holds without a clock."""
    lines = []
    for row in found["rows"]:
        differences = [
            f"{row[key]:.0e}" if key in row else "" for key in ("difference_plain", "difference_kernels")
        ]
        counts = [
            f"{row[key]:.0f}"
            for key in ("reads_alone", "reads_stacked", "operations_alone", "operations_per_arm")
        ]
        lines.append([row["architecture"], *differences, *counts])
    head = [
        "architecture", "difference, plain", "difference, kernels", "reads alone", "reads stacked",
        "operations alone", "operations per arm of a stack",
    ]  # fmt: skip
    words = (
        f"Three arms (trained, soft-frozen, frozen encoder) in one stack against each alone, on "
        f"{found['device']}: the largest relative difference of any weight after {found['steps']} "
        f"steps, in float32; kernels: {found['kernels']}. Reads are numbers that the "
        "host waits for, per step; operations are calls into PyTorch per step, most of which are one launch."
    )
    return f"## The stacked step against the ordinary one\n\n{words}\n\n{_table(head, lines)}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
