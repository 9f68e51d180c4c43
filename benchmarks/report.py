"""Tables of what `benchmarks.training` measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.client import PEERS
from sanity.engine.files import read_json, write_atomically

Row = dict[str, Any]
NAMES = {
    ("sanity", "float32"): "sanity",
    ("sanity", "bf16"): "sanity, bf16 product",
    ("sae-lens", "float32"): "sae-lens",
    ("sae-lens", "bf16"): "sae-lens, bf16 autocast",
    ("sae-lens-sparse", "float32"): "sae-lens, sparse activations",
    ("floor", "float32"): "encoder product alone",
    ("floor", "bf16"): "encoder product alone, bf16",
    ("floor-onednn", "float32"): "encoder product alone, oneDNN",
}


def paired_ratio(above: Row, below: Row, clock: str = "cpu_s") -> float:
    """Median over rounds of the ratio within a round."""
    pairs = zip(above["rounds"][clock], below["rounds"][clock], strict=True)
    return float(median(a / b for a, b in pairs))


def name_of(row: Row) -> str:
    """As in the tables."""
    implementation: str = row["implementation"]
    return NAMES.get((implementation, row["precision"]), implementation)


def groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows that were measured in turn, by shape and architecture."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        shape = ", ".join(f"{name} {value:,}" for name, value in row["shape"].items())
        found.setdefault((shape, row["architecture"]), []).append(row)
    return found


def find(rows: Sequence[Row], implementation: str, precision: str = "float32") -> Row | None:
    """The one row of an implementation in a group."""
    for row in rows:
        if (row["implementation"], row["precision"]) == (implementation, precision):
            return row
    return None


def summary(rows: Sequence[Row]) -> Row:
    """What one group comes down to: our ratios to the fastest peer, the product and the leanest peer."""
    ours, rounded = find(rows, "sanity"), find(rows, "sanity", "bf16")
    peers = [row for row in rows if row["implementation"] in PEERS]
    exact = [row for row in peers if row["precision"] == "float32"]
    out: Row = {"architecture": rows[0]["architecture"], "shape": rows[0]["shape"]}
    if ours is None:
        return out
    if exact:
        fastest = min(exact, key=lambda row: row["cpu_s"])
        out |= {"fastest": name_of(fastest), "cpu": paired_ratio(fastest, ours)}
        out |= {"wall": paired_ratio(fastest, ours, "wall_s")}
        if rounded is not None:
            out["cpu_bf16"] = paired_ratio(fastest, rounded)
        measured = [row for row in peers if row["peak_bytes"] is not None]
        if measured and ours["peak_bytes"] is not None:
            leanest = min(measured, key=lambda row: row["peak_bytes"])
            out |= {"leanest": name_of(leanest), "memory": ours["peak_bytes"] / leanest["peak_bytes"]}
    for key, floor in (("share", find(rows, "floor")), ("share_onednn", find(rows, "floor-onednn"))):
        if floor is not None:
            out[key] = paired_ratio(floor, ours)
    return out


def summary_table(rows: Sequence[Row]) -> list[list[str]]:
    """One line per group; the first line is the heading."""
    heading = ["shape", "architecture", "fastest peer", "CPU", "wall", "CPU, bf16", "share of product"]
    out = [[*heading, "of oneDNN's", "peak memory", "leanest peer"]]
    for (shape, architecture), group in groups(rows).items():
        found = summary(group)
        times = [f"{found[key]:.2f}x" if key in found else "" for key in ("cpu", "wall", "cpu_bf16")]
        shares = [f"{found[key]:.0%}" if key in found else "" for key in ("share", "share_onednn")]
        memory = f"{found['memory']:.2f}x" if "memory" in found else ""
        line = [shape, architecture, found.get("fastest", ""), *times, *shares]
        out.append([*line, memory, found.get("leanest", "")])
    return out


def group_table(rows: Sequence[Row]) -> list[list[str]]:
    """One line per implementation of a group; the first line is the heading."""
    ours, floor = find(rows, "sanity"), find(rows, "floor")
    heading = ["implementation", "CPU s/step", "wall s/step", "tokens/s", "peak MB", "CPU / ours"]
    out = [[*heading, "CPU / product", "L0", "error"]]
    for row in rows:
        peak, l0, error = row["peak_bytes"], row["l0"], row["squared_error"]
        out.append(
            [
                name_of(row),
                f"{row['cpu_s']:.4f}",
                f"{row['wall_s']:.4f}",
                f"{row['tokens_per_s']:,.0f}",
                "" if peak is None else f"{peak / 1e6:,.0f}",
                "" if ours is None else f"{paired_ratio(row, ours):.2f}",
                "" if floor is None else f"{paired_ratio(row, floor):.2f}",
                "" if l0 is None else f"{l0:.2f}",
                "" if error is None else f"{error:.4f}",
            ]
        )
    return out


def plain(lines: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    number = [any(line[i][:1].isdigit() for line in lines[1:]) for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, number, strict=True)
        ).rstrip()
        for line in lines
    )


def piped(lines: Sequence[Sequence[str]]) -> str:
    """The same for Markdown."""
    first, *rest = lines
    rule = ["---"] * len(first)
    return "\n".join("| " + " | ".join(line) + " |" for line in (first, rule, *rest))


def tables(result: Row) -> list[str]:
    """Everything that is printed."""
    out = [conditions(result)]
    for (shape, architecture), rows in groups(result["rows"]).items():
        out.append(f"{architecture}, {shape}\n{plain(group_table(rows))}")
    return [*out, "How many times faster and smaller we are\n" + plain(summary_table(result["rows"]))]


def conditions(result: Row) -> str:
    """The machine and the software, in one paragraph."""
    processor, machine = result["cpu"], result["machine"]
    names = {name: version for found in result["versions"].values() for name, version in found.items()}
    return (
        f"{processor['model']}, {processor['cores']} cores, {', '.join(processor['flags'])}; "
        f"{machine['threads']} threads; median of {result['rounds']} rounds in turn; "
        f"load average before the run {result['load_before']}; {result['seconds']} s in all; "
        f"commit {machine['commit']}. "
        + ", ".join(f"{name} {version}" for name, version in sorted(names.items()))
        + "."
    )


def scaling_tables(result: Row) -> list[tuple[str, list[list[str]]]]:
    """Titles and tables of what `benchmarks.scaling` measured, one per thing that was varied."""
    rows, out = result["rows"], []
    for varied, title in SCALED.items():
        chosen = [row for row in rows if row["varied"] == varied]
        if not chosen:
            continue
        if varied == "steps":
            lines = [["steps", "peak MB", "MB kept between steps"]]
            for row in chosen:
                sizes = [_megabytes(row[name]) for name in ("peak_bytes", "lasting_bytes")]
                lines.append([f"{row['value']:,}", *sizes])
        else:
            lines = _growth(chosen, varied)
        out.append((title, lines))
    return out


SCALED = {
    "m": "Latents: d 768, batch 4,096, k 64",
    "batch": "Samples per batch: d 768, m 6,144, k 64",
    "arms": "Arms: TopK at d 768, m 6,144, batch 4,096, k 64",
    "steps": "Steps: TopK at d 100, m 3,200, batch 4,096, k 20",
}


def _growth(rows: Sequence[Row], varied: str) -> list[list[str]]:
    """CPU seconds per step of every entrant, and our peak memory, by the value that was varied."""
    entrants = list(dict.fromkeys((row["implementation"], row["architecture"]) for row in rows))
    titles = [
        f"{architecture}, CPU s" if name == "sanity" else f"{NAMES[name, 'float32']}, CPU s"
        for name, architecture in entrants
    ]
    out = [[varied, *titles, "topk, wall s", "topk, peak MB"]]
    for value in dict.fromkeys(row["value"] for row in rows):
        at = {(row["implementation"], row["architecture"]): row for row in rows if row["value"] == value}
        first = at["sanity", "topk"]
        cells = [f"{at[entrant]['cpu_s']:.3f}" for entrant in entrants]
        out.append([f"{value:,}", *cells, f"{first['wall_s']:.3f}", _megabytes(first["peak_bytes"])])
    return out


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:,.0f}"


def dumped(result: Row) -> str:
    """A result as JSON with one line per row, so that a new measurement reads well as a change."""
    head = json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=1)
    rows = ",\n  ".join(json.dumps(_rounded(row)) for row in result["rows"])
    return f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'


def _rounded(value: Any) -> Any:
    """Times to six digits; more would be noise."""
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_results(folder: Path) -> None:
    """`RESULTS.md` from the results that are stored in `folder`."""
    parts = ["# Training steps, measured", "Written by `make bench`."]
    if (folder / "training.json").exists():
        parts += _training(read_json(folder / "training.json"))
    if (folder / "scaling.json").exists():
        parts += _scaling(read_json(folder / "scaling.json"))
    write_atomically(folder / "RESULTS.md", "\n\n".join(parts) + "\n")


def _training(result: Row) -> list[str]:
    parts = [conditions(result), SUMMARY, piped(summary_table(result["rows"]))]
    parts += ["## How it was measured", result["method"], COLUMNS]
    for (shape, architecture), rows in groups(result["rows"]).items():
        parts += [f"## {architecture}: {shape}", piped(group_table(rows))]
    return parts


def _scaling(result: Row) -> list[str]:
    parts = ["# How the cost grows", conditions(result)]
    for title, lines in scaling_tables(result):
        parts += [f"## {title}", piped(lines)]
    return parts


SUMMARY = """\
Factors say how many times as much the fastest peer in float32 costs as we do (in CPU seconds, in wall time, \
and in CPU seconds with our bf16 encoder product, whose selected values are exact), and how our peak memory \
compares to that of the leanest peer (below 1: we need less). The shares are the encoder's float32 product \
alone over our float32 step: by PyTorch's own `addmm`, and by oneDNN's faster kernel, which is what we use."""

COLUMNS = """\
Peak memory counts parameters, gradients, optimiser state and all temporaries, beyond imports and batches. \
L0 and the error (mean of ||x - x_hat||^2) are those of a held-out batch after the last step. In bf16 only \
the encoder product of ours is rounded, while sae-lens' autocast rounds every product. JumpReLU's L0 and \
error agree less closely: only our penalty is controlled, and only our thresholds learn as logarithms."""
