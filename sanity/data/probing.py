"""Labelled text for sparse probing: pools of classes, in the paper's five concept groups and a wider set.

A pool is a handful of classes with texts of one kind; it gives one yes-or-no task per class (one against
the rest), or a single one if there are two. Texts come from the half of the `sae-probes` tables that no
autoencoder reads, and from catalogues of the same messages in five languages.

Left out of the tables: 94 and 98 (with 142-144), whose punctuation was removed; 95, 106 and 107, hateful or
toxic posts; 112, which repeats 111; those whose labels are numbers (years, places, prices); and 114 to 156
with 161 to 163, which are one-against-rest copies of the rows of other tables (161 to 163 set news against
source code, which is no question of topic).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

from sanity.data.catalogues import parallel_messages
from sanity.data.sources import half_of, opening, read_table
from sanity.errors import BadInputError

GROUPS = ("profession", "product and sentiment", "language", "programming language", "news topic")
"""The paper's five concept groups; a score is the mean over them."""
WIDER = "wider set"
"""The group of all other pools, reported apart."""

Side = Literal["start", "end"]


@dataclass(frozen=True)
class Row:
    """One labelled text. Texts of one `unit` say the same and never sit in different parts of a split."""

    unit: str
    text: str


@runtime_checkable
class ClassRows(Protocol):
    """The texts of one class: a frozen dataclass of JSON values, as it is part of a cell's key."""

    @property
    def label(self) -> str:
        """Unique within a pool."""

    def rows(self) -> tuple[list[Row], int]:
        """All texts that may be used, and how many were left to the autoencoders' own text."""


@functools.lru_cache(maxsize=4)
def _texts_and_targets(table: str) -> list[tuple[str, str]]:
    """A table's two columns; a pool's classes are often rows of one table."""
    return [(row["prompt"], row["target"]) for row in read_table(table)]


@dataclass(frozen=True)
class TableRows:
    """Rows of a labelled table whose target is one of `targets`."""

    label: str
    table: str
    targets: tuple[str, ...]

    def rows(self) -> tuple[list[Row], int]:
        """Those of the half that is kept for probing."""
        texts = [text for text, target in _texts_and_targets(self.table) if target in self.targets]
        kept = [text for text in texts if text.strip() and half_of(text) == "probing"]
        return [Row(opening(text), text) for text in kept], len(texts) - len(kept)


@dataclass(frozen=True)
class CatalogueRows:
    """Messages in one language; the English original is the unit."""

    label: str
    language: str

    def rows(self) -> tuple[list[Row], int]:
        """The messages that all languages have."""
        return [Row(unit, said[self.language]) for unit, said in parallel_messages().items()], 0


@dataclass(frozen=True)
class GivenRows:
    """Texts of one's own."""

    label: str
    texts: tuple[str, ...]

    def rows(self) -> tuple[list[Row], int]:
        """All that are not blank."""
        return [Row(opening(text), text) for text in self.texts if text.strip()], 0


@dataclass(frozen=True)
class Pool:
    """Classes of texts, and which end of a text is read where it is longer than the window."""

    name: str
    group: str
    classes: tuple[ClassRows, ...]
    keep: Side = "start"

    def __post_init__(self) -> None:
        labels = [one.label for one in self.classes]
        if len(set(labels)) < max(2, len(labels)):
            raise BadInputError(
                f"the pool {self.name!r} has the classes {labels}: a probe tells two or more different ones "
                "apart"
            )


