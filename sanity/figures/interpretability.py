"""What latents fire on, and how their scores are spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from textwrap import fill
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from sanity.evals import METRICS
from sanity.figures.style import ARM_COLOURS, MARKS, arm_name, bounds, panel_grid, with_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sanity.evals.interpretability import Context

KIND_COLOURS = {"topic": "#0072B2", "word": "#E69F00", "word in topic": "#009E73"}

# The strongest mark: dark text on a light page and light text on a dark one both stay readable on it.
_STRONGEST = 0.42


@with_data
def score_quantiles(
    latents: pd.DataFrame, *, columns: Mapping[str, str], order: Sequence[tuple[str, str]], floor: float = 0.5
) -> Figure:
    """One panel per score: for each arm the median latent, and where 50 % and 90 % of its latents lie."""
    figure, axes = panel_grid(
        1, len(columns), (3.4 * len(columns) + 1.2, 0.36 * len(order) + 1.4), sharey=True
    )
    for ax, (column, name) in zip(axes[0], columns.items(), strict=True):
        for height, (constraint, init) in enumerate(order):
            mine = latents[(latents["constraint"] == constraint) & (latents["init"] == init)][column].dropna()
            if mine.empty:
                continue
            low, lower, middle, upper, high = mine.quantile([0.05, 0.25, 0.5, 0.75, 0.95])
            colour = ARM_COLOURS[constraint]
            ax.plot([low, high], [height] * 2, color=colour, linewidth=1.2)
            ax.plot([lower, upper], [height] * 2, color=colour, linewidth=5, solid_capstyle="butt", alpha=0.6)
            ax.scatter([middle], [height], s=30, color=colour, marker=MARKS[init], zorder=3)
        bounds(ax, floor)
        ax.set_title(fill(name, 26), fontsize="small")
    axes[0, 0].set_yticks(range(len(order)), [arm_name(*arm) for arm in order])
    axes[0, 0].invert_yaxis()
    figure.supxlabel("mark: median latent; bar: half of them; line: 90 %; dotted: chance", fontsize="small")
    return figure


@with_data
def known_concepts(graded: pd.DataFrame, *, metrics: Mapping[str, str]) -> Figure:
    """One panel per metric: its mean on known concepts of each kind against how far they are corrupted.

    The kind that the metric is gated by is drawn strong, with a bar for the range over draws.
    """
    n_columns = min(3, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    figure, axes = panel_grid(n_rows, n_columns, (3.4 * n_columns, 2.5 * n_rows + 0.5), used=len(metrics))
    for ax, (metric, name) in zip(axes.flat, metrics.items(), strict=False):
        part = graded[graded["metric"] == metric]
        for kind, rows in part.groupby("kind", sort=False):
            by_level = rows.groupby("level")["value"]
            mean, gated = by_level.mean(), kind == METRICS[metric].gate
            style = {"alpha": 1.0, "linewidth": 2.2} if gated else {"alpha": 0.5, "linewidth": 1.1}
            ax.plot(mean.index, mean, color=KIND_COLOURS[str(kind)], **style)
            if gated:
                ax.vlines(
                    mean.index, by_level.min(), by_level.max(), color=KIND_COLOURS[str(kind)], linewidth=2
                )
        bounds(ax, part["floor"].mean(), part["ceiling"].mean(), across="y")
        ax.set_title(fill(name, 26), fontsize="small")
        ax.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    for ax in list(axes.flat)[max(0, len(metrics) - n_columns) : len(metrics)]:
        ax.set_xlabel("activations moved to\na random token", fontsize="small")
    kinds = [Line2D([], [], color=colour, linewidth=2, label=kind) for kind, colour in KIND_COLOURS.items()]
    figure.legend(handles=kinds, loc="outside upper center", ncols=len(kinds))
    return figure


def context_html(context: Context, *, strongest: float, numbers: bool = True) -> str:
    """One context as HTML: tokens marked by how strongly the latent fires, the strongest underlined.

    `strongest` is the activation that gets the deepest colour; with `numbers`, pointing at a mark shows its
    activation. Everything from the text is escaped; marks are transparent, so that the page's own text colour
    stays readable in light and dark mode.
    """
    out = []
    for position, (piece, value) in enumerate(zip(context.pieces, context.activations, strict=True)):
        shown = escape(piece.replace("\n", "↵"))
        if value <= 0:
            out.append(shown)
            continue
        depth = 0.08 + (_STRONGEST - 0.08) * min(1.0, value / strongest)
        line = "border-bottom:2px solid;" if position == context.peak else ""
        told = f' title="{value:.2f}"' if numbers else ""
        out.append(
            f'<mark style="background:rgba(230,159,0,{depth:.2f});color:inherit;{line}"{told}>{shown}</mark>'
        )
    return "".join(out)


def examples_html(rows: Iterable[tuple[str, str, Sequence[Context]]], *, caption: str) -> str:
    """A table of latents: arm, what is known of the latent, and its contexts one below the other."""
    body = []
    for arm, about, contexts in rows:
        strongest = max((context.strength for context in contexts), default=1.0)
        each = '<div class="sanity-context" style="margin-bottom:.35rem">{}</div>'
        shown = "".join(each.format(context_html(one, strongest=strongest)) for one in contexts)
        body.append(
            f'<tr><td style="min-width:6rem">{escape(arm)}</td>'
            f'<td style="min-width:11rem">{escape(about)}</td><td>{shown}</td></tr>'
        )
    head = "<thead><tr><th>arm</th><th>latent</th><th>its strongest contexts</th></tr></thead>"
    return (
        f'<div class="sanity-scroll"><table class="sanity-table">'
        f"<caption><span>{escape(caption)}</span></caption>{head}"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
