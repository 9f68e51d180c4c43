"""What is made of the builder's pages: parsed fragments in, what a reader gets out."""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag

from sanity.figures.style import COLUMN, SMALLEST, make_legible, marks_outside, with_data
from sanity.publishing.display import as_columns, figure_html, table_html
from sanity.publishing.finishing import mend_tables
from sanity.publishing.finishing.access import mend_references
from sanity.publishing.finishing.images import keep_images_apart
from sanity.publishing.finishing.scripts import keep_scripts_that_are_used
from sanity.publishing.finishing.searching import text_of


def soup_of(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def mended(table: pd.DataFrame, **how: bool) -> Tag:
    soup = soup_of(f"<article><h2>Arms</h2>{table_html(table, caption='What & why', **how)}</article>")
    mend_tables(soup)
    found = soup.find("table")
    assert isinstance(found, Tag)
    return found


def test_a_named_index_heads_its_column_in_one_row_of_headers() -> None:
    table = mended(pd.DataFrame({"EV": [0.5, 0.7], "": ["a", "b"]}, index=pd.Index(["x", "y"], name="arm")))
    (row,) = table.select("thead tr")
    assert [(cell.name, cell.get_text(), cell.get("scope")) for cell in row.find_all(["th", "td"])] == [
        ("th", "arm", "col"),
        ("th", "EV", "col"),
        ("td", "", None),
    ]
    assert [cell["scope"] for cell in table.select("tbody th")] == ["row", "row"]
    assert [cell.get_text() for cell in table.select("tbody td")] == ["0.500", "a", "0.700", "b"]


def test_an_index_of_names_is_shown_where_nobody_named_it() -> None:
    table = mended(pd.DataFrame({"lead": [0.5, 0.7]}, index=["frozen decoder", "untrained"]))
    assert [cell.get_text() for cell in table.select("tbody th")] == ["frozen decoder", "untrained"]


def test_two_levels_of_columns_keep_both() -> None:
    columns = pd.MultiIndex.from_product([["EV", "recovered"], ["light", "heavy"]])
    table = mended(pd.DataFrame([[1, 2, 3, 4]], columns=columns))
    assert [h["scope"] for h in table.select("thead th")] == ["colgroup"] * 2 + ["col"] * 4


def test_every_table_scrolls_in_a_frame_of_its_own_name() -> None:
    soup = soup_of("<h2>Arms</h2><table><tr><td>1</td></tr></table><table><tr><td>2</td></tr></table>")
    mend_tables(soup)
    frames = soup.select("[role=region][tabindex='0']")
    assert [frame["aria-label"] for frame in frames] == ["Table: Arms", "Table: Arms (2)"]
    assert mended(pd.DataFrame({"a": [1]})).parent["aria-label"] == "Table: What & why"  # type: ignore[index]


@pytest.mark.parametrize(
    ("cell", "cards"), [("a sentence that is long enough to be read as one", True), ("1", False)]
)
def test_tables_of_sentences_become_cards(cell: str, cards: bool) -> None:
    table = mended(pd.DataFrame({"claim": [cell], "paper": [1], "ours": [2]}))
    assert ("sanity-stacked" in table["class"]) is cards
    labels = [one.get("data-label") for one in table.select("tbody td")]
    assert labels == (["claim", "paper", "ours"] if cards else [None] * 3)


def test_listings_are_folded() -> None:
    assert mended(pd.DataFrame({"a": range(41)})).find_parent("details") is not None
    assert mended(pd.DataFrame({"a": range(40)})).find_parent("details") is None


def test_identifiers_in_references_are_links() -> None:
    soup = soup_of(
        '<div role="list"><div role="doc-biblioentry"><p>arXiv preprint arXiv:2602.14111, 2026. '
        "doi:10.1145/3442188.3445922. <em>x</em></p></div></div>"
    )
    mend_references(soup)
    assert [link["href"] for link in soup.find_all("a")] == [
        "https://arxiv.org/abs/2602.14111",
        "https://doi.org/10.1145/3442188.3445922",
    ]
    assert soup.get_text() == "arXiv preprint arXiv:2602.14111, 2026. doi:10.1145/3442188.3445922. x"
    assert soup.find(role="listitem") is not None


@pytest.mark.parametrize(("body", "kept"), [("<p>plain</p>", False), ('<span class="math">x</span>', True)])
def test_scripts_stand_once_and_where_they_are_used(body: str, kept: bool) -> None:
    twice = (
        '<script>const THEBE_JS_URL = "x"</script><script src="_static/mathjax/tex-chtml.js"></script>' * 2
    )
    soup = soup_of(f"<html><head>{twice}</head><body>{body}</body></html>")
    keep_scripts_that_are_used(soup, "")
    assert [s["src"] for s in soup.find_all("script")] == ["_static/mathjax/tex-chtml.js"] * kept


def test_figures_are_files_that_keep_their_size_and_can_be_enlarged(tmp_path: Path) -> None:
    figure = plt.figure(figsize=(4, 2))
    soup = soup_of(figure_html(figure, alt="nothing", caption="nothing"))
    content = base64.b64decode(str(soup.img["src"]).partition(",")[2])  # type: ignore[index]
    keep_images_apart(soup, tmp_path, "../")
    image = soup.img
    assert image is not None
    assert (image["width"], image["height"], image["loading"]) == ("384", "192", "lazy")
    assert (tmp_path / str(image["src"]).removeprefix("../")).read_bytes() == content
    assert soup.find("a", class_="sanity-enlarge")["href"] == image["src"]  # type: ignore[index]


@pytest.mark.parametrize("inches", [4.0, 8.0, 16.0])
def test_no_text_is_smaller_than_it_may_be(inches: float) -> None:
    figure, ax = plt.subplots(figsize=(inches, 3))
    ax.plot([1, 2], [3, 4], label="line")
    ax.tick_params(labelsize=4)
    ax.set_title("tiny", fontsize=3)
    ax.legend(fontsize=2)
    smallest = make_legible(figure)
    figure.canvas.draw()
    shrunk = min(1.0, COLUMN / (96 * inches))
    shown = [ax.title, *ax.get_xticklabels(), *ax.get_yticklabels(), *ax.get_legend().get_texts()]
    assert min(text.get_fontsize() for text in shown) * 96 / 72 * shrunk >= SMALLEST - 1e-6
    assert smallest * shrunk == pytest.approx(SMALLEST)
    plt.close(figure)


def test_marks_outside_of_their_panel_are_counted() -> None:
    figure, ax = plt.subplots()
    ax.scatter([0.5, -3.0, np.nan], [0.5, 0.5, 0.5])
    ax.plot([0.5, 2.0], [0.5, 0.5], "o")
    ax.plot([0.0, 5.0], [0.5, 0.5], "-")  # a line may leave
    ax.axvline(7)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    assert marks_outside(figure) == 2
    plt.close(figure)


def test_a_figure_remembers_its_table() -> None:
    table = pd.DataFrame({"a": [1]})
    figure = with_data(lambda table, *, title: plt.figure())(table, title="t")
    assert figure.drawn_from[1] is table  # type: ignore[attr-defined]
    plt.close(figure)


def test_a_table_for_files_has_its_index_as_columns_and_one_type_each(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["arm", "seed"])
    plain = as_columns(pd.DataFrame({("EV", "mean"): [0.5, 0.6], ("x", ""): [1, "two"]}, index=index))
    plain.to_parquet(tmp_path / "t.parquet")
    assert list(plain.columns) == ["arm", "seed", "EV mean", "x"]
    filtered = pd.DataFrame({"a": [1, 2, 3]}).loc[[0, 2]]
    assert list(as_columns(filtered).columns) == ["a"]


def test_the_search_reads_sections_and_no_code() -> None:
    article = soup_of(
        '<article><section id="a"><h1>One<a class="headerlink">#</a></h1><p>x &lt; y</p>'
        '<div class="cell_input">import os</div><script>1</script></section></article>'
    ).article
    assert article is not None
    text = text_of(article)
    assert BeautifulSoup(text, "html.parser").select_one('[role="main"] #a').get_text().split() == [  # type: ignore[union-attr]
        "One", "x", "<", "y",
    ]  # fmt: skip
