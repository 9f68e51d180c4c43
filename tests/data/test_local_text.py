"""Text as people keep it on their own disk: changed, odd, in one piece, and opening alike."""

from __future__ import annotations

import json
import logging
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_text import TOKENIZER

from sanity.data.hub import HubText
from sanity.data.local import DOCUMENT_BYTES, TextFolder
from sanity.data.text import SPLITS, TextSpec, first_ids, named_sources, sequences, token_ids
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.profiles import load


def write(folder: Path, words: str, suffix: str) -> None:
    folder.mkdir(exist_ok=True)
    for i in range(30):
        draw = random.Random(i)
        text = f"{i} " + " ".join(draw.choice(words.split()) for _ in range(30))
        if suffix == "parquet":
            pq.write_table(pa.table({"text": [text]}), folder / f"{i}.parquet")
        else:
            (folder / f"{i}.{suffix}").write_text(json.dumps({"text": text}) if suffix == "jsonl" else text)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet"])
def test_other_text_in_the_same_place_is_another_key(tmp_path: Path, suffix: str) -> None:
    folder, keys = tmp_path / "texts", []
    base = load("smoke", only=["real_activations"])
    entry = base.sources["smollm2"].model_copy(update={"text": (str(folder),)})
    profile = base.model_copy(update={"sources": {**base.sources, "smollm2": entry}})
    for words in ("river stone house", "def return class", "river stone house"):
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, words, suffix)
        keys.append(digest(profile.source_named("smollm2")))
    assert keys[0] == keys[2] != keys[1]


def test_the_same_text_under_another_name_is_another_key(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    before = TextFolder(str(tmp_path))
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert TextFolder(str(tmp_path)) != before


def test_text_that_changes_between_plan_and_run_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows", "river stone", "jsonl")
    source = HubText(str(tmp_path / "rows"))
    (tmp_path / "rows" / "0.jsonl").write_text(json.dumps({"text": "another text"}))
    with pytest.raises(BadInputError, match="have changed"):
        list(source.documents(seed=0))


def test_odd_files_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "river stone", "txt")
    (tmp_path / "latin.txt").write_bytes("élan".encode("latin-1"))
    (tmp_path / "wide.txt").write_bytes("plain letters".encode("utf-16-le"))
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / ".hidden.txt").write_bytes(b"\xff")
    (tmp_path / "dead.txt").symlink_to(tmp_path / "nowhere")
    assert len(list(TextFolder(str(tmp_path)).documents(seed=0))) == 30
    assert "2 files" in caplog.text
    assert "latin.txt" in caplog.text


ODD_LINES = [
    '{"text": null}',
    '{"text": 3}',
    '{"other": "x"}',
    '{"text": "cut',
    "[1, 2]",
    "",
    "[" * 20_000,
    "\x00",
]


def test_odd_rows_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = [
        json.dumps({"text": f"row {i} of this data set", "more": i if i % 2 else str(i)}) for i in range(40)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join([*good[:20], *ODD_LINES, *good[20:]]))
    with (tmp_path / "train.jsonl").open("ab") as file:
        file.write(b'\n{"text": "caf\xe9"}\n')
    texts = {document.text for document in HubText(str(tmp_path), buffer=4).documents(seed=0)}
    assert texts == {json.loads(line)["text"] for line in good} | {"caf\ufffd"}
    assert f"{len(ODD_LINES)} rows without text" in caplog.text or "7 rows without text" in caplog.text


def test_odd_parquet_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)
    pq.write_table(pa.table({"text": ["one text", None, "another"]}), tmp_path / "train-0.parquet")
    (tmp_path / "train-1.parquet").write_bytes((tmp_path / "train-0.parquet").read_bytes()[:-9])
    texts = {document.text for document in HubText(str(tmp_path)).documents(seed=0)}
    assert texts == {"one text", "another"}
    assert "train-1.parquet is left out" in caplog.text
    assert "1 rows without text" in caplog.text