def own_pool(name: str, texts: Sequence[str], labels: Sequence[str], *, keep: Side = "start") -> Pool:
    """A pool of one's own texts, one label each.

    Raises `BadInputError` when there is only one label, or not one per text.
    """
    if len(texts) != len(labels):
        raise BadInputError(
            f"the pool {name!r} has {len(texts)} texts and {len(labels)} labels: give one each"
        )
    by_label: dict[str, list[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        by_label.setdefault(str(label), []).append(text)
    return Pool(name, WIDER, tuple(GivenRows(k, tuple(v)) for k, v in sorted(by_label.items())), keep)


def in_order(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows in an order fixed by their units and `seed`."""
    return sorted(
        rows, key=lambda row: hashlib.sha256(f"{seed}\0{row.unit}".encode("utf-8", "replace")).digest()
    )


def _table(name: str, group: str, table: str, classes: Mapping[str, str], keep: Side = "start") -> Pool:
    return Pool(name, group, tuple(TableRows(label, table, (t,)) for label, t in classes.items()), keep)


_OCCUPATIONS = ("journalist", "athlete", "actor", "politician", "singer", "researcher")
_NEWS = {
    "world": "Politics",
    "sports": "Sport",
    "business": "Technology",
    "science and technology": "Entertainment",
}
_YES = {"1": "1", "0": "0"}

_FIVE = (
    # Web text that ends with the name of a person: the end is what is to be read.
    Pool(
        "profession",
        "profession",
        tuple(
            TableRows(name, f"{number}_wikidata_occupation_is{name}", ("1",))
            for number, name in enumerate(_OCCUPATIONS, 59)
        ),
        keep="end",
    ),
    _table("kind of work", "product and sentiment", "27_art_type", {c: c for c in ("book", "song", "movie")}),
    _table("product review", "product and sentiment", "157_amazon_5star", {"five stars": "1", "fewer": "0"}),
    Pool(
        "business review",
        "product and sentiment",
        (
            TableRows("good", "111_yelp_data", ("3", "4")),
            TableRows("bad", "111_yelp_data", ("0", "1")),
        ),
    ),
    _table("film review", "product and sentiment", "113_movie_sent", {"good": "1", "bad": "0"}),
    Pool("language", "language", tuple(CatalogueRows(code, code) for code in ("en", "fr", "de", "es", "nl"))),
    # The files were cut from their middle and open with what is left of a licence, so the end is read.
    Pool(
        "programming language",
        "programming language",
        tuple(
            TableRows(name, f"{number}_code_{name}", ("1",))
            for number, name in ((158, "C"), (159, "Python"), (160, "HTML"))
        ),
        keep="end",
    ),
    # The table's own names of three topics are wrong: what it calls Technology is AG News' business, what it
    # calls Entertainment its science and technology, and Politics its world news.
    _table("news topic", "news topic", "97_news_class", _NEWS),
)

_WIDE_BINARY = (
    "5_hist_fig_ismale", "6_hist_fig_isamerican", "7_hist_fig_ispolitician", "26_headline_isfrontpage",
    "36_sciq_tf", "44_phys_tf", "48_cm_correct", "50_deon_isvalid", "51_just_is", "52_virtue_is",
    "87_glue_cola", "89_glue_mrpc", "90_glue_qnli", "91_glue_qqp", "96_spam_is", "100_news_fake",
    "110_aimade_humangpt3",
)  # fmt: skip
_WIDE_NAMED = {
    "21_headline_istrump": ("True", "False"),
    "22_headline_isobama": ("True", "False"),
    "23_headline_ischina": ("True", "False"),
    "24_headline_isiran": ("True", "False"),
    "41_truthqa_tf": ("correct", "incorrect"),
    "42_temp_sense": ("yes", "no"),
    "54_cs_tf": ("yes", "no"),
    "56_wikidatasex_or_gender": ("female", "male"),
    "57_wikidatais_alive": ("True", "False"),
    "58_wikidatapolitical_party": ("Republican Party", "Democratic Party"),
    "105_click_bait": ("clickbait", "factual"),
    "14_us_timezone": ("Chicago", "New_York", "Los_Angeles"),
    "43_temp_cat": ("Frequency", "Typical Time", "Event Ordering", "Event Duration"),
    "88_glue_mnli": ("entailment", "neutral", "contradiction"),
    "99_sci_cat": ("Physics", "Chemistry", "Biology"),
    "102_twt_emotion": ("worry", "happiness", "sadness", "surprise"),
    "103_it_tick": ("HR Support", "Hardware", "Administrative rights", "Access"),
    "108_athlete_sport": ("football", "basketball", "baseball"),
}
_BIGRAMS = (
    "high-school", "living-room", "social-security", "credit-card", "blood-pressure", "prime-factors",
    "social-media", "gene-expression", "control-group", "magnetic-field", "cell-lines", "trial-court",
    "second-derivative", "north-america", "human-rights", "side-effects", "public-health",
    "federal-government", "third-party", "clinical-trials", "mental-health",
)  # fmt: skip
# Text that ends with what the label is about, a name or the first word of a pair, is read from its end.
_AT_THE_END = {"56_wikidatasex_or_gender", "57_wikidatais_alive", "58_wikidatapolitical_party"}


def _side(table: str) -> Side:
    return "end" if table in _AT_THE_END else "start"


_WIDE = (
    *(_table(name, WIDER, name, _YES) for name in _WIDE_BINARY),
    *(
        _table(name, WIDER, name, {t: t for t in targets}, _side(name))
        for name, targets in _WIDE_NAMED.items()
    ),
    *(
        _table(
            f"{number}_{pair}", WIDER, f"{number}_{pair}", {"pair": "bigram", "other": "not_bigram"}, "end"
        )
        for number, pair in enumerate(_BIGRAMS, 65)
    ),
)

POOLS: Mapping[str, Pool] = MappingProxyType({pool.name: pool for pool in (*_FIVE, *_WIDE)})
"""Pools by name: those of the five concept groups first."""


def named_pools(names: Sequence[str]) -> tuple[Pool, ...]:
    """Pools by name; "groups" stands for all of the five concept groups, "wider" for all others."""
    chosen: dict[str, Pool] = {}
    for name in names:
        if name in ("groups", "wider"):
            chosen |= {p.name: p for p in POOLS.values() if (p.group == WIDER) == (name == "wider")}
        elif name in POOLS:
            chosen[name] = POOLS[name]
        else:
            raise BadInputError(
                f"there is no pool of labelled text {name!r}: choose groups, wider, or of {', '.join(POOLS)}"
            )
    return tuple(chosen.values())
