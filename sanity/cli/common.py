"""What all commands share: options, one-line errors, progress on stderr, output as text or as JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sanity.engine.files import disk_errors
from sanity.errors import SanityError
from sanity.publishing.log import log_to_stderr

ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        help="How much to run: demo, smoke, quick, overnight, card, gpu, paper, or a YAML file.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Compute on the workers of this Dask scheduler, such as tcp://host:8786; else on this machine.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


class CommandGroup(TyperGroup):
    """A group of commands that reports a `SanityError` as one line on stderr, with exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with `--debug` the error is raised with its traceback."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a locale without dashes and Greek is no reason to stop
                stream.reconfigure(errors="backslashreplace")
        log_to_stderr()
        try:
            with disk_errors(Path()):
                return super().invoke(ctx)
        except SanityError as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"sanity: {' '.join(str(error).split())}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            typer.echo("sanity: interrupted; what was computed is kept, the same command goes on", err=True)
            ctx.exit(130)


def show(value: Mapping[str, Any] | Sequence[Any], *, as_json: bool, text: Callable[[], str]) -> None:
    """Print `value` as JSON, or what `text()` makes of it for people."""
    typer.echo(json.dumps(value, indent=1) if as_json else text())


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows of cells as aligned plain text; the columns named in `right` are aligned to the right."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in rows)
