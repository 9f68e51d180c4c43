"""Text data sets of the Hugging Face hub, and local folders in its formats."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sanity.data.documents import Document
from sanity.data.local import content_hash, files_below
from sanity.errors import AssetError, BadInputError, reason_of

log = logging.getLogger("sanity")

_WITHOUT_TEXT = 100
"""Rows after which a data set that has shown no text has none."""


@dataclass(frozen=True)
class HubText:
    """A text data set of the Hugging Face hub, streamed at a pinned commit; a document is a row.

    `repository` may also be a local folder with files in one of the hub's formats (parquet, jsonl).
    """

    repository: str
    revision: str | None = None
    """The commit; of a local folder, a hash of its files, filled in."""
    configuration: str | None = None
    split: str = "train"
    column: str = "text"
    weight: float = 1.0
    buffer: int = 10_000
    """Rows among which the next one is drawn; the order of the files is shuffled as well."""

    def __post_init__(self) -> None:
        if self._local:
            object.__setattr__(self, "revision", content_hash(self._root, files_below(self._root, "*")))

    @property
    def name(self) -> str:
        """The repository's."""
        return self.repository

    @property
    def _root(self) -> Path:
        return Path(self.repository).expanduser()

    @property
    def _local(self) -> bool:
        return self._root.is_dir()

    def documents(self, *, seed: int) -> Iterator[Document]:
        """All rows that hold text, as they arrive; nothing is stored, and rows without text are counted.

        Raises `AssetError` when the hub cannot be reached and `BadInputError` when the column is missing.
        """
        if self._local and replace(self).revision != self.revision:
            raise BadInputError(f"the files of {self.repository} have changed: plan and run again")
        odd, text = 0, None
        for number, row in enumerate(self._rows(seed)):
            found = row.get(self.column)
            if isinstance(found, str):
                text = found
                name = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
                yield Document(self.name, name, text, whole=self._local)
                continue
            odd += 1
            if odd == 1:
                log.warning("%s: row %d has no text in %r and is left out", self.name, number, self.column)
            if text is None and odd >= _WITHOUT_TEXT:
                break
        if odd and text is None:
            raise BadInputError(
                f"{self.repository} has no text column {self.column!r}: its columns are {', '.join(row)}"
            )
        if odd:
            log.warning("%s: %d rows without text were left out", self.name, odd)

    def _rows(self, seed: int) -> Iterator[Mapping[str, Any]]:
        from datasets import load_dataset

        if not self._local and self.revision is None:
            raise BadInputError(f"{self.repository} needs a revision: name the commit that is to be read")
        with hub_errors(self.repository, "use the text of the default assets"):
            if lines := self._of_split("*.jsonl") if self._local else []:
                # Line by line: the library's own reader gives up a file for one odd row.
                rows = load_dataset(
                    "text", data_files=lines, split="train", streaming=True, encoding_errors="replace"
                )
                rows = rows.shuffle(seed=seed, buffer_size=self.buffer)
                yield from (_parsed(row["text"]) for row in rows)
                return
            if files := [p for p in self._of_split("*.parquet") if _is_whole(p)] if self._local else []:
                rows = load_dataset("parquet", data_files=files, split="train", streaming=True)
            else:
                rows = load_dataset(
                    str(self._root) if self._local else self.repository,
                    self.configuration,
                    split=self.split,
                    revision=None if self._local else self.revision,
                    streaming=True,
                )
            yield from rows.shuffle(seed=seed, buffer_size=self.buffer)

    def _of_split(self, pattern: str) -> list[str]:
        """The local files of the split: those with its name in theirs, else all."""
        found = sorted(map(str, files_below(self._root, pattern)))
        return [name for name in found if self.split in Path(name).stem] or found


def _parsed(line: str) -> Mapping[str, Any]:
    """The object in a line; an empty one where there is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _is_whole(parquet: str) -> bool:
    """Whether a file has its end; one that has not is named and left out."""
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    try:
        pq.read_metadata(parquet)
    except (ArrowException, OSError) as error:
        log.warning("%s is left out: %s", parquet, error)
        return False
    return True


@contextlib.contextmanager
def hub_errors(what: str, otherwise: str) -> Iterator[None]:
    """Turn errors of `datasets` into one `AssetError`: `what` could not be read, and the ways out."""
    from datasets.exceptions import DatasetsError
    from httpx import HTTPError
    from pyarrow import ArrowException

    try:
        yield
    except BadInputError:
        raise
    except (DatasetsError, HTTPError, ArrowException, OSError, ValueError) as error:
        if Path(what).expanduser().is_dir():
            raise BadInputError(f"the files of {what} could not be read ({reason_of(error)})") from error
        raise AssetError(
            f"{what} could not be read ({reason_of(error)}): check that the hub can be reached and "
            f"HF_HUB_OFFLINE is not set, or {otherwise}"
        ) from error
