"""A document, who gives it, and on which side of a split it falls.

A source gives documents in a seeded order that depends on nothing else. Which side of a split a document
falls on is decided by a hash of its opening words, so it is the same on every machine and for every seed,
and copies of a text with a different ending never sit on both sides. Where documents may open alike, as files
under one licence do, the whole text decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

OPENING = 200
"""How many characters of a text, with white space collapsed and case folded, decide its side of a split."""

T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """One text, named within its source."""

    source: str
    name: str
    text: str
    whole: bool = False
    """Whether all of the text decides its side of a split, and not its opening alone: files that people keep,
    and pieces of them, may open alike."""


@runtime_checkable
class DocumentSource(Protocol):
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


def position(text: str, purpose: str, *, whole: bool = False) -> float:
    """Where `text` falls in [0, 1) by a hash of its opening, or of the `whole`, for each `purpose` apart."""
    counts = " ".join(text.split()).casefold() if whole else opening(text)
    state = hashlib.sha256(f"{purpose}\0{counts}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(state.digest()[:6], "big") / 2**48


def half_of(text: str) -> Literal["text", "probing"]:
    """Which use a row of the labelled tables is for: text that models read, or sparse probing.

    The tables of `sae-probes` serve both. Autoencoders are trained and tested on the "text" half only, so
    that no probing score, which is measured on the other half, can come from having seen its rows.
    """
    return "text" if position(text, "half of the labelled tables") < 0.5 else "probing"


def in_seeded_order(items: Iterable[T], seed: int, name: Callable[[T], str] = str) -> list[T]:
    """The items in an order that is fixed by their names and `seed`."""
    return sorted(
        items, key=lambda item: hashlib.sha256(f"{seed}\0{name(item)}".encode("utf-8", "replace")).digest()
    )
