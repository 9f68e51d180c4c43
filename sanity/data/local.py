"""Texts that people keep on their own disk: plain files, keyed by what is in them.

A file is cut into documents where it says that one ends (a line "<|endoftext|>"), else at the end of a
paragraph, a line or a word, at `DOCUMENT_BYTES` at most. So one big file has text for both splits, and all of
it is used.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from sanity.data.documents import Document, in_seeded_order
from sanity.engine.files import sha256_once
from sanity.errors import BadInputError

log = logging.getLogger("sanity")

DOCUMENT_BYTES = 4096
"""The cap of a document: about the 1,024 tokens that are used of one where training text is short."""
_END = b"<|endoftext|>"


def content_hash(root: Path, files: Iterable[Path]) -> str:
    """A hash of the names below `root`, the sizes and the bytes of some files."""
    state = hashlib.sha256()
    for path in sorted(files):
        try:
            head = f"{path.relative_to(root).as_posix()} {path.stat().st_size} "
            state.update(head.encode("utf-8", "surrogateescape") + bytes.fromhex(sha256_once(path)))
        except OSError as error:
            raise BadInputError(f"{path} cannot be read ({error.strerror}): move it elsewhere") from error
    return state.hexdigest()


def files_below(root: Path, *patterns: str) -> list[Path]:
    """The files below a folder that match and are not hidden, or `root` itself where it is a file."""
    if root.is_file():
        return [root]
    found = {path for pattern in patterns for path in root.rglob(pattern)}
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


@dataclass(frozen=True)
class TextFolder:
    """Plain text (UTF-8): a file, or the files of a folder and of the folders in it.

    Raises `BadInputError` where there is no such file.
    """

    folder: str
    weight: float = 1.0
    pattern: str = "*.txt"
    content: str = ""
    """A hash of the files, so that other text is another key; filled in."""

    def __post_init__(self) -> None:
        files = self._files()
        if not files:
            raise BadInputError(f"{self.folder} holds no files {self.pattern}: give a folder of text files")
        object.__setattr__(self, "content", content_hash(self._root, files))

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder

    @property
    def _root(self) -> Path:
        root = Path(self.folder).expanduser()
        return root.parent if root.is_file() else root

    def _files(self) -> list[Path]:
        return files_below(Path(self.folder).expanduser(), self.pattern)

    def documents(self, *, seed: int) -> Iterator[Document]:
        """The documents of all files, mixed; a file that is no text is named in the log and left out.

        Raises `BadInputError` when nothing is left, or the files have changed since this was made.
        """
        if replace(self).content != self.content:
            raise BadInputError(f"the files of {self.folder} have changed: plan and run again")
        found: dict[str, tuple[Path, int, int]] = {}
        odd = []
        for path in sorted(self._files()):
            name = path.relative_to(self._root).as_posix()
            try:
                pieces = list(_pieces(path))
            except UnicodeDecodeError as error:
                odd.append(f"{name} ({error.reason})")
                continue
            found |= {
                f"{name}#{number}" if len(pieces) > 1 else name: (path, *piece)
                for number, piece in enumerate(pieces)
            }
        if odd:
            log.warning("%s: %d files are not UTF-8 text and left out: %s", self.folder, len(odd), odd[0])
        if not found:
            raise BadInputError(f"{self.folder} holds no UTF-8 text ({', '.join(odd[:1])}): convert it")
        log.info("%s: %d documents of at most %d bytes", self.folder, len(found), DOCUMENT_BYTES)
        for key in in_seeded_order(found, seed):
            path, start, size = found[key]
            with path.open("rb") as file:
                file.seek(start)
                text = file.read(size).decode("utf-8")
            yield Document(self.name, key, text.removeprefix("\ufeff"), whole=True)


def _pieces(path: Path) -> Iterator[tuple[int, int]]:
    """Where each document of a file begins, and its bytes; `UnicodeDecodeError` where one is no text."""
    with path.open("rb") as file:
        start = size = 0
        while line := _line(file):
            ends = line.strip() == _END
            if size and (ends or size + len(line) > DOCUMENT_BYTES):
                yield start, size
                start, size = start + size, 0
            if ends:
                start += len(line)
                continue
            size += len(line)
            # A paragraph that ends in the second half of a document ends the document.
            if not line.strip() and size > DOCUMENT_BYTES // 2:
                yield start, size
                start, size = start + size, 0
        if size:
            yield start, size


def _line(file: BinaryIO) -> bytes:
    """The next line, or as much of it as is a document, up to a space or at least a whole character."""
    line = file.readline(DOCUMENT_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(line, final=len(line) < DOCUMENT_BYTES)
    if b"\0" in line:
        raise UnicodeDecodeError("utf-8", line, 0, 1, "a zero byte, as in UTF-16 and in programs")
    if len(line) < DOCUMENT_BYTES or line.endswith(b"\n"):
        return line
    end = line.rfind(b" ") + 1 or len(line) - len(decoder.getstate()[0])
    file.seek(end - len(line), 1)
    return line[:end]
