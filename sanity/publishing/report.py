"""The pieces of a check's report: what its notebook shows, each escaped, from the tables that it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.publishing.display import Html, figure_html, table_html

if TYPE_CHECKING:
    import pandas as pd


_COLUMNS = {
    "null": "null", "null_mean": "its mean", "lead": "lead", "low": "from", "high": "to", "rank": "rank",
    "p_rank": "p (rank)", "verdict": "verdict", "qualifier": "which is",
    "smallest_margin": "equal from margin", "test": "test",
}  # fmt: skip
_VERDICTS = {"trained better": "the SAE is better", "baseline better": "the null is better"}
_NOTHING = "Nothing of it was measured."


class ReportPage:
    """What a report's notebook holds on to.

    `show` makes a figure part of the page, given its `alt` and `caption`: in a chapter, `page.figure` also
    publishes the numbers.
    """

    def __init__(self, folder: str | Path, *, show: Callable[..., Html] | None = None) -> None:
        from sanity.checking.report import Report  # loads torch, which other pages do without

        self.report = Report.load(folder)
        self._show = show or (lambda figure, **texts: Html(figure_html(figure, **texts)))
        self.facts: Mapping[str, Any] = self.report.facts

    @property
    def labels(self) -> dict[str, str]:
        """The metrics by which the check answers, with their names."""
        rows = self.report.headline
        return dict(zip(rows["metric"], rows["label"], strict=True))

    def answer(self) -> Html:
        """The first screen: what was asked, and the answer in plain words."""
        facts = self.facts
        several = len(facts["saes"]) > 1
        single = (
            f"{len(facts['saes'])} SAEs as seeds of one recipe"
            if several
            else "one SAE, which is one seed: this is said of it, and not of its recipe"
        )
        asked = (
            f"Does {facts['name']} beat random baselines at {facts['hook']} of {facts['model']}? "
            f"{facts['seeds']} seeds of {len(facts['baselines'])} nulls at its size and L0 "
            f"({facts['architecture']}, {facts['saes'][0]['d_sae']:,} latents), against {single}."
        )
        return Html(
            f'<div class="sanity-profile"><p>{escape(asked)}</p>'
            f"<p><strong>{escape(self.report.answer)}</strong></p></div>"
        )

    def placed(self) -> Html:
        """The one figure: the SAE between floor, nulls and ceiling, for each eval."""
        from sanity.figures import between_floor_and_ceiling, house_style

        if not self.labels:
            return Html(f"<p>{_NOTHING}</p>")
        house_style()
        shown = self.report.scores[self.report.scores["metric"].isin(list(self.labels))]
        figure = between_floor_and_ceiling(shown, given=self.facts["given"], labels=self.labels)
        return self._show(
            figure,
            alt=f"The given SAE and all seeds of its nulls, floor to ceiling. {self.report.answer}",
            caption="Black bar: the given SAE; one mark per seed of each null. Dotted: floor, dashed: "
            f"ceiling. {self.facts['held_out_tokens']:,} held-out tokens, "
            f"{self.facts['seeds']} seeds. Arrows: beyond the panel, at this share.",
        )

    def verdicts(self) -> Html:
        """A row per metric."""
        rows = self.report.summary.copy()
        rows["the best null"] = [f"{row.best_null}: {row.best_null_mean:.3f}" for row in rows.itertuples()]
        rows["nulls beaten"] = [f"{row.beaten} of {row.nulls}" for row in rows.itertuples()]
        names = {"label": "metric", "given": "given SAE", "answer": "answer", "matched_by": "matched by",
                 "why": "why not"}  # fmt: skip
        order = ["given", "the best null", "answer", "nulls beaten", "matched_by", "why"]
        shown = rows.set_index("label")[order].rename(columns=names)
        shown.index.name = "metric"
        return Html(
            table_html(
                shown,
                caption="Verdict per metric. A null matches the SAE where it is equivalent to it within a "
                "tenth of the metric's range, or better.",
            )
        )

    def comparisons(self) -> Html:
        """Every metric and null: lead, interval, rank, test; folded, a table each."""
        parts = []
        for label, part in self.report.comparisons.groupby("label", sort=False):
            there = {name: shown for name, shown in _COLUMNS.items() if part[name].notna().any()}
            part = part.replace({"verdict": _VERDICTS})
            table = part[list(there)].rename(columns=there).set_index("null")
            caption = f"{label}: given SAE {part['given'].iloc[0]:.4f}, margin {part['margin'].iloc[0]:.3g}"
            parts.append(table_html(table, caption=caption, folded=True, digits=4))
        return Html("".join(parts) or f"<p>{_NOTHING}</p>")

    def margins(self) -> Html:
        """Equivalence at every margin."""
        from sanity.checking.comparing import MARGIN
        from sanity.figures import margins_of_equivalence

        known = self.report.comparisons
        known = known[known["metric"].isin(list(self.labels))]
        if not known["smallest_margin"].notna().any():
            return Html("<p>With one seed of each null no margin can be named: take two or more.</p>")
        figure = margins_of_equivalence(known, labels=self.labels, margin=MARGIN)
        return self._show(
            figure,
            alt="From which margin on each null would be called equivalent to the given SAE.",
            caption="Bars: margins at which the null would be called equivalent to the SAE. No bar: "
            "at none up to half of the range.",
        )

    def latents(self) -> Html:
        """Alive latents, L0 and fit, of every arm."""
        rows = self.report.scores[self.report.scores["metric"].isin(["l0", "dead_latents"])]
        if rows.empty:
            return Html(f"<p>{_NOTHING}</p>")
        table = rows.pivot_table(index="arm", columns="metric", values="value", sort=False)
        if "dead_latents" in table:
            table["alive"] = 1 - table.pop("dead_latents")
        table = table.rename(columns={"l0": "L0", "alive": "share of latents alive"})
        return Html(
            table_html(
                table, caption=f"Means over seeds, on {self.facts['held_out_tokens']:,} held-out tokens."
            )
        )

    def examples(self, each: int = 2, contexts: int = 3) -> Html:
        """Latents drawn at random from the given SAE and from its nulls, side by side."""
        from sanity.evals.interpretability import Context
        from sanity.figures import examples_html

        rows = self.report.examples
        if rows.empty:
            return Html("<p>No contexts were collected: ask for the eval interpretability.</p>")
        shown = []
        for arm, of_arm in rows.groupby("arm", sort=False):
            for latent, of_latent in list(of_arm.groupby("latent", sort=False))[:each]:
                found = [
                    Context(
                        row["window"],
                        row["document"],
                        row["source"],
                        tuple(row["pieces"]),
                        tuple(row["activations"]),
                    )
                    for row in of_latent.head(contexts).to_dict("records")
                ]
                shown.append((str(arm), f"latent {latent}", found))
        return Html(
            examples_html(shown, caption="Strongest contexts of latents drawn at random, first seed.")
        )

    def gates(self) -> Html:
        """Whether the metrics see what they say they measure, on this hook and text."""
        from sanity.evals.metric import METRICS

        rows = self.report.gates
        labels = [METRICS[name].label if name in METRICS else name for name in rows["metric"]]
        table = rows.assign(label=labels)[["label", "state", "reason"]]
        table = table.rename(columns={"label": "metric", "state": "validity gate", "reason": "why"})
        return Html(
            table_html(
                table.set_index("metric"),
                caption="Validity gates: each metric reads its own reference, corrupted in steps. One that "
                "failed decides nothing.",
                folded=True,
            )
        )

    def given(self) -> Html:
        """What was given, and what was recognised in it."""
        rows = []
        for one in self.facts["saes"]:
            fit = one["fit"]
            rows.append(
                {
                    "SAE": one["name"],
                    "library": one["library"],
                    "latents": one["d_sae"],
                    "takes": f"activations in the scale {fit['scale']!r}",
                    "L0": fit["l0"],
                    "alive": fit["alive"],
                    "explained variance": fit["explained_variance"][fit["scale"]],
                    "untrained dictionary": fit["untrained"],
                    "recognised": "; ".join(one["notes"]) or "nothing out of the ordinary",
                    "weights": one["weights"],
                }
            )
        config = json.dumps(self.facts["config"], indent=1)
        folded = (
            f"<details><summary>Its configuration, as read</summary><pre>{escape(config)}</pre></details>"
        )
        return Html(
            table_html(_frame(rows).set_index("SAE").T.rename_axis(" "), caption="The given SAE.") + folded
        )

    def caveats(self) -> Html:
        """What could not be matched."""
        items = "".join(f"<li>{escape(item)}</li>" for item in self.facts["not_matched"])
        return Html(f"<ul>{items}</ul>")

    def provenance(self) -> Html:
        """How to make it again, and what made it."""
        made, facts = self.facts["provenance"], self.facts
        rows = {
            "Command": facts["command"],
            "Minutes": f"{facts['seconds'] / 60:.1f}"
            + (f", {facts['minutes_asked']:g} asked for" if facts["minutes_asked"] else ""),
            "Text": ", ".join(facts["text"]),
            "Commit": made["commit"],
            "Processor": f"{made['cpu']['model']}, {made['cpu']['cores']} cores",
            "Versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        }
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
            for name, value in rows.items()
        )
        return Html(f'<div class="sanity-provenance"><table><tbody>{body}</tbody></table></div>')


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)
