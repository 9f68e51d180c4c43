"""A subject of one table of vectors: for tests of what a harvest does with activations, in a new process."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from sanity.subject.running_on import EditablePrompts

HOOK = "blocks.0.hook_resid_pre"


class EmbeddingSubject:
    """The residual stream that enters block 0 of a model without positions: one vector per token id."""

    name = "embedding"
    backend = "none"
    d_model = 32
    n_layers = 1
    context = 64
    vocab = 61
    tokenizer = None
    hooks = (HOOK,)
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(self.vocab, self.d_model, generator=generator)

    @property
    def weights_sha256(self) -> str:
        return hashlib.sha256(self.table.numpy().tobytes()).hexdigest()

    def residual(self, tokens: Tensor, hook: str) -> Tensor:
        return self.table[tokens]

    def logits(self, tokens: Tensor) -> Tensor:
        return self.table[tokens] @ self.table.T

    def logits_from(self, residual: Tensor, hook: str) -> Tensor:
        return residual @ self.table.T

    def logits_with(self, tokens: Tensor, hook: str, edit: object) -> Tensor:
        return self.logits(tokens)

    def editable(self, tokens: Tensor, hook: str, position: int) -> EditablePrompts:
        raise AssertionError("nothing runs on from an embedding here")
