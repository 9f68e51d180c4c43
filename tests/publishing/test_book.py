"""A whole tiny book, from notebooks to pages, built with warnings as errors."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from browser.chrome import browser, why_not
from browser.measure import WIDE, axe_source, broken_rules, measure_page, search_hits
from hostile import HOSTILE
from torture.damaging import DAMAGES

import sanity.experiments
from sanity.engine.cells import Task, computes
from sanity.engine.store import open_store
from sanity.errors import CorruptFileError, SanityError
from sanity.publishing import build_book, reproduce_book
from sanity.publishing.chapters import read_chapters
from sanity.publishing.remote import Remote
from sanity.publishing.site import build_site

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """Every address a page refers to: what it loads, and where it leads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if address := named.get("src") or (named.get("href") if tag == "link" else None):
            self.loads.append(address)
        elif tag == "a" and (address := named.get("href")):
            self.leads.append(address)


@computes("test_book.forty_two", version=1)
def forty_two(task: Task) -> None:
    task.save_json("answer", {"value": 42})


@pytest.fixture(scope="module")
def book(make_tiny_book: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny book, reproduced from nothing with one result to compute."""
    root = make_tiny_book(tmp_path_factory.mktemp("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANITY_HOME", str(root))
        patch.setenv("SANITY_STORE", str(root / "store"))
        patch.setattr(sanity.experiments, "plan", lambda _profile: [forty_two.cell({}, label="answer")])
        done = reproduce_book("smoke")
        assert done.front_page == root / "_build" / "html" / "index.html"
        assert set(done.seconds) == {"results", "chapters", "pages"}
        assert len(open_store().list()) == 1
        yield root


@pytest.fixture(scope="module")
def pages(book: Path) -> Mapping[str, str]:
    return {page.stem: page.read_text() for page in (book / "_build" / "html").glob("*.html")}


def test_the_front_page_is_the_first_chapter_itself(pages: Mapping[str, str]) -> None:
    assert "<h1>The tiny book" in pages["index"]
    assert "http-equiv" not in pages["index"]


def test_numbers_cross_pages(pages: Mapping[str, str]) -> None:
    assert re.search(r"The trained arm reaches\s*<span[^>]*>0\.852</span>", pages["index"])


def test_every_page_says_what_made_it(pages: Mapping[str, str]) -> None:
    for name in ("index", "toy"):
        page = pages[name]
        assert "<strong>smoke</strong>" in page
        block = page[page.index('<details class="sanity-provenance">') :]
        for fact in ("Commit", "Seeds", "0, 7", "toy model", "abc123", "Hardware", "Duration", "torch"):
            assert fact in block, f"{name} does not show {fact}"


def test_set_up_cells_and_progress_are_not_shown(pages: Mapping[str, str]) -> None:
    assert "google.colab" not in pages["toy"]
    assert "Parameters" not in pages["toy"]
    assert "said on stderr" not in pages["toy"]
    assert "plt" in pages["toy"], "the chapter's own code is shown"


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser")
def test_a_browser_finds_no_fault_in_any_page(book: Path, pages: Mapping[str, str]) -> None:
    html, axe = book / "_build" / "html", axe_source()
    with browser() as tab:
        for name in pages:
            row = measure_page(tab, html / f"{name}.html")
            faults = (
                "console",
                "outside",
                "no frame",
                "no scope",
                "no link",
                "clipped",
                "overflow",
                "raw names",
            )
            assert {fault: row[fault] for fault in faults} == dict.fromkeys(faults, 0), name
            assert row["smallest text"] is None or min(row["smallest text"], row["phone text"]) > 9
            for mode in ("light", "dark") if axe else ():
                tab.screen(*WIDE, dark=mode == "dark")
                tab.open((html / f"{name}.html").as_uri())
                assert tab.ask("document.documentElement.dataset.theme") == mode
                assert broken_rules(tab, axe or "") == [], (name, mode)
        found, with_excerpt = search_hits(tab, html, "toy")
        assert found == with_excerpt > 0
    if not axe:
        pytest.skip("the rules of axe are not installed (axe-core-python); all else was looked at")


def test_data_can_be_downloaded(book: Path, pages: Mapping[str, str]) -> None:
    table = book / "_build" / "results" / "smoke" / "toy_arms.parquet"
    assert list(pd.read_parquet(table)["arm"]) == ["trained", "frozen decoder"]
    link = next(address for address in Links(pages["toy"]).leads if address.endswith(".parquet"))
    assert (book / "_build" / "html" / link).read_bytes() == table.read_bytes()


def test_pages_load_nothing_from_the_network(book: Path, pages: Mapping[str, str]) -> None:
    html = book / "_build" / "html"
    for name, page in pages.items():
        for address in Links(page).loads:
            assert not re.match(r"(https?:)?//", address), f"{name} loads {address}"
    mathjax = next(a for a in Links(pages["toy"]).loads if "mathjax" in a)
    assert (html / mathjax.split("?")[0]).exists()


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


def dom_of(page: Path, profile: Path) -> str:
    """What a real browser makes of a page, once its scripts have run."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom")
    done = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed, which reads the pages")
def test_no_name_and_no_text_from_elsewhere_is_obeyed(book: Path, tmp_path: Path) -> None:
    control = tmp_path / "control.html"
    control.write_text("<html><script>document.documentElement.dataset.control=1</script></html>")
    assert "data-control" in dom_of(control, tmp_path / "profile")
    dom = dom_of(book / "_build" / "html" / "toy.html", tmp_path / "profile")
    head = re.search("<html[^>]*>", dom)
    assert head is not None
    for kind in HOSTILE:
        assert f"&lt;script&gt;document.documentElement.dataset.{kind}=1" in dom, f"{kind} is not shown"
        assert f"data-{kind}" not in head[0], f"{kind} was obeyed"
    assert not re.search(r"<a[^>]*javascript:", dom)


