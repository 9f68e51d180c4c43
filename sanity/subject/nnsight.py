"""The nnsight backend: traces over the transformers module, with its own attention kernels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sanity.subject.interface import Edit, LoadedSubject
from sanity.subject.modules import find_blocks, hidden_of, in_form, with_hidden


class NNsightSubject(LoadedSubject):
    """A subject that nnsight traces; `traced` is its `NNsight` object, for all its other hooks."""

    backend = "nnsight"

    def __init__(self, name: str, module: Any, tokenizer: Any) -> None:
        from nnsight import NNsight

        super().__init__(name, module, tokenizer)
        self.traced = NNsight(module)
        self._blocks = functools.reduce(getattr, find_blocks(module)[0].split("."), self.traced)

    def _logits(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self._plain(tokens, use_cache=False).logits
        return logits

    def _residuals(self, tokens: Tensor, depths: Sequence[int]) -> list[Tensor]:
        found: dict[int, Any] = {}
        with self.traced.trace(tokens, use_cache=False) as tracer:
            for depth in sorted(set(depths)):
                block: Any = self._blocks[max(0, depth - 1)]
                reached: Any = hidden_of(block.output) if depth else block.input
                # A later block may work in place.
                found[depth] = (reached if depth == max(depths) else reached.clone()).save()
            tracer.stop()
        return [found[depth] for depth in depths]

    def _logits_from(self, residual: Tensor, depth: int) -> Tensor:
        # The embedding of these tokens is thrown away: the first block that runs is given `residual`.
        tokens = residual.new_zeros(residual.shape[:2], dtype=torch.long)
        with self.traced.trace(tokens, use_cache=False):
            if depth == 0:
                self._blocks[0].input = residual
            for layer in range(depth):
                self._blocks[layer].skip(in_form(self._forms[layer], residual))
            found = self.traced.output.logits.save()
        logits: Tensor = found
        return logits

    def _logits_with(self, tokens: Tensor, depth: int, edit: Edit) -> Tensor:
        with self.traced.trace(tokens, use_cache=False):
            if depth == 0:
                self._blocks[0].input = edit(self._blocks[0].input)
            else:
                output = self._blocks[depth - 1].output
                self._blocks[depth - 1].output = with_hidden(output, edit(hidden_of(output)))
            found = self.traced.output.logits.save()
        logits: Tensor = found
        return logits
