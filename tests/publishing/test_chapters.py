"""Chapters: their order, when they are run again, and what a failure says."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from torture.damaging import DAMAGES

from sanity.engine.files import sha256_of, write_atomically, write_sealed
from sanity.errors import BadInputError, SanityError
from sanity.publishing import chapters as chapters_module
from sanity.publishing.chapters import (
    read_chapters,
    run_chapters,
    run_order,
)
from sanity.publishing.stamps import notebook_path, results_folder, stamp_path, tables_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the chapters that are run, by a stand-in that only writes a file."""
    names: list[str] = []

    def pretend(name: str, source: Path, notebook: Path, noted: Path, *, profile: str) -> float:
        write_atomically(notebook, source.read_bytes())
        table = results_folder(notebook.parents[3], profile) / f"{name}_arms.parquet"
        write_atomically(table, b"rows")
        write_sealed(noted, {table.name: sha256_of(table)})
        names.append(name)
        return 1.5

    monkeypatch.setattr(chapters_module, "execute", pretend)
    return names


def run(root: Path, profile: str = "smoke", keys: tuple[str, ...] = ("k1",)) -> list[bool]:
    return [e.reused for e in run_chapters(read_chapters(root), profile=profile, root=root, result_keys=keys)]


def test_pages_are_read_in_the_order_of_the_table_of_contents(tiny_book: Path) -> None:
    chapters = read_chapters(tiny_book)
    assert [(c.name, c.runs, c.front) for c in chapters] == [
        ("intro", True, True),
        ("toy", True, False),
        ("references", False, False),
    ]
    assert [c.name for c in run_order(chapters)] == ["toy", "intro"]


def test_nested_sections_are_read(tiny_book: Path) -> None:
    (tiny_book / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n"
        "  - file: book/toy.ipynb\n    sections:\n      - file: book/references\n"
    )
    assert [c.name for c in read_chapters(tiny_book)] == ["intro", "toy", "references"]


def test_a_missing_page_or_book_is_named(tiny_book: Path) -> None:
    (tiny_book / "book" / "toy.ipynb").unlink()
    with pytest.raises(BadInputError, match=r"book/toy.*neither"):
        read_chapters(tiny_book)
    with pytest.raises(BadInputError, match=r"no _toc\.yml"):
        read_chapters(tiny_book / "book")


def test_unchanged_chapters_are_used_again(tiny_book: Path, runs: list[str]) -> None:
    assert run(tiny_book) == [False, False]
    assert run(tiny_book) == [True, True]
    assert runs == ["toy", "intro"]


def test_an_edited_chapter_and_the_front_page_are_run_again(tiny_book: Path, runs: list[str]) -> None:
    run(tiny_book)
    source = tiny_book / "book" / "toy.ipynb"
    source.write_text(source.read_text().replace("A toy chapter", "A changed chapter"))
    assert run(tiny_book) == [False, False]
    front = tiny_book / "book" / "intro.ipynb"
    front.write_text(front.read_text().replace("tiny", "small"))
    assert run(tiny_book) == [True, False]


def test_what_all_chapters_depend_on_runs_all_again(tiny_book: Path, runs: list[str]) -> None:
    run(tiny_book)
    assert run(tiny_book, keys=("k1", "k2")) == [False, False]
    assert run(tiny_book, keys=("k2", "k1")) == [True, True]
    (tiny_book / "book" / "claims.yml").write_text("claims: []")
    assert run(tiny_book, keys=("k1", "k2")) == [False, False]
    (tiny_book / "requirements.lock").write_text("torch==2.13.0")
    assert run(tiny_book, keys=("k1", "k2")) == [False, False]
    assert run(tiny_book, keys=("k1", "k2")) == [True, True]


def test_profiles_are_kept_apart(tiny_book: Path, runs: list[str]) -> None:
    assert run(tiny_book, "smoke") == [False, False]
    assert run(tiny_book, "quick") == [False, False]
    assert run(tiny_book, "smoke") == [True, True]


