"""A fixed pool of windows of text, cut once from unseen documents and shared by all SAEs at a place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd

# Rows of activations that an SAE is given at a time.
_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Pool:
    """Windows of consecutive tokens of one document each, in the order in which the text was read."""

    tokens: Int[Tensor, "windows length"]
    """Token ids, -1 after the end of a window that is shorter than the longest."""
    first_row: Int[Tensor, " windows"]
    """The row of the window's first token among the activations; its other tokens follow."""
    documents: Int[Tensor, " windows"]
    test: Bool[Tensor, " windows"]
    """Whether the window's document is for testing, and not for examples."""
    sources: tuple[str, ...]
    """Where the window's document is from."""
    pieces: tuple[tuple[str, ...], ...]
    """The window's tokens as text."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        """Tokens of the longest window."""
        return self.tokens.shape[1]

    @cached_property
    def lengths(self) -> Int[Tensor, " windows"]:
        """Tokens of each window."""
        return (self.tokens >= 0).sum(1)

    @cached_property
    def n_tokens(self) -> int:
        """Tokens of all windows."""
        return int(self.lengths.sum())

    @cached_property
    def n_documents(self) -> int:
        """Documents that the windows are from."""
        return len(set(self.documents.tolist()))

    @property
    def texts(self) -> list[str]:
        """Every window as running text."""
        return ["".join(pieces) for pieces in self.pieces]

    def is_in(self, part: str) -> Bool[Tensor, " windows"]:
        """Which windows are in the part "examples" or "test"."""
        if part not in ("examples", "test"):
            raise BadInputError(f"there is no part {part!r}: choose examples or test")
        return self.test if part == "test" else ~self.test

    def batches(
        self, activations: Iterable[Float[Tensor, "rows d_in"]]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The pool's rows out of `activations`: values [n, d_in], window [n] and position [n] of each."""
        start = 0
        window, position = self._places
        for part in activations:
            for first in range(0, len(part), _ROWS):
                x = part[first : first + _ROWS]
                rows = slice(start + first, start + first + len(x))
                inside = window[rows] >= 0
                if bool(inside.any()):
                    yield x[: len(inside)][inside], window[rows][inside], position[rows][inside]
            start += len(part)
        if start < len(window):
            raise BadInputError(
                f"the pool's windows reach to row {len(window)}, but there are activations of {start} "
                "tokens: give the activations of the text that the pool was cut from"
            )

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Window (-1 for none) and position of every row of activations."""
        n_rows = int((self.first_row + self.lengths).max())
        window = torch.full((n_rows,), -1)
        position = torch.zeros(n_rows, dtype=torch.long)
        inside = self.tokens >= 0
        which, where = torch.nonzero(inside, as_tuple=True)
        rows = self.first_row[which] + where
        window[rows], position[rows] = which, where
        return window, position

    def tensors(self) -> dict[str, Tensor]:
        """What to store beside `table`; `restore` is the inverse of both."""
        return {
            "tokens": self.tokens.int(),
            "first_row": self.first_row,
            "documents": self.documents.int(),
            "test": self.test.to(torch.uint8),
        }

    def table(self) -> pd.DataFrame:
        """One row per window: document, part, source, text and its pieces."""
        import pandas as pd

        return pd.DataFrame(
            {
                "window": range(len(self)),
                "document": self.documents.tolist(),
                "part": ["test" if test else "examples" for test in self.test.tolist()],
                "source": self.sources,
                "text": self.texts,
                "pieces": [list(pieces) for pieces in self.pieces],
            }
        )

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], table: pd.DataFrame) -> Pool:
        """From what `tensors` and `table` gave."""
        return cls(
            tensors["tokens"].long(),
            tensors["first_row"],
            tensors["documents"].long(),
            tensors["test"].bool(),
            tuple(table["source"]),
            tuple(tuple(pieces) for pieces in table["pieces"]),
        )


def cut_windows(
    tokens: Int[Tensor, "n context"],
    token_documents: Int[Tensor, "n context"],
    *,
    length: int,
    drop_first: bool,
    breaks: Collection[int] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of at most `length` tokens: token ids (-1 after the end), first row, document.

    A run of tokens of one document within one sequence is cut into as few windows of nearly equal length as
    hold it. Runs shorter than half of `length` are left out, and so is the first position of each sequence
    where activations have none (`drop_first`). Tokens in `breaks` (the separator) belong to no window.
    """
    n, context = tokens.shape
    first = int(drop_first)
    broken = torch.isin(tokens, torch.tensor(sorted(breaks), dtype=tokens.dtype))
    ids, rows, documents = [], [], []
    for i in range(n):
        for low, high in _runs(token_documents[i], broken[i], first):
            parts = -(-(high - low) // length)
            if 2 * (high - low) < length:
                continue
            edges = [low + (high - low) * part // parts for part in range(parts + 1)]
            for start, end in pairwise(edges):
                ids.append(
                    torch.nn.functional.pad(tokens[i, start:end].long(), (0, length - end + start), value=-1)
                )
                rows.append(i * (context - first) + start - first)
                documents.append(int(token_documents[i, start]))
    if not ids:
        raise BadInputError(
            f"no run of {length // 2} tokens of one document was found in {n} sequences of {context}: "
            "give longer texts, or shorter windows"
        )
    return torch.stack(ids), torch.tensor(rows), torch.tensor(documents)


def _runs(documents: Tensor, broken: Tensor, first: int) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of the runs of one document without breaks."""
    low = first
    for position in range(first, len(documents) + 1):
        ended = position == len(documents) or bool(broken[position])
        if ended or int(documents[position]) != int(documents[low]):
            if position > low:
                yield low, position
            low = position + 1 if ended else position


def pieces_of(tokenizer: Any, windows: Sequence[Sequence[int]]) -> tuple[tuple[str, ...], ...]:
    """Every token of every window as text, such that the pieces of a window make up its text.

    A character that several tokens share is given to the last of them.
    """
    known = {token for window in windows for token in window}
    single = dict(zip(known, tokenizer.batch_decode([[token] for token in known]), strict=True))
    return tuple(_pieces(tokenizer, window, single) for window in windows)


def _pieces(tokenizer: Any, window: Sequence[int], single: dict[int, str]) -> tuple[str, ...]:
    plain = tuple(single[token] for token in window)
    whole = tokenizer.decode(window)
    if "".join(plain) == whole:
        return plain
    pieces: list[str] = []
    done = ""
    for end in range(1, len(window) + 1):
        so_far = whole if end == len(window) else tokenizer.decode(window[:end]).rstrip("\ufffd")
        # What later tokens change is given to them.
        so_far = so_far if so_far.startswith(done) else done
        pieces.append(so_far[len(done) :])
        done = so_far
    return tuple(pieces)
