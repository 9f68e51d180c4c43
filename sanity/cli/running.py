"""`sanity plan`, `harvest`, `train`, `results`, `reproduce`, `book`: what a profile computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sanity.cli.common import AsJson, ProfileName, Scheduler, columns, show

if TYPE_CHECKING:
    from sanity.engine.cells import Cell


def plan_command(profile: ProfileName = "quick", as_json: AsJson = False) -> None:
    """List what a profile computes, and what it will cost."""
    from sanity.engine.cells import in_order
    from sanity.engine.computing import total_cost
    from sanity.engine.store import missing, open_store
    from sanity.experiments import plan
    from sanity.experiments.calibration import on_average, ratios
    from sanity.profiles import load
    from sanity.publishing import cost_words
    from sanity.sources import Pace

    chosen = load(profile)
    cells = in_order(plan(chosen))
    absent = missing(cells, open_store())
    keys = {cell.key for cell in absent}
    rows = [_row(cell, done=cell.key not in keys) for cell in cells]
    measured = {device: ratios(device) for device in dict.fromkeys((chosen.device, "cpu"))} if absent else {}
    here = on_average(measured.get(chosen.device), chosen.device)
    told = {"missing": len(absent), "slowness": here, "calibration": measured}
    value = {"profile": profile, "cells": rows, **told}
    in_all = [f"{len(cells)} results in all: {cost_words(total_cost(cells), chosen.device)}"]
    if chosen.device != "cpu":
        on_cores = load(profile, device="cpu", precision="float32", pace=Pace())
        cost, beside = total_cost(in_order(plan(on_cores))), on_average(measured.get("cpu"))
        in_all.append(f"without a card: {cost_words(cost, slowness=beside)}")
        if here is None and absent:
            in_all.append("there is no card here to calibrate by: times on one are those of an H200")
    in_all += [_calibrated(device, found) for device, found in measured.items() if found is not None]
    show(
        value,
        as_json=as_json,
        text=lambda: "\n".join(
            (
                _table(rows),
                "",
                *in_all,
                f"{len(absent)} still missing: {cost_words(total_cost(absent), chosen.device, here)}",
            )
        ),
    )


def _calibrated(device: str, found: Mapping[str, float]) -> str:
    """What each kind of work was measured to take here, next to the machine that paces are of."""
    where = "on two cores" if device == "cpu" else "on the card"
    kinds = ", ".join(f"{name} {ratio:.2g}" for name, ratio in found.items())
    return f"measured {where}, times what the reference machine takes: {kinds}"


def harvest_command(
    profile: ProfileName = "quick", scheduler: Scheduler = None, as_json: AsJson = False
) -> None:
    """Compute only the profile's activations of language models."""
    _compute_stages({"harvest"}, profile, scheduler, as_json=as_json)


def train_command(
    profile: ProfileName = "quick", scheduler: Scheduler = None, as_json: AsJson = False
) -> None:
    """Train only the profile's autoencoders, on activations that are harvested first if missing."""
    _compute_stages({"train"}, profile, scheduler, as_json=as_json)


def results_command(
    profile: ProfileName = "synthetic",
    scheduler: Scheduler = None,
    finished: Annotated[
        bool, typer.Option("--finished", help="Add only what is trained by now; train nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute a long profile's scores, and keep its tables with the book under results/.

    It may be stopped and goes on where it was, on another machine, too: what is kept under its key is not
    computed again. Chapters and claims at other profiles read the tables as imported.
    """
    from sanity.experiments.exporting import keep_run
    from sanity.profiles import load

    folder = keep_run(load(profile), scheduler=scheduler, finished=finished)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    lines = [str(folder), *(f"  {name}  {size / 1e3:.0f} kB" for name, size in files.items())]
    show({"folder": str(folder), "bytes": files}, as_json=as_json, text=lambda: "\n".join(lines))


def reproduce_command(
    profile: ProfileName = "quick", scheduler: Scheduler = None, as_json: AsJson = False
) -> None:
    """Compute what is missing, run the chapters, build the book."""
    from sanity.publishing import reproduce_book

    _show_build(reproduce_book(profile, scheduler=scheduler), as_json=as_json)


def book_command(profile: ProfileName = "quick", as_json: AsJson = False) -> None:
    """Build the pages from the chapters as they last ran."""
    from sanity.publishing import build_book

    _show_build(build_book(profile), as_json=as_json)


def _compute_stages(stages: set[str], profile: str, scheduler: str | None, *, as_json: bool) -> None:
    from sanity.engine.computing import compute
    from sanity.experiments import plan
    from sanity.experiments.readiness import make_ready
    from sanity.profiles import load

    cells = [cell for cell in plan(load(profile)) if cell.stage in stages]
    make_ready(cells, scheduler=scheduler)
    compute(cells, scheduler=scheduler)
    rows = [_row(cell, done=True) for cell in cells]
    show(rows, as_json=as_json, text=lambda: _table(rows))


def _show_build(build: Any, *, as_json: bool) -> None:
    value = {"front_page": str(build.front_page), "seconds": build.seconds}
    show(value, as_json=as_json, text=lambda: str(build.front_page))
    if not as_json:
        stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in build.seconds.items())
        typer.echo(f"took: {stages}", err=True)


def _row(cell: Cell, *, done: bool) -> dict[str, Any]:
    return {
        "key": cell.key,
        "stage": cell.stage,
        "label": cell.label,
        "seconds": cell.cost.seconds,
        "disk_bytes": cell.cost.disk_bytes,
        "memory_bytes": cell.cost.memory_bytes,
        "done": done,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("key", "stage", "what", "seconds", "disk MB", "memory MB", "")
    return columns(
        [
            head,
            *(
                (
                    r["key"],
                    r["stage"],
                    r["label"],
                    f"{r['seconds']:.0f}",
                    f"{r['disk_bytes'] / 1e6:.1f}",
                    f"{r['memory_bytes'] / 1e6:.0f}",
                    "there" if r["done"] else "missing",
                )
                for r in rows
            ),
        ],
        right=(3, 4, 5),
    )
