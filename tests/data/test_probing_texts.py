"""Labelled text: duplicates never cross a split, tasks are balanced, bad input is named."""

from __future__ import annotations

import gettext
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from given_rows import GivenRows
from hypothesis import given
from hypothesis import strategies as st

from sanity.data import probing
from sanity.data.catalogues import LANGUAGES, TRANSLATIONS, parallel_messages, read_catalogue
from sanity.data.documents import half_of, opening
from sanity.data.probing import GROUPS, POOLS, WIDER, ProbingPool, Row, Side, named_pools
from sanity.data.probing_texts import RUN, SMALLEST, LabelledTexts, ProbeTask, check_task, collect, make_tasks
from sanity.data.sources import read_table
from sanity.errors import BadInputError, CorruptFileError


class Words:
    """A tokenizer that numbers words."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {
            "input_ids": [[self.ids.setdefault(w, len(self.ids)) for w in text.split()] for text in texts]
        }


def text(kind: str, number: int, words: int = 20) -> str:
    return " ".join(f"{kind}{number}x{i}" for i in range(words))


def pool_of(keep: Side = "start", **kinds: list[str]) -> ProbingPool:
    kinds = kinds or {k: [text(k, i) for i in range(20)] for k in ("a", "b", "c")}
    return ProbingPool("mine", WIDER, tuple(GivenRows(k, tuple(texts)) for k, texts in kinds.items()), keep)


def test_texts_longer_than_the_window_are_cut_at_the_end_that_is_not_kept() -> None:
    tokenizer = Words()
    for keep, expected in (("start", 0), ("end", 15)):
        pool = pool_of(keep, a=[text("a", i) for i in range(5)], b=[text("b", i) for i in range(5)])  # type: ignore[arg-type]
        made = collect([pool], tokenizer, per_class=5, window=5)
        assert made.table["cut"].all()
        assert (made.table["tokens"] == 5).all()
        assert made.counts["cut"].sum() == 10
        words = {number: word for word, number in tokenizer.ids.items()}
        assert all(words[window[0]].endswith(f"x{expected}") for window in made.windows)
    whole = collect([pool], tokenizer, per_class=5, window=20)
    assert not whole.table["cut"].any()


def test_duplicates_are_removed_and_counted() -> None:
    same = [text("a", i) for i in range(8)]
    # One repeated, one under both labels, one that opens differently but shares a run of tokens.
    shifted = " ".join(["other", "opening", *same[0].split()[:RUN]])
    pool = pool_of(a=[*same, same[3]], b=[text("b", i) for i in range(8)] + [same[5], shifted])
    made = collect([pool], Words(), per_class=50, window=20)
    counts = made.counts.set_index("label")
    assert counts["contradicting"].tolist() == [1, 1]
    assert counts["repeated"].tolist() == [1, 0]
    # Whichever of the two that share a run comes second is left out.
    assert (counts["used"] + counts["overlapping"]).tolist() == [7, 9]
    assert counts["overlapping"].sum() == 1
    runs = [{tuple(w[i : i + RUN]) for i in range(len(w) - RUN + 1)} for w in made.windows]
    assert all(not (runs[i] & runs[j]) for i in range(len(runs)) for j in range(i))


@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(2, 5))
def test_tasks_are_balanced_and_their_parts_disjoint(seed: int, n: int, classes: int) -> None:
    pool = pool_of(**{f"k{c}": [text(f"k{c}", i, 3) for i in range(n)] for c in range(classes)})
    table = collect([pool], Words(), per_class=n, window=5).table
    tasks = make_tasks(table, seed=seed)
    assert len(tasks) == (1 if classes == 2 else classes)
    for task in tasks:
        rows = np.concatenate([part.rows for part in task.parts])
        assert len(set(rows.tolist())) == len(rows)
        for part in task.parts:
            assert part.labels.sum() * 2 == len(part.labels)
        assert abs(len(task.train.rows) - n) <= 2
        assert abs(len(task.test.rows) - 0.6 * n) <= 2
    again = make_tasks(table, seed=seed)
    assert all((a.test.rows == b.test.rows).all() for a, b in zip(tasks, again, strict=True))


def test_one_message_in_several_languages_stays_in_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = {f"m{i}": {lang: text(lang, i, 4) for lang in LANGUAGES} for i in range(30)}
    monkeypatch.setattr(probing, "parallel_messages", lambda: messages)
    table = collect([POOLS["language"]], Words(), per_class=30, window=8).table
    for task in make_tasks(table, seed=3):
        parts = [set(table["unit"].iloc[part.rows]) for part in task.parts]
        assert len(set.union(*parts)) == sum(map(len, parts))


def test_another_seed_divides_otherwise() -> None:
    table = collect([pool_of()], Words(), per_class=20, window=8).table
    a, b = (set(make_tasks(table, seed=s)[0].test.rows.tolist()) for s in (0, 1))
    assert a != b


def test_one_class_is_refused() -> None:
    with pytest.raises(BadInputError, match="two or more different"):
        pool_of(yes=["good", "fine"])
    one = pd.DataFrame({"pool": "p", "group": "g", "label": "a", "unit": ["1", "2"]})
    with pytest.raises(BadInputError, match="one class only"):
        make_tasks(one, seed=0)


def test_fewer_rows_than_parts_are_refused_with_how_many_there_are() -> None:
    pool = pool_of(a=[text("a", i) for i in range(SMALLEST - 1)], b=[text("b", i) for i in range(9)])
    with pytest.raises(BadInputError, match=r"'a' of 'mine' has 3 texts .* needs 4"):
        collect([pool], Words(), per_class=9, window=8)
    with pytest.raises(BadInputError, match="at least one token"):
        collect([pool], Words(), per_class=9, window=0)


def test_texts_that_are_all_copies_are_refused() -> None:
    pool = pool_of(a=["the same words again"] * 30, b=[text("b", i) for i in range(9)])
    with pytest.raises(BadInputError, match=r"1 texts without duplicates \(of 30 rows\)"):
        collect([pool], Words(), per_class=9, window=8)


def test_parts_that_share_texts_are_refused() -> None:
    part = LabelledTexts(np.array([0, 1]), np.array([True, False]))
    other = LabelledTexts(np.array([2, 3]), np.array([True, False]))
    with pytest.raises(BadInputError, match="share texts"):
        check_task(ProbeTask("t", "p", "g", part, other, part))
    with pytest.raises(BadInputError, match="1 texts that are it and 0 that are not"):
        check_task(ProbeTask("t", "p", "g", LabelledTexts(np.array([4]), np.array([True])), other, part))


def test_pools_by_name() -> None:
    assert {pool.group for pool in named_pools(["groups"])} == set(GROUPS)
    assert {pool.group for pool in named_pools(["wider"])} == {WIDER}
    assert len(named_pools(["groups", "wider", "language"])) == len(POOLS)
    with pytest.raises(BadInputError, match=r"no pool of labelled text 'cats'.*profession"):
        named_pools(["cats"])


def test_a_catalogue_is_read_without_its_header_and_plural_forms(tmp_path: Path) -> None:
    header = {"": "Content-Type: text/plain; charset=UTF-8\n"}
    singular = {"Save it": "Sichere es", "Über": "Ä ö ü"}
    path = tmp_path / "x.mo"
    path.write_bytes(compiled(header | singular | {"a file\0files": "eine Datei\0Dateien"}))
    assert read_catalogue(path) == singular
    for damaged in (path.read_bytes()[:-5], b"not a catalogue at all, but text", path.read_bytes()[:30]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match="fetch the asset"):
            read_catalogue(path)


def compiled(entries: dict[str, str]) -> bytes:
    keys = sorted(entries)
    originals, translations = [k.encode() for k in keys], [entries[k].encode() for k in keys]
    place, tables, body = 28 + 16 * len(keys), [], b""
    for strings in (originals, translations):
        for one in strings:
            tables.append(struct.pack("<2I", len(one), place + len(body)))
            body += one + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0)
    return head + b"".join(tables) + body


@pytest.mark.assets
def test_messages_are_parallel_sentences(assets: dict[str, Path]) -> None:
    messages = parallel_messages()
    assert len(messages) > 100
    assert all(set(versions) == set(LANGUAGES) for versions in messages.values())
    for language in TRANSLATIONS:
        with (assets["django-catalogues"] / language / "conf.mo").open("rb") as file:
            theirs = gettext.GNUTranslations(file)
        same = [theirs.gettext(m) == v[language] for m, v in messages.items() if theirs.gettext(m) != m]
        assert len(same) > 20
        assert sum(same) >= len(same) - 2  # a message of another catalogue may have the same original


@pytest.mark.assets
def test_pools_use_only_the_half_kept_for_probing(assets: dict[str, Path]) -> None:
    for pool in named_pools(["profession", "kind of work", "language"]):
        for one in pool.classes:
            rows, others = one.rows()
            assert len(rows) > 100
            if pool.group != "language":
                assert others > 0
                assert all(half_of(row.text) == "probing" for row in rows)
                assert rows[0] == Row(opening(rows[0].text), rows[0].text)


@pytest.mark.assets
def test_tables_that_repeat_others_are_the_ones_left_out(assets: dict[str, Path]) -> None:
    def texts(table: str, *targets: str) -> set[str]:
        return {r["prompt"] for r in read_table(table) if not targets or r["target"] in targets}

    assert texts("112_amzn_rev") == texts("111_yelp_data")
    assert texts("139_news_class_Politics") <= texts("97_news_class")
    assert texts("126_art_type_book") <= texts("27_art_type")
    # News against source code: the other class of all three is the same 2,000 files.
    code = texts("158_code_C", "1") | texts("159_code_Python", "1") | texts("160_code_HTML", "1")
    negatives = [texts(f"{161 + i}_agnews_{i}", "0") for i in range(3)]
    assert negatives[0] == negatives[1] == negatives[2]
    assert len(negatives[0] & code) > 1000
    # The names of three news classes are those of other topics: Technology holds AG News' business.
    assert texts("163_agnews_2", "1") & texts("97_news_class") <= texts("97_news_class", "Technology")