def test_what_a_file_of_ones_own_computes_lies_under_its_name_and_changes_with_it(
    tiny_book: Path, runs: list[str]
) -> None:
    own = tiny_book / "my.v2.yaml"
    assert notebook_path(tiny_book, str(own), "toy") == notebook_path(tiny_book, "my.v2", "toy")
    assert results_folder(tiny_book, str(own)) == tiny_book / "_build" / "results" / "my.v2"
    for text, reused in (("about: one", False), ("about: one", True), ("about: another", False)):
        own.write_text(text, encoding="utf-8")
        assert run(tiny_book, str(own)) == [reused, reused]


@pytest.mark.parametrize("how", sorted(DAMAGES))
@pytest.mark.parametrize("place", [notebook_path, stamp_path, tables_path, None])
def test_a_chapter_whose_files_were_damaged_is_run_again(
    tiny_book: Path, runs: list[str], place: Callable[[Path, str, str], Path] | None, how: str
) -> None:
    run(tiny_book)
    table = results_folder(tiny_book, "smoke") / "toy_arms.parquet"
    path = place(tiny_book, "smoke", "toy") if place else table
    before = path.read_bytes()
    DAMAGES[how](path, random.Random(0))
    assert run(tiny_book) == [False, True]
    assert place is stamp_path or path.read_bytes() == before
    assert run(tiny_book) == [True, True]


def test_a_chapter_needs_its_parameters_cell(tiny_book: Path) -> None:
    source = tiny_book / "book" / "toy.ipynb"
    source.write_text(source.read_text().replace('"parameters"', '"others"'))
    with pytest.raises(BadInputError, match="exactly one cell tagged 'parameters'"):
        run(tiny_book)


def test_a_failing_chapter_is_one_error_and_keeps_what_was_run(tiny_book: Path) -> None:
    source = tiny_book / "book" / "toy.ipynb"
    notebook = json.loads(source.read_text())
    notebook["cells"][3]["source"] = "print('so', 'far')"
    notebook["cells"][4]["source"] = "# what goes wrong\nwidth = {}['d_sae']"
    source.write_text(json.dumps(notebook))
    with pytest.raises(SanityError, match="chapter toy failed in its cell 6") as caught:
        run(tiny_book)
    said = str(caught.value)
    assert "width = {}['d_sae']" in said
    assert "KeyError: 'd_sae'" in said
    partial = tiny_book / "_build" / "executed" / "smoke" / "toy.failed.ipynb"
    assert str(partial) in said
    assert "so far" in partial.read_text()
    assert not notebook_path(tiny_book, "smoke", "toy").exists()


def _with_three(root: Path) -> Path:
    toc = root / "_toc.yml"
    toc.write_text("format: jb-book\nroot: book/intro\nchapters:\n" + "".join(
        f"  - file: book/{name}\n" for name in ("toy", "second", "third")
    ))  # fmt: skip
    for name in ("second", "third"):
        (root / "book" / f"{name}.ipynb").write_text((root / "book" / "toy.ipynb").read_text())
    return root


def test_chapters_run_side_by_side_and_the_front_page_after_all(
    tiny_book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters_module, "cores", lambda: 2)
    both, ended = threading.Barrier(2, timeout=20), list[str]()

    def pretend(name: str, source: Path, notebook: Path, *_: object, **__: object) -> float:
        if name in ("toy", "second"):
            both.wait()  # passes only when the two are under way at the same time
        notebook.parent.mkdir(parents=True, exist_ok=True)
        notebook.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        ended.append(name)
        return 1.0

    monkeypatch.setattr(chapters_module, "execute", pretend)
    done = run_chapters(read_chapters(_with_three(tiny_book)), profile="smoke", root=tiny_book)
    assert [e.chapter.name for e in done] == ["toy", "second", "third", "intro"]
    assert ended[-1] == "intro"
    assert len(ended) == 4


def test_after_a_failure_no_chapter_is_begun(tiny_book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chapters_module, "cores", lambda: 1)
    begun = list[str]()

    def pretend(name: str, *_: object, **__: object) -> float:
        begun.append(name)
        raise SanityError(f"{name} failed")

    monkeypatch.setattr(chapters_module, "execute", pretend)
    with pytest.raises(SanityError, match="toy failed"):
        run_chapters(read_chapters(_with_three(tiny_book)), profile="smoke", root=tiny_book)
    assert begun == ["toy"]
