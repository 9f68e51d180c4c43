"""The command `sanity`: fetch, models, plan, harvest, train, judge, check, results, reproduce,
book, claims, clean.

Exit codes: 0 done, 1 refused or failed for a reason stated in one line on stderr, 2 wrong usage. With
`--json` the result is one JSON document on stdout, and progress stays on stderr. Commands import what
they need when they run, so that `sanity --help` answers at once.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

# Before torch is loaded, and for the kernels that run the chapters: threads that wait for work go to sleep
# soon. By default they spin for milliseconds, and a second busy process on the same cores then makes a run
# of small matrix products several times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from sanity.cli import checking, cleaning, fetching, judging, models, reading, running
from sanity.cli.common import CommandGroup
from sanity.engine.machine import cores

# torch would take the host's cores where a container has a share of them.
if cores() < (os.cpu_count() or 1):
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))

app = typer.Typer(
    name="sanity",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="SANITY_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Do sparse autoencoders beat random baselines? Fetch, compute, and build the book that answers."""


app.command("fetch")(fetching.fetch_command)
app.command("models")(models.models_command)
app.command("plan")(running.plan_command)
app.command("harvest")(running.harvest_command)
app.command("train")(running.train_command)
app.command("judge")(judging.judge_command)
app.command("check")(checking.check_command)
app.command("results")(running.results_command)
app.command("reproduce")(running.reproduce_command)
app.command("book")(running.book_command)
app.command("claims")(reading.claims_command)
app.command("clean")(cleaning.clean_command)

__all__ = ["app", "main"]
