from __future__ import annotations

import itertools
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sanity import assets
from sanity.data.documents import Document, half_of, opening
from sanity.data.hub import HubText
from sanity.data.local import TextFolder
from sanity.data.sources import SOURCES, Tables, read_table
from sanity.data.text import SPLITS, TextSpec, named_sources, sequences, window_blocks
from sanity.engine.config import canonical_json
from sanity.errors import AssetError, BadInputError

LETTERS = string.ascii_lowercase + " "
BOS, END, OTHER_END, UNKNOWN = "<s>", "<|endoftext|>", "</s>", "?"


def letters_tokenizer(bos: str | None = BOS, vocabulary: tuple[str, ...] = (BOS, END, OTHER_END)) -> Any:
    """A tokenizer with a token per letter, made on the spot."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = [UNKNOWN, *LETTERS, *vocabulary]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(known)}, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    special = {"eos_token": OTHER_END} if OTHER_END in vocabulary else {}
    extra = [token for token in vocabulary if token == END]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, unk_token=UNKNOWN, additional_special_tokens=extra, **special
    )


TOKENIZER = letters_tokenizer()


@dataclass(frozen=True)
class Listed:
    """Documents written down in the test."""

    texts: tuple[str, ...]
    name: str = "listed"
    weight: float = 1.0

    def documents(self, *, seed: int) -> Iterator[Document]:
        for i, text in enumerate(self.texts):
            yield Document(self.name, str(i), text)


@dataclass(frozen=True)
class Endless:
    """More documents than anyone can read, and a count of those that were asked for."""

    name: str = "endless"
    weight: float = 1.0

    def documents(self, *, seed: int) -> Iterator[Document]:
        for i in itertools.count():
            ASKED.append(i)
            yield Document(self.name, str(i), f"document {i} of very many")


ASKED: list[int] = []


def letters(number: int) -> str:
    """A different text for each number, in known letters."""
    return "".join(LETTERS[int(digit)] for digit in str(number))


def stream_of(texts: list[str], tokenizer: Any = TOKENIZER, end: str = END) -> tuple[list[int], list[int]]:
    """What packing should give: token by token, and the place in `texts` of the document of each."""
    vocabulary = tokenizer.get_vocab()
    tokens, owners = [], []
    for place, text in enumerate(texts):
        ids = [vocabulary[letter] for letter in text] + [vocabulary[end]]
        tokens += ids
        owners += [place] * len(ids)
    return tokens, owners


texts_of_letters = st.lists(
    st.text(LETTERS, min_size=1, max_size=40).filter(lambda text: not text.isspace()), min_size=1, max_size=30
)


@given(texts=texts_of_letters, context=st.integers(2, 20), block=st.integers(1, 5), with_bos=st.booleans())
def test_windows_are_the_documents_end_to_end(
    texts: list[str], context: int, block: int, with_bos: bool
) -> None:
    tokenizer = TOKENIZER if with_bos else NO_BOS
    spec = TextSpec((Listed(tuple(texts)),))
    mine = [text for text in texts if spec.split_of(text) == "train"]
    tokens, owners = stream_of(mine, tokenizer)
    n = len(tokens) // (context - with_bos)
    if n == 0:
        return
    found = sequences(spec, tokenizer, split="train", n_tokens=(n + 1) * context - 1, context=context)
    assert found.tokens.shape == (n, context)
    body = found.tokens[:, int(with_bos) :]
    assert body.flatten().tolist() == tokens[: body.numel()]
    assert found.token_documents[:, int(with_bos) :].flatten().tolist() == owners[: body.numel()]
    if with_bos:
        assert (found.tokens[:, 0] == tokenizer.bos_token_id).all()
        assert (found.token_documents[:, 0] == found.token_documents[:, 1]).all()
    assert [document.number for document in found.used] == sorted(set(owners[: body.numel()]))
    blocks = list(
        window_blocks(spec, tokenizer, split="train", n_tokens=n * context, context=context, block=block)
    )
    assert all(len(part.tokens) == block for part in blocks[:-1])
    assert torch.equal(torch.cat([part.tokens for part in blocks]), found.tokens)
    assert torch.equal(torch.cat([part.token_documents for part in blocks]), found.token_documents)
    for part in blocks:
        assert [document.number for document in part.used] == part.token_documents.unique().tolist()


NO_BOS = letters_tokenizer(bos=None)


def test_splits_divide_the_documents_whatever_the_seed() -> None:
    texts = tuple(letters(number) for number in range(400))
    used: dict[str, set[str]] = {}
    for split in SPLITS:
        spec = TextSpec((Listed(texts),), held_out=0.3)
        mine = [text for text in texts if spec.split_of(text) == split]
        n_tokens = sum(len(text) + 1 for text in mine) // 7 * 8
        used[split] = {
            d.name for d in sequences(spec, TOKENIZER, split=split, n_tokens=n_tokens, context=8).used
        }
    assert not used["train"] & used["held_out"]
    assert len(used["train"]) + len(used["held_out"]) >= 398  # the last window may cut one document off
    assert 80 < len(used["held_out"]) < 160
    other = TextSpec((Listed(texts),), held_out=0.3, seed=5)
    assert {text for text in texts if other.split_of(text) == "held_out"} == {
        texts[int(name)] for name in used["held_out"]
    } | {text for text in texts[-2:] if other.split_of(text) == "held_out"}


def test_copies_with_another_ending_share_a_side() -> None:
    beginning = "once upon a time there was a king who had a mirror " * 4
    spec = TextSpec(held_out=0.5)
    for number in range(50):
        text = f"{number} {beginning}"
        assert spec.split_of(text) == spec.split_of(text.upper().replace(" ", "\n ") + "the end")
        assert half_of(text) == half_of(text + " and more")
    assert opening("A\n b\tC") == "a b c"
    assert len(opening("word " * 1000)) == 200


def test_the_halves_are_halves_and_independent_of_the_splits() -> None:
    spec = TextSpec(held_out=0.5)
    sides = [(half_of(text), spec.split_of(text)) for text in map(str, range(4000))]
    for pair in itertools.product(("text", "probing"), SPLITS):
        assert sides.count(pair) == pytest.approx(1000, abs=120)


def test_sources_take_turns_by_their_weights() -> None:
    long = Listed(tuple(letters(n) * 20 for n in range(10**5, 10**5 + 300)), "long", weight=3.0)
    short = Listed(tuple(letters(n) for n in range(10**5, 10**5 + 3000)), "short", weight=1.0)
    for n_tokens in (2000, 8000, 20000):
        found = sequences(
            TextSpec((long, short)), TOKENIZER, split="train", n_tokens=n_tokens, context=16
        ).tokens_by_source
        assert sum(found.values()) == n_tokens // 16 * 16
        assert found["long"] == pytest.approx(0.75 * n_tokens, abs=300)


def test_a_source_that_runs_out_leaves_the_others() -> None:
    small = Listed(("only this",), "small", weight=10.0)
    large = Listed(tuple(letters(n) for n in range(1000)), "large")
    found = sequences(TextSpec((small, large)), TOKENIZER, split="train", n_tokens=2000, context=10)
    # Nine letters and BOS fill the first window; the separator, behind the second BOS, belongs to them too.
    assert found.tokens_by_source == {"small": 12, "large": 1988}


def test_too_few_tokens_says_how_many_there_are() -> None:
    spec = TextSpec((Listed(tuple(letters(n) for n in range(100))),))
    mine = [text for text in spec.sources[0].texts if spec.split_of(text) == "train"]  # type: ignore[attr-defined]
    there = sum(len(text) + 1 for text in mine) // 9 * 10
    with pytest.raises(
        BadInputError, match=rf"train split has {there} tokens.*{there + 10} were asked for.*listed"
    ):
        sequences(spec, TOKENIZER, split="train", n_tokens=there + 10, context=10)
    assert sequences(spec, TOKENIZER, split="train", n_tokens=there, context=10).tokens.numel() == there


def test_only_what_is_needed_is_read() -> None:
    ASKED.clear()
    found = sequences(TextSpec((Endless(),)), TOKENIZER, split="train", n_tokens=1000, context=20)
    assert found.tokens.shape == (50, 20)
    assert len(ASKED) < 100


def test_text_that_looks_like_a_special_token_is_text() -> None:
    spec = TextSpec((Listed((f"begin {END} more", "another one")),), held_out=1e-9)
    found = sequences(spec, TOKENIZER, split="train", n_tokens=40, context=10)
    end = TOKENIZER.convert_tokens_to_ids(END)
    assert (found.tokens == end).sum() == 1  # the separator after the first document only
    assert UNKNOWN in TOKENIZER.convert_ids_to_tokens(found.tokens.flatten().tolist())


def test_documents_may_be_cut_short() -> None:
    spec = TextSpec((Listed(("abcdefgh" * 10, "ijklmnop" * 10)),), document_tokens=3, held_out=1e-9)
    found = sequences(spec, TOKENIZER, split="train", n_tokens=9, context=9)
    assert "".join(TOKENIZER.convert_ids_to_tokens(found.tokens[0].tolist())) == f"{BOS}abc{END}ijk{END}"


def test_which_token_separates() -> None:
    source = Listed(("ab", "cd"))
    named = TextSpec((source,), separator=OTHER_END, held_out=1e-9)
    assert sequences(named, TOKENIZER, split="train", n_tokens=4, context=4).tokens[0, 3] == (
        TOKENIZER.convert_tokens_to_ids(OTHER_END)
    )
    plain = TextSpec((source,), held_out=1e-9)
    without = letters_tokenizer(vocabulary=(BOS, OTHER_END))
    assert (
        sequences(plain, without, split="train", n_tokens=4, context=4).tokens[0, 3] == without.eos_token_id
    )
    with pytest.raises(BadInputError, match=r"TextSpec\.separator"):
        sequences(plain, letters_tokenizer(vocabulary=(BOS,)), split="train", n_tokens=4, context=4)
    with pytest.raises(BadInputError, match="no token '<end>'"):
        sequences(TextSpec((source,), separator="<end>"), TOKENIZER, split="train", n_tokens=4, context=4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "test"}, "no split 'test'.*train, held_out"),
        ({"context": 1}, "context of 1"),
        ({"n_tokens": 5}, "5 tokens are not one window of 8"),
    ],
)
def test_impossible_requests_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        sequences(
            TextSpec((Listed(("abc",)),)),
            TOKENIZER,
            **{"split": "train", "n_tokens": 80, "context": 8} | arguments,
        )


def test_impossible_texts_are_refused() -> None:
    source = Listed(("abc",))
    for wrong in (
        {"sources": ()},
        {"sources": (source, source)},
        {"sources": (Listed(("abc",), weight=0.0),)},
        {"held_out": 0.0},
        {"held_out": 1.0},
        {"document_tokens": 0},
    ):
        with pytest.raises(BadInputError):
            TextSpec(**wrong)
    with pytest.raises(BadInputError, match=r"no text source 'wiki'.*registry, speeches"):
        named_sources(["wiki"])


def write_files(folder: Path) -> list[str]:
    texts = [f"text number {letters(i)} " * 3 for i in range(40)]
    for i, text in enumerate(texts):
        place = folder / ("deep" if i % 2 else ".") / f"{i}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return texts


def test_a_folder_of_text_files(tmp_path: Path) -> None:
    texts = write_files(tmp_path)
    (tmp_path / "notes.md").write_text("not text of ours")
    source = TextFolder(str(tmp_path))
    orders = [[document.text for document in source.documents(seed=seed)] for seed in (0, 0, 1)]
    assert sorted(orders[0]) == sorted(texts)
    assert orders[0] == orders[1] != orders[2]
    assert named_sources([str(tmp_path)]) == (source,)
    one = TextSpec((source,))
    first, again, other = (
        sequences(spec, TOKENIZER, split="train", n_tokens=400, context=20)
        for spec in (one, one, TextSpec((source,), seed=1))
    )
    assert first.text_hash == again.text_hash != other.text_hash
    changed = Path(tmp_path / next(document.name for document in first.used[:1]))
    changed.write_text(changed.read_text(encoding="utf-8").replace("text", "test"), encoding="utf-8")
    with pytest.raises(BadInputError, match="have changed"):
        sequences(one, TOKENIZER, split="train", n_tokens=400, context=20)
    now = TextSpec((TextFolder(str(tmp_path)),))
    assert canonical_json(now) != canonical_json(one)
    third = sequences(now, TOKENIZER, split="train", n_tokens=400, context=20)
    assert third.text_hash != first.text_hash


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no files \*\.txt"):
        list(TextFolder(str(tmp_path)).documents(seed=0))
    (tmp_path / "latin.txt").write_bytes("élan".encode("latin-1"))
    with pytest.raises(BadInputError, match=r"no UTF-8 text \(latin\.txt"):
        list(TextFolder(str(tmp_path)).documents(seed=0))


TEXTS_OF_ROWS = [f"row {letters(i)} of this data set" for i in range(60)]


def test_a_local_folder_of_jsonl_as_on_the_hub(tmp_path: Path) -> None:
    for part in (0, 1):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS_OF_ROWS[part::2])
        (tmp_path / f"train-{part}.jsonl").write_text(lines)
    source = HubText(str(tmp_path), buffer=8)
    orders = [[document.text for document in source.documents(seed=seed)] for seed in (0, 0, 1)]
    assert sorted(orders[0]) == sorted(TEXTS_OF_ROWS)
    assert orders[0] == orders[1] != orders[2]
    with pytest.raises(BadInputError, match=r"no text column 'body': its columns are text"):
        list(HubText(str(tmp_path), column="body").documents(seed=0))


def test_a_local_folder_of_parquet_as_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The library waits five seconds before it lets go of parquet files.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.5)
    for part in (0, 1):
        pq.write_table(pa.table({"text": TEXTS_OF_ROWS[part::2]}), tmp_path / f"train-{part}.parquet")
    spec = TextSpec((HubText(str(tmp_path), buffer=8),))
    found = sequences(spec, TOKENIZER, split="train", n_tokens=600, context=20)
    assert found.tokens_by_source == {str(tmp_path): 600}


def test_the_hub_switched_off_is_said() -> None:
    source = SOURCES["openwebtext"]
    assert isinstance(source, HubText)
    assert len(bytes.fromhex(source.revision or "")) == 20
    with pytest.raises(AssetError, match=r"Skylion007/openwebtext could not be read.*HF_HUB_OFFLINE"):
        next(source.documents(seed=0))
    with pytest.raises(BadInputError, match="needs a revision"):
        next(HubText("someone/something").documents(seed=0))


def test_a_text_is_part_of_a_key() -> None:
    assert json.loads(canonical_json(TextSpec()))["sources"][1]["tables"] == ["100_news_fake"]
    assert canonical_json(TextSpec()) != canonical_json(TextSpec(named_sources(["news"])))


@pytest.fixture(scope="module")
def mix(assets: dict[str, Path]) -> dict[str, list[Document]]:
    """The default text, all of it."""
    return {source.name: list(source.documents(seed=0)) for source in TextSpec().sources}


@pytest.mark.assets
def test_the_default_text_is_large_varied_and_without_copies(mix: dict[str, list[Document]]) -> None:
    megabytes = {name: sum(len(d.text.encode()) for d in documents) / 1e6 for name, documents in mix.items()}
    assert megabytes["speeches"] > 10
    assert sum(size for name, size in megabytes.items() if name != "speeches") > 20
    assert min(megabytes.values()) > 1
    assert len(mix["speeches"]) == 249
    for name, documents in mix.items():
        assert len({document.name for document in documents}) == len(documents)
        if name != "speeches":
            assert len({opening(document.text) for document in documents}) == len(documents)
    spec = TextSpec()
    held_out = sum(spec.split_of(d.text) == "held_out" for documents in mix.values() for d in documents)
    assert held_out == pytest.approx(0.1 * sum(map(len, mix.values())), rel=0.15)


@pytest.mark.assets
def test_rows_kept_for_probing_are_never_read_as_text(mix: dict[str, list[Document]]) -> None:
    for source in TextSpec().sources:
        if isinstance(source, Tables):
            rows = [row["prompt"] for row in read_table(source.tables[0])]
            kept = {opening(text) for text in rows if half_of(text) == "probing"}
            assert len(kept) > 0.35 * len({opening(text) for text in rows})
            assert not kept & {opening(document.text) for document in mix[source.name]}


@pytest.mark.assets
def test_named_sources_have_the_shares_they_document(assets: dict[str, Path]) -> None:
    assert sum(source.weight for source in TextSpec().sources) == pytest.approx(1.0)
    spec = TextSpec(named_sources(["news", "reviews", "medicine"]))
    found = sequences(spec, TOKENIZER, split="held_out", n_tokens=60_000, context=128)
    for source in spec.sources:
        share = found.tokens_by_source[source.name] / found.tokens.numel()
        assert share == pytest.approx(source.weight / 0.35, abs=0.015)
    assert [document.number for document in found.used] == list(range(len(found.used)))


@pytest.mark.assets
def test_tables_are_read_by_name(assets: dict[str, Path]) -> None:
    rows = read_table("97_news_class")
    assert len(rows) == 5000
    assert {"Politics", "Technology", "Entertainment"} <= {row["target"] for row in rows}
    with pytest.raises(BadInputError, match=r"no table 'news'.*155 tables.*97_news_class"):
        read_table("news")


def test_without_the_assets_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path))
    for name in ("speeches", "news"):
        with pytest.raises(AssetError, match="sanity fetch s"):
            next(SOURCES[name].documents(seed=0))
    assert assets.cache_folder() == tmp_path
