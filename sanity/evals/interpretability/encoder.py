"""A sentence encoder: what a context is about, as one unit vector, or token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from sanity import assets
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.subject.files import quiet_transformers
from sanity.subject.linear import with_fast_products

ASSET, MEMBER = "minilm", "model"

# Texts per forward pass: small enough for the caches of a CPU.
_BATCH = 64


@dataclass(frozen=True, eq=False)
class TextTokens:
    """A text as its word pieces."""

    ids: Int[Tensor, " tokens"]
    vectors: Float[Tensor, "tokens d"]
    """Unit rows, each read in the whole text."""


class SentenceEncoder:
    """all-MiniLM-L6-v2 as its authors use it: the mean of the last layer over all tokens, at length 1.

    Six layers of width 384, from the safetensors of the pinned asset; no code comes with it.

    Parameters
    ----------
    folder
        Another model of the same make (a transformers encoder whose sentence vector is the mean over its
        tokens); the pinned asset by default.

    Raises
    ------
    AssetError
        The asset has not been fetched.
    """

    def __init__(self, folder: Path | None = None, *, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        place = folder or assets.path(ASSET, MEMBER)
        self.device = torch.device(device)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True)
        with quiet_transformers():
            model = AutoModel.from_pretrained(
                place, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        self._model: Any = with_fast_products(model.to(self.device).eval().requires_grad_(False))
        self.longest = min(256, int(model.config.max_position_embeddings))

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """One unit vector per text, on the CPU. Texts beyond 256 word pieces are cut, as in training.

        Texts of similar length are embedded together, so that little is padded; no text's vector depends
        on the others beyond rounding.
        """
        out = torch.empty(len(texts), int(self._model.config.hidden_size))
        for some, _, hidden, mask in self._passes(texts):
            mean = (hidden * mask).sum(1) / mask.sum(1)
            out[some] = torch.nn.functional.normalize(mean, dim=1).cpu()
        return out

    @torch.no_grad()
    def tokens(self, texts: Sequence[str]) -> list[TextTokens]:
        """Of each text its word pieces with the last layer's vectors, at length 1; on the CPU.

        The encoder's own marks (begin, end, unknown) are left out, so a text may have none.
        """
        special = torch.tensor(sorted(self._tokenizer.all_special_ids))
        out: list[TextTokens | None] = [None] * len(texts)
        for some, ids, hidden, _ in self._passes(texts):
            vectors = torch.nn.functional.normalize(hidden, dim=2).cpu()
            for i, own, rows in zip(some, ids, vectors, strict=True):
                pieces = torch.tensor(own)
                kept = ~torch.isin(pieces, special)
                out[i] = TextTokens(pieces[kept], rows[: len(own)][kept])
        return [one for one in out if one is not None]

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The word pieces of each text, with the encoder's marks."""
        if not texts:
            raise BadInputError("there is no text to embed: give at least one")
        found: list[list[int]] = self._tokenizer(
            list(texts), truncation=True, max_length=self.longest, return_attention_mask=False
        )["input_ids"]
        return found

    def _passes(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]], Tensor, Tensor]]:
        """Which texts, their token ids, hidden states [texts, tokens, d] and mask, pass by pass."""
        encoded = self.token_ids(texts)
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        bar: tqdm[None] = track(description="embed contexts", total=len(texts), unit="text")
        with bar:
            for first in range(0, len(order), _BATCH):
                some = order[first : first + _BATCH]
                ids = [encoded[i] for i in some]
                padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
                hidden = self._model(
                    input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]
                ).last_hidden_state
                yield some, ids, hidden, padded["attention_mask"].unsqueeze(-1).to(hidden)
                bar.update(len(some))
