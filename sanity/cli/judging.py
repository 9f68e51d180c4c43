"""`sanity judge`: what a judge may cost, and asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sanity.cli.common import AsJson, ProfileName, columns, show

if TYPE_CHECKING:
    from sanity.engine.cells import Cell
    from sanity.evals.judging import JudgedInterpretability, Prices


def judge_command(
    profile: ProfileName = "quick",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it may cost, and ask nothing.")
    ] = False,
    price_prompt: Annotated[
        float | None, typer.Option(min=0, help="Per million prompt tokens; else SANITY_JUDGE_PRICE_PROMPT.")
    ] = None,
    price_answer: Annotated[
        float | None, typer.Option(min=0, help="Per million answer tokens; else SANITY_JUDGE_PRICE_ANSWER.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have judges describe and recognise latents, or say what that may cost.

    A language model is named by SANITY_JUDGE_URL, SANITY_JUDGE_MODEL and SANITY_JUDGE_KEY; the bundled text
    matcher costs nothing.
    """
    from sanity.engine.computing import compute
    from sanity.experiments.planner import plan_grids
    from sanity.experiments.readiness import make_ready
    from sanity.profiles import load

    plan = plan_grids(load(profile))
    asked: dict[JudgedInterpretability, list[Cell]] = {}
    for run in plan.runs:
        for cell in run.scored.values():
            if _is_judged(cell):
                asked.setdefault(cell.config.eval, []).append(cell)
    prices = _prices(price_prompt, price_answer)
    if not dry_run:
        everything = [cell for cells in asked.values() for cell in cells]
        make_ready(everything)
        compute(everything)
    rows = [row for one, cells in asked.items() for row in _rows(one, cells, prices)]
    value = {"profile": profile, "asked": not dry_run, "judges": rows}
    show(value, as_json=as_json, text=lambda: _text(rows, asked=not dry_run))


def _is_judged(cell: Cell) -> bool:
    from sanity.evals.judging import JudgedInterpretability

    return isinstance(cell.config.eval, JudgedInterpretability)


def _prices(prompt: float | None, answer: float | None) -> Prices:
    from sanity.evals.judging import Prices, endpoint_from

    endpoint = endpoint_from()
    known = endpoint.prices if endpoint is not None else Prices()
    return Prices(known.prompt if prompt is None else prompt, known.answer if answer is None else answer)


def _rows(one: JudgedInterpretability, cells: list[Cell], prices: Prices) -> list[dict[str, Any]]:
    """A row for each judge of an eval: how many SAEs it is asked about, and what that may cost."""
    rows = []
    for spec in one.judges:
        usage, seconds = one.expected(spec, len(cells))
        paid = spec.kind == "endpoint"
        rows.append(
            {
                "judge": spec.model,
                "kind": spec.kind,
                "arms_and_seeds": len(cells),
                "latents": one.latents,
                "calls": usage.calls,
                "prompt_tokens": usage.prompt_tokens,
                "answer_tokens": usage.answer_tokens,
                "money": prices.of(usage.prompt_tokens, usage.answer_tokens) if paid else 0.0,
                "seconds": seconds,
            }
        )
    return rows


def _text(rows: list[dict[str, Any]], *, asked: bool) -> str:
    head = ("judge", "where", "SAEs", "latents each", "calls", "prompt tokens", "answer tokens", "money")
    body = [
        (
            row["judge"],
            "endpoint" if row["kind"] == "endpoint" else "this machine",
            str(row["arms_and_seeds"]),
            str(row["latents"]),
            f"{row['calls']:,}",
            f"{row['prompt_tokens']:,}",
            f"{row['answer_tokens']:,}",
            f"{row['money']:.2f}",
        )
        for row in rows
    ]
    said = "Asked; answers are kept." if asked else "Nothing was asked. Answers on disk are not paid again."
    if all(row["kind"] != "endpoint" for row in rows):
        said += " No endpoint is configured: set SANITY_JUDGE_URL and SANITY_JUDGE_MODEL."
    return "\n".join((columns([head, *body], right=(2, 3, 4, 5, 6, 7)), "", said))
