"""`sanity check`: an SAE of your own against its random baselines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sanity.cli.common import AsJson, columns, show
from sanity.errors import BadInputError

if TYPE_CHECKING:
    from sanity.checking.check import Check
    from sanity.checking.report import Report

FAIL_ON = ("baseline-matches",)


def check_command(
    sae: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folder, zip, OWNER/NAME[:FOLDER] or RELEASE:ID; several are seeds of one recipe."
        ),
    ] = None,
    paths: Annotated[
        list[str] | None, typer.Option("--paths", help="Several SAEs: --paths A B C.", metavar="A B C")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Language model; else what the checkpoint says.")] = None,
    hook: Annotated[
        str | None, typer.Option(help="Such as blocks.10.hook_resid_post; else the same.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Text by name, or a folder of .txt files; may be repeated.")
    ] = None,
    baselines: Annotated[str | None, typer.Option(help="Names with commas; else the usual seven.")] = None,
    evals: Annotated[str | None, typer.Option(help="Names with commas; else the usual four.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of every null.")] = 3,
    tokens: Annotated[int | None, typer.Option(help="Tokens that nulls train on, twice.")] = None,
    minutes: Annotated[float | None, typer.Option(help="About how long it may take.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="What the SAE takes: raw, 'expected norm' or centred; else measured.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; else check-NAME.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")
    ] = False,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit with 3 on: baseline-matches.", metavar="WHAT")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an SAE of your own against random baselines.

    Trains nulls of its size and L0 on the same activations, scores all alike, and writes a report.
    """
    from sanity.checking.check import Check, planned
    from sanity.checking.loading import load_given
    from sanity.checking.request import BASELINES, EVALS, Request
    from sanity.publishing.checks import PAGE, write_report

    if fail_on is not None and fail_on not in FAIL_ON:
        raise BadInputError(f"--fail-on takes {', '.join(FAIL_ON)}, not {fail_on!r}")
    given = [*(paths or []), *(sae or [])]
    if not given:
        raise BadInputError("nothing to check: give the folder or the name of an SAE")
    request = Request(
        _names(baselines) or BASELINES, _names(evals) or EVALS, seeds, tokens, minutes,
        tuple(text or ("registry",)), _scale(scale),
    )  # fmt: skip
    check = Check([load_given(one) for one in given], request, model, hook)
    plan = planned(check)
    if dry_run:
        show(plan, as_json=as_json, text=lambda: plan_words(plan))
        return
    typer.echo(plan_words(plan), err=True)
    _require_room(check, plan)
    report = check.run()
    folder = out or Path(f"check-{re.sub(r'[^A-Za-z0-9._-]+', '-', check.name).strip('-.')[:60]}")
    page = write_report(report, folder)
    value = {"report": str(folder / PAGE), **report.to_json()}
    show(value, as_json=as_json, text=lambda: _text(report, page))
    if fail_on and report.matched:
        raise typer.Exit(3)


def plan_words(plan: dict[str, Any]) -> str:
    """What a check will do and what is still to be paid for it."""
    from sanity.engine.cells import Cost
    from sanity.publishing import cost_words

    cost = Cost(plan["seconds"], plan["disk_bytes"], plan["memory_bytes"])
    return (
        f"{plan['sae']} at {plan['hook']} of {plan['model']}: {', '.join(plan['evals'])}; "
        f"{plan['seeds']} seeds of {', '.join(plan['baselines'])}; {plan['tokens']:,} tokens to train on, "
        f"{plan['held_out_tokens']:,} held out. {plan['results']} results, {plan['missing']} to compute: "
        f"{cost_words(cost)}."
    )


def _require_room(check: Check, plan: dict[str, Any]) -> None:
    import shutil

    from sanity.errors import StorageError
    from sanity.publishing.reproduce import size_words

    free = shutil.disk_usage(check.store.root).free
    if plan["disk_bytes"] > free:
        raise StorageError(
            f"the check needs {size_words(plan['disk_bytes'])} in {check.store.root}, where "
            f"{size_words(free)} are free: set SANITY_STORE to a folder on another disk, or ask for fewer "
            "--tokens"
        )


def _names(given: str | None) -> tuple[str, ...]:
    """Names with commas between them, which may stand in brackets as well."""
    return tuple(part.strip() for part in re.split(r",(?![^(]*\))", given or "") if part.strip())


def _scale(given: str | None) -> Any:
    from sanity.checking.fitting import SCALES

    if given is not None and given not in SCALES:
        raise BadInputError(f"--scale takes {', '.join(map(repr, SCALES))}, not {given!r}")
    return given


def _text(report: Report, page: Path) -> str:
    rows: Sequence[Any] = list(report.headline.itertuples())
    table = columns(
        [
            ("metric", "given SAE", "best null", "", "answer"),
            *(
                (row.label, f"{row.given:.3f}", f"{row.best_null_mean:.3f}", row.best_null, row.answer)
                for row in rows
            ),
        ],
        right=(1, 2),
    )
    return f"{report.answer}\n\n{table}\n\nReport: {page}"