def test_a_folder_without_any_text_says_so_and_blames_no_hub(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"body": "x"}\n' * 500)
    with pytest.raises(BadInputError, match=r"no text column 'text': its columns are body") as caught:
        list(HubText(str(tmp_path)).documents(seed=0))
    assert "hub" not in str(caught.value)


BIG = {
    "paragraphs": "".join(f"Paragraph {i} says this.\nAnd that, in {i} words.\n\n" for i in range(3000)),
    "one line": " ".join(f"word{i}" for i in range(20_000)),
    "no space": "é" * 50_001,
    "no breaks at all": "日本語" * 9000,
}


@pytest.mark.parametrize("kind", BIG)
def test_one_big_file_is_many_documents_and_none_of_it_is_lost(tmp_path: Path, kind: str) -> None:
    (tmp_path / "all.txt").write_text(BIG[kind])
    (source,) = named_sources([str(tmp_path / "all.txt")])
    found = {document.name: document for document in source.documents(seed=0)}
    in_order = sorted(found, key=lambda name: int(name.partition("#")[2]))
    assert "".join(found[name].text for name in in_order) == BIG[kind]
    assert max(len(document.text.encode()) for document in found.values()) <= DOCUMENT_BYTES
    assert len(found) < 2.1 * len(BIG[kind].encode()) / DOCUMENT_BYTES + 1
    assert list(found) != in_order  # mixed
    if kind == "paragraphs":
        assert all(found[name].text.startswith("Paragraph") for name in in_order)
        spec = TextSpec((source,))
        sides = [spec.split_of(document.text, whole=document.whole) for document in found.values()]
        assert set(sides) == set(SPLITS)


def test_documents_end_where_the_file_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sanity")
    (tmp_path / "a.txt").write_text(
        "\ufeffone\nand more\n<|endoftext|>\ntwo\n<|endoftext|>\n\n<|endoftext|>\nthree"
    )
    texts = [document.text.strip() for document in TextFolder(str(tmp_path)).documents(seed=0)]
    assert sorted(filter(None, texts)) == ["one\nand more", "three", "two"]
    assert f"at most {DOCUMENT_BYTES} bytes" in caplog.text


def test_documents_that_open_alike_do_not_all_fall_on_one_side(tmp_path: Path) -> None:
    for i in range(80):
        (tmp_path / f"{i}.txt").write_text("All rights reserved. " * 50 + f"story {i}")
    spec = TextSpec((TextFolder(str(tmp_path)),))
    sides = [spec.split_of(d.text, whole=d.whole) for d in spec.sources[0].documents(seed=0)]
    assert 2 <= sides.count("held_out") <= 20
    used = {}
    for split in SPLITS:
        windows = sequences(spec, TOKENIZER, split=split, n_tokens=2000, context=100)
        used[split] = {document.name for document in windows.used}
    assert not used["train"] & used["held_out"]
    copy = spec.split_of("Some  TEXT\n" * 99, whole=True)
    assert copy == spec.split_of("some text " * 99, whole=True)


class Counting:
    """A tokenizer that counts the characters it was given."""

    def __init__(self) -> None:
        self.characters = 0

    def __call__(self, texts: list[str], **options: Any) -> Any:
        self.characters += sum(map(len, texts))
        return TOKENIZER(texts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(TOKENIZER, name)


def test_text_is_cut_before_it_is_tokenised(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"{'abcdefgh'[i]} " + "long " * 100_000}) + "\n" for i in range(8))
    (tmp_path / "train.jsonl").write_text(rows)
    tokenizer = Counting()
    spec = TextSpec((HubText(str(tmp_path), buffer=2),), document_tokens=64, held_out=1e-9)
    sequences(spec, tokenizer, split="train", n_tokens=400, context=20)
    assert tokenizer.characters < 8 * 8 * 300


@given(st.lists(st.text("ab c", min_size=1, max_size=5000), min_size=1, max_size=4), st.integers(1, 40))
def test_the_first_tokens_of_a_part_are_those_of_the_whole(texts: list[str], most: int) -> None:
    whole = [ids[:most] for ids in token_ids(TOKENIZER, texts)]
    assert first_ids(TOKENIZER, texts, most) == whole
