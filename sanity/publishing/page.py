"""What a chapter holds on to while it runs: its profile, its results, its tables, its provenance."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.engine.files import write_atomically, write_sealed
from sanity.errors import BadInputError
from sanity.publishing.answers import PageAnswer, glue_numbers
from sanity.publishing.display import Html, as_columns, figure_html, table_html
from sanity.publishing.log import log_to_stderr
from sanity.publishing.provenance import provenance, provenance_html, with_inputs
from sanity.publishing.stamps import results_folder, tables_path

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sanity.engine.cells import Cell, Result
    from sanity.experiments.reading import Reader
    from sanity.profiles import Profile

log = logging.getLogger("sanity")


class ChapterPage:
    """An opened chapter. `profile` is what it runs at; `root` is the project's folder."""

    def __init__(self, name: str, profile: Profile, root: Path) -> None:
        self.name = name
        self.profile = profile
        self.root = root
        self._began = time.perf_counter()
        self._results: list[Result] = []
        self._read: Reader | None = None
        self._tables: dict[str, str] = {}
        self._answer = PageAnswer()
        self._numbers: dict[str, float] = {}
        self._verdicts: dict[str, dict[str, Any]] | None = None

    def banner(self) -> Html:
        """Below the title: a place for the short answer, and at which profile this page was run."""
        self._answer.open()
        left_out = "".join(f"<li>{escape(item)}</li>" for item in self.profile.left_out)
        more = f"<details><summary>What this leaves out</summary><ul>{left_out}</ul></details>"
        return Html(
            '<div class="sanity-profile"><p>Run at the profile '
            f"<strong>{escape(self.profile.name)}</strong>: {escape(self.profile.about)}</p>"
            f"{more if left_out else ''}</div>"
        )

    def answer(self, found: str, *, sure: str, scale: str) -> Html | None:
        """What the page finds, in Markdown, shown on top of it, where `banner` kept a place.

        Parameters
        ----------
        found
            The finding, in one or two sentences with its numbers.
        sure
            How sure that is: seeds, intervals, verdicts, gates.
        scale
            At what scale it was found: model, tokens, latents.
        """
        shown = self._answer.fill(found, sure=sure, scale=scale)
        return None if self._answer.kept else shown

    def verdict(self, claim: str) -> str:
        """The verdict on a claim of the ledger, with its interval, margin and share, in Markdown."""
        from sanity.claims import verdict_words
        from sanity.experiments.verdicts import verdict_tables

        if self._verdicts is None:
            self._verdicts = {row["id"]: row for row in verdict_tables(self.profile).results}
        if claim not in self._verdicts:
            raise BadInputError(f"the ledger has no claim {claim!r}; it has: {', '.join(self._verdicts)}")
        return verdict_words(self._verdicts[claim])

    def number(self, name: str, value: float) -> float:
        """`value`, kept under a name: pages that give one name different values are not built.

        Equal means in six digits: sums in another order differ in the last ones.
        """
        kept = float(f"{value:.6g}")
        if self._numbers.setdefault(name, kept) != kept:
            raise BadInputError(f"this page gives {name!r} two values: {self._numbers[name]} and {kept}")
        return value

    @property
    def read(self) -> Reader:
        """Scores, curves and tables by the names of the profile; see `sanity.experiments.reading`."""
        from sanity.experiments.reading import Reader

        if self._read is None:
            self._read = Reader(self.profile)
        return self._read

    def gates(self, *metrics: str) -> Html:
        """The validity gates of some metrics, as a table: whether verdicts may rest on them, and why."""
        from sanity.evals.metric import METRICS
        from sanity.experiments.verdicts import verdict_cells
        from sanity.figures import place_name

        (found,) = self.read.results([verdict_cells(self.read.plan).gates])
        gates = found.table("gates")
        rows = gates[gates["metric"].isin(metrics)]
        names = {"place": "world or hook", "state": "validity gate", "reason": "why"}
        shown = rows[["metric", *names]].rename(columns=names)
        shown["metric"] = shown["metric"].map(lambda name: METRICS[name].label)
        shown["world or hook"] = shown["world or hook"].map(place_name)
        return self.table(shown.set_index("metric"), caption="Validity gates of this page's metrics.")

    def results(self, cells: Sequence[Cell]) -> list[Result]:
        """The results of `cells`, computed if missing, and remembered for the provenance block."""
        from sanity.engine.computing import results
        from sanity.experiments.readiness import make_ready

        make_ready(cells)
        found = results(cells)
        self._results.extend(found)
        return found

    def keep(self, results: Iterable[Result]) -> None:
        """Remember results that came by another way, for the provenance block."""
        self._results.extend(results)

    def figure(
        self,
        figure: Figure,
        *,
        alt: str,
        caption: str,
        finding: str = "",
        data: tuple[pd.DataFrame, str] | None = None,
    ) -> Html:
        """A figure with its alternative text, its caption, and data to download; `finding` is its title.

        Without `data`, a figure of `sanity.figures` is published with the table that it was drawn from; any
        other is refused.
        """
        if data is None:
            if not hasattr(figure, "drawn_from"):
                raise BadInputError(f"a figure needs its numbers: give data=(table, name) ({alt})")
            name, table = figure.drawn_from
            data = (as_columns(table), self._own_name(name))
        link = self.publish(*data).html
        title = f'<p class="sanity-finding">{escape(finding)}</p>' if finding else ""
        return Html(title + figure_html(figure, alt=alt, caption=caption, data=link))

    def slider(self, table: pd.DataFrame, **how: Any) -> Html:
        """A slider over computed results; see `sanity.publishing.widgets.slider_html`."""
        from sanity.publishing.widgets import slider_html

        return Html(slider_html(table, **how))

    def quiz(
        self,
        examples: pd.DataFrame,
        latents: pd.DataFrame,
        *,
        others: Sequence[str],
        caption: str,
        judge: str,
        each: int = 6,
        seed: int = 0,
    ) -> Html:
        """*Which latent is trained?* See `sanity.publishing.quiz.questions_of`; empty without examples."""
        from sanity.publishing.quiz import points_on_all, questions_of
        from sanity.publishing.widgets import quiz_html

        questions = questions_of(examples, latents, others=others, each=each, seed=seed)
        everything = points_on_all(latents, others)
        return Html(
            quiz_html(questions, caption=caption, judge=judge, all_pairs=everything) if questions else ""
        )

    def _own_name(self, figure: str) -> str:
        """A name for a figure's data, on this page alone; the second of its kind ends in _2."""
        name = f"{self.name.replace('/', '_')}_{figure}"
        same = sum(kept.startswith((f"{name}.", f"{name}_")) for kept in self._tables) // 2
        return f"{name}_{same + 1}" if same else name

    def table(self, table: pd.DataFrame, *, caption: str, folded: bool = False, digits: int = 3) -> Html:
        """A table with its caption; `folded` shows the caption alone until it is opened."""
        return Html(table_html(table, caption=caption, folded=folded, digits=digits))

    def parameters(self, rows: Sequence[tuple[object, ...]]) -> Html:
        """What the paper says and what this page does: rows of setting, paper, here, why."""
        import pandas as pd

        table = pd.DataFrame([[str(one) for one in row] for row in rows])
        table.columns = ["setting", "paper", "here", "why"]
        return self.table(table.set_index("setting"), caption="The paper's settings, and those of this page.")

    def publish(self, table: pd.DataFrame, name: str) -> Html:
        """Keep `table` as `_build/results/PROFILE/NAME.parquet` and `.csv`, and give links to both."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise BadInputError(f"a table is published under a name such as 'recovery_curves', not {name!r}")
        parquet = io.BytesIO()
        table.to_parquet(parquet, index=False)
        written = {".parquet": parquet.getvalue(), ".csv": table.to_csv(index=False).encode()}
        for suffix, content in written.items():
            write_atomically(results_folder(self.root, self.profile.name) / f"{name}{suffix}", content)
            self._tables[f"{name}{suffix}"] = hashlib.sha256(content).hexdigest()
        write_sealed(tables_path(self.root, self.profile.name, self.name), self._tables)
        size = f"{table.shape[0]:,} rows, {table.shape[1]} columns"
        links = (f'<a href="data/{name}{suffix}" download>{name}{suffix}</a>' for suffix in written)
        return Html(f'<p class="sanity-data">Data: {", ".join(links)} ({size})</p>')

    def provenance(
        self,
        results: Iterable[Result] = (),
        *,
        seeds: Iterable[int] = (),
        hashes: Mapping[str, str] | None = None,
    ) -> Html:
        """The block at the end of the page; `results` adds to those that came by `self.results`."""
        glue_numbers(self._numbers)
        return Html(provenance_html(self.facts(results, seeds=seeds, hashes=hashes)))

    def facts(
        self,
        results: Iterable[Result] = (),
        *,
        seeds: Iterable[int] = (),
        hashes: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """What `provenance` shows, as plain data."""
        from sanity.engine.store import open_store

        read = self._read.found if self._read is not None else []
        everything = with_inputs([*self._results, *read, *results], open_store().get)
        return provenance(
            profile=self.profile.name,
            results=everything,
            seeds=seeds,
            hashes=hashes,
            seconds=time.perf_counter() - self._began,
        )


def open_chapter(name: str, profile: str) -> ChapterPage:
    """Begin the chapter `name` at the profile called `profile`; an unknown profile is refused."""
    import pandas as pd

    from sanity.engine.store import home, open_store
    from sanity.profiles import load

    page = ChapterPage(name, load(profile), home())
    log_to_stderr()
    log.info("chapter %s at the profile %s: results lie in %s", name, page.profile.name, open_store().root)
    # A page shows its tables whole: pandas would cut a text at fifty characters.
    pd.set_option("display.max_colwidth", None)
    return page
