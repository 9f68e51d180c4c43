"""Results that a reader can move: a slider over what was computed, and a blind quiz.

Both are plain HTML with their data inside. `book/_static/widgets.js` brings them to life in the book, without
a server; where no script runs they stay hidden, and the figure above or below says the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

from sanity.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd


def slider_html(
    table: pd.DataFrame,
    *,
    along: str,
    rows: str,
    shown: Mapping[str, str],
    caption: str,
    say: Callable[[Any], str] = str,
    start: Any = None,
    colours: Mapping[str, str] | None = None,
) -> str:
    """A slider over the column `along`, and a table of what holds there: a row for each value of `rows`.

    Parameters
    ----------
    table : DataFrame
        Tidy: one row for each value of `along` and of `rows`.
    shown : mapping of str to str
        The columns shown, with their headings. Numbers are shares from 0 to 1 and get a bar; texts are words,
        such as verdicts, and are counted.
    say : callable
        A value of `along` in words, for instance `"{:.1%}".format`.
    start : optional
        Where the slider begins: the nearest value of `along`; without it, at the last.
    colours : mapping of str to str, optional
        The colour of each word. Rows of other tables that begin with a name of `rows` take it, too.
    """
    if (twice := table.duplicated([along, rows])).any():
        one = " and ".join(map(str, table.loc[twice, [along, rows]].iloc[0]))
        raise BadInputError(f"a slider needs one row for each {along} and {rows}; {one} is there twice")
    steps, names = sorted(table[along].dropna().unique()), list(dict.fromkeys(table[rows]))
    at = len(steps) - 1 if start is None else min(range(len(steps)), key=lambda i: abs(steps[i] - start))
    cells = table.set_index([along, rows])[list(shown)].to_dict("index")
    values = [
        [[_plain(cells.get((step, name), {}).get(column)) for column in shown] for name in names]
        for step in steps
    ]
    data = {"steps": [say(step) for step in steps], "rows": list(map(str, names)), "values": values}
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("", *shown.values()))
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>{"<td></td>" * len(shown)}</tr>' for name in names
    )
    name = f"slider-{sha256(f'{caption}{along}{len(steps)}'.encode()).hexdigest()[:8]}"
    return (
        f'<div class="sanity-widget" data-widget="slider" hidden>{_caption(caption)}'
        f'<div class="sanity-control"><label for="{name}">{escape(along.replace("_", " "))}</label>'
        f'<input type="range" id="{name}" min="0" max="{len(steps) - 1}" value="{at}">'
        f'<output for="{name}"></output></div><p class="sanity-said" role="status"></p>'
        f'<div class="sanity-scroll"><table class="sanity-table"><caption class="sanity-hidden"><span>'
        f"{escape(caption)}</span></caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{_data({**data, 'colours': dict(colours or {})})}</div>"
    )


@dataclass(frozen=True)
class QuizQuestion:
    """Two latents to be told apart: HTML of their contexts, in the order in which they are shown."""

    first: str
    second: str
    trained_is_first: bool
    other: str
    """The arm of the other latent, in words."""
    judge: float | None = None
    """What the judge gets for this pair: 1 for right, 0 for wrong, a half for a tie; None without a score."""


def quiz_html(
    questions: Sequence[QuizQuestion], *, caption: str, judge: str, all_pairs: Sequence[float]
) -> str:
    """Pairs of latents, one of them trained: the reader says which, and learns the outcome at the end.

    `judge` names who is compared, and `all_pairs` is what it gets on every pair that there is.
    """
    asked = "".join(_question(i, one, len(questions)) for i, one in enumerate(questions))
    key = [
        {"trained": "A" if q.trained_is_first else "B", "other": q.other, "judge": q.judge} for q in questions
    ]
    return (
        f'<div class="sanity-widget" data-widget="quiz" hidden>{_caption(caption)}<form>{asked}'
        '<p class="sanity-control"><button type="button" data-do="stop" disabled>Stop here</button></p>'
        '</form><div class="sanity-outcome" tabindex="-1" hidden></div>'
        f"{_data({'key': key, 'judge': judge, 'all': [_plain(one) for one in all_pairs]})}</div>"
    )


def _question(number: int, one: QuizQuestion, count: int) -> str:
    sides = "".join(
        f'<div role="group" aria-label="Latent {name}"><p><strong>{name}</strong></p>{contexts}'
        f'<button type="button" data-say="{name}">{name} was trained</button></div>'
        for name, contexts in (("A", one.first), ("B", one.second))
    )
    return (
        f'<fieldset hidden><legend tabindex="-1">Question {number + 1} of {count}: which of the two latents '
        f'was trained?</legend><div class="sanity-pair">{sides}</div></fieldset>'
    )


def _caption(words: str) -> str:
    return f'<p class="sanity-caption">{escape(words)}</p>'


def _plain(value: Any) -> Any:
    """A cell as JSON: numbers with four digits, nothing for what is missing."""
    if isinstance(value, str) or value is None:
        return value
    return None if value != value else round(float(value), 4)


def _data(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'