def test_chapters_show_text_through_one_place(repository: Path) -> None:
    for chapter in (repository / "book").glob("*.py"):
        shown = re.findall(r"from IPython\.display import (.*)", chapter.read_text(encoding="utf-8"))
        assert not {"Markdown", "HTML", "Javascript"} & set(re.split(r"\W+", " ".join(shown))), chapter.name


def test_local_links_lead_somewhere(book: Path, pages: Mapping[str, str]) -> None:
    for name, page in pages.items():
        for address in Links(page).leads:
            target = address.partition("#")[0]
            if target and "://" not in target:
                assert (book / "_build" / "html" / target).exists(), f"{name}: {address}"


def test_without_a_remote_a_notebook_is_downloaded_and_nothing_launched(
    book: Path, pages: Mapping[str, str]
) -> None:
    saved = json.loads((book / "_build" / "html" / "notebooks" / "toy.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in saved["cells"])
    assert "notebooks/toy.ipynb" in Links(pages["toy"]).leads
    for page in pages.values():
        assert "colab.research" not in page
        assert "mybinder" not in page
        assert "executablebooks" not in page


def test_staged_notebooks_do_not_tell_where_they_were_run(book: Path) -> None:
    for staged in (book / "_build" / "site").glob("*.ipynb"):
        notebook = json.loads(staged.read_text())
        assert "papermill" not in notebook["metadata"]
        assert str(book) not in json.dumps([cell["metadata"] for cell in notebook["cells"]])


def test_a_second_run_does_nothing_again(book: Path) -> None:
    front = book / "_build" / "html" / "index.html"
    before = front.stat().st_mtime_ns
    again = reproduce_book("smoke")
    assert again.front_page == front
    assert front.stat().st_mtime_ns == before
    assert sum(again.seconds.values()) < 5
    assert build_book("smoke").front_page == front


@pytest.mark.parametrize("name", ["toy.html", "data/toy_arms.parquet", ".built.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "lose"])
def test_pages_and_downloads_that_were_damaged_are_built_again(
    book: Path, tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = book / "_build" / "html"
    saved = Path(shutil.copytree(html, tmp_path / "saved"))
    monkeypatch.setattr(
        "sanity.publishing.site._run_builder",
        lambda root: Path(shutil.copytree(saved, root / "_build" / "pages" / "html")),
    )
    DAMAGES[how](html / name, random.Random(0))
    build_book("smoke")
    if name != ".built.json":
        assert (html / name).read_bytes() == (saved / name).read_bytes()
    before = (html / ".built.json").stat().st_mtime_ns
    build_book("smoke")
    assert (html / ".built.json").stat().st_mtime_ns == before


def test_a_table_that_was_damaged_is_never_copied_into_the_pages(book: Path) -> None:
    table = book / "_build" / "results" / "smoke" / "toy_arms.parquet"
    content = table.read_bytes()
    for how in ("flip", "cut", "empty", "lose"):
        DAMAGES[how](table, random.Random(0))
        with pytest.raises(CorruptFileError, match=r"toy_arms\.parquet.*sanity reproduce"):
            build_book("smoke")
        table.write_bytes(content)


def test_a_remote_brings_buttons_and_fills_the_colab_cell(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sanity.publishing.site.find_remote", lambda _root: Remote("github.com", "owner/name")
    )
    monkeypatch.setattr("sanity.publishing.site.published_ref", lambda _root: "f00d")
    site = build_book("smoke")
    leads = Links(site.front_page.read_text()).leads
    assert "https://colab.research.google.com/github/owner/name/blob/f00d/book/intro.ipynb" in leads
    assert "https://mybinder.org/v2/gh/owner/name/f00d?urlpath=lab/tree/book/intro.ipynb" in leads
    saved = (site.front_page.parent / "notebooks" / "toy.ipynb").read_text(encoding="utf-8")
    assert r"REPOSITORY, REF = \"https://github.com/owner/name\", \"f00d\"" in saved
    staged = (book / "_build" / "site" / "intro.ipynb").read_text()
    assert r"REPOSITORY, REF = \"https://github.com/owner/name\", \"f00d\"" in staged


def test_a_warning_stops_the_build_and_leaves_the_old_pages(book: Path) -> None:
    front = book / "_build" / "html" / "index.html"
    before = front.read_bytes()
    references = book / "book" / "references.md"
    kept = references.read_text()
    references.write_text(f"{kept}\nSee [nowhere](there-is-no-such-page.md).\n")
    try:
        with pytest.raises(SanityError, match=r"the book was not built: .*references.*there-is-no-such-page"):
            build_book("smoke")
    finally:
        references.write_text(kept)
    assert front.read_bytes() == before


def test_a_chapter_that_hides_what_made_it_is_refused(book: Path) -> None:
    chapters = read_chapters(book)
    notebooks = {
        c.name: book / "_build" / "executed" / "smoke" / f"{c.name}.ipynb" for c in chapters if c.runs
    }
    silent = book / "silent.ipynb"
    silent.write_text(notebooks["toy"].read_text().replace("sanity-provenance", "other"))
    with pytest.raises(SanityError, match=r"chapter toy does not show page\.provenance\(\)"):
        build_site(chapters, {**notebooks, "toy": silent}, profile="smoke", root=book)
