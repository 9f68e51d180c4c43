"""Running a model on from one position of its prompts: what is edited there reaches the last prediction.

An edit at one position changes nothing before it. So keys and values of the earlier positions are computed
once, the blocks below the hook are never run again, and above it only the positions from the edited one on
are, with logits at the last position alone. For a short question after the edited token this saves most of
the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sanity.errors import BadInputError
from sanity.subject.modules import Form, entered_at, residual_after

KeysValues = tuple[Tensor, Tensor]
"""Of one block: both [batch, heads, positions, d_head]."""

# Prompts that are read at a time.
_ROWS = 64


@dataclass(frozen=True, eq=False)
class EditablePrompts:
    """Prompts of one length, stopped at one position: the residual stream there may be replaced."""

    residual: Float[Tensor, "n rest d_model"]
    """At the hook, from the edited position on."""
    shared: Sequence[KeysValues]
    """Of each block above the hook: of the tokens with which all prompts begin (a batch of one)."""
    own: Sequence[KeysValues]
    """The same, of the tokens between these and the edited position, for every prompt."""
    module: Any
    blocks: nn.ModuleList
    forms: Sequence[Form]
    depth: int

    def __len__(self) -> int:
        return len(self.residual)

    @property
    def found(self) -> Float[Tensor, "n d_model"]:
        """The residual stream at the hook and the position that is to be edited."""
        return self.residual[:, 0]

    def logits(
        self, edited: Float[Tensor, "rows d_model"], rows: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows vocab"]:
        """Next-token logits of the prompts `rows` with `edited` in place of `found[rows]`.

        Gradients flow to `edited` where it asks for them.
        """
        hidden = torch.cat([edited[:, None].to(self.residual), self.residual[rows, 1:]], dim=1)
        above = [
            (_joined(s[0], o[0], rows), _joined(s[1], o[1], rows))
            for s, o in zip(self.shared, self.own, strict=True)
        ]
        tokens = hidden.new_zeros(hidden.shape[:2], dtype=torch.long)
        with entered_at(self.blocks, self.forms, self.depth, hidden), _whole_rows(self.module):
            found = self.module(
                tokens, past_key_values=_cache(above, below=self.depth), use_cache=True, logits_to_keep=1
            )
        logits: Tensor = found.logits[:, -1]
        return logits


@torch.no_grad()
def editable_prompts(
    module: Any,
    blocks: nn.ModuleList,
    forms: Sequence[Form],
    tokens: Int[Tensor, "n pos"],
    *,
    depth: int,
    position: int,
) -> EditablePrompts:
    """Read `tokens` through `module` as far as `position` asks for; `depth` blocks are below the hook."""
    n, length = tokens.shape
    if not n or not 0 <= position < length:
        raise BadInputError(
            f"prompts of shape {[n, length]} have no position {position} to edit: "
            f"give at least one prompt, and a position from 0 to {length - 1}"
        )
    alike = (tokens[:, :position] == tokens[:1, :position]).all(0)
    first = int(alike.long().cumprod(0).sum())
    begin = _keys_values(module, tokens[:1, :first], [])
    shared: list[KeysValues] = []
    own: list[list[KeysValues]] = []
    residual = []
    for part in torch.split(tokens, _ROWS):
        before = [(k.expand(len(part), -1, -1, -1), v.expand(len(part), -1, -1, -1)) for k, v in begin]
        before = _keys_values(module, part[:, first:position], before)
        shared = [(k[:1, :, :first], v[:1, :, :first]) for k, v in before[depth:]]
        own.append([(k[:, :, first:], v[:, :, first:]) for k, v in before[depth:]])
        cache = _cache(before, below=0)
        residual.append(residual_after(module, blocks, part[:, position:], depth, cache=cache))
    together = [
        (torch.cat([k for k, _ in of]), torch.cat([v for _, v in of])) for of in zip(*own, strict=True)
    ]
    return EditablePrompts(torch.cat(residual), shared, together, module, blocks, forms, depth)


@contextlib.contextmanager
def _whole_rows(module: Any) -> Iterator[None]:
    """Meanwhile the last positions are copied together before the vocabulary is multiplied with them.

    As a slice of all positions torch multiplies them one by one, and that took two thirds of the time.
    """
    head = module.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda layer, given: (given[0].contiguous(), *given[1:]))
    try:
        yield
    finally:
        handle.remove()


def _joined(shared: Tensor, own: Tensor, rows: Int[Tensor, " rows"]) -> Tensor:
    """What comes before the edited position, for some prompts."""
    return torch.cat([shared.expand(len(rows), -1, -1, -1), own[rows]], dim=2)


def _cache(kept: Sequence[KeysValues], *, below: int) -> Any:
    """A cache for transformers that holds `kept`, after `below` blocks that will not run."""
    from transformers import DynamicCache

    if not kept:
        return DynamicCache()
    # The first block's entry tells how many positions have passed; the others may be empty.
    unused = [tuple(x[:1, :1] for x in kept[0]) if layer == 0 else (None, None) for layer in range(below)]
    return DynamicCache(ddp_cache_data=[*unused, *kept])


def _keys_values(
    module: Any, tokens: Int[Tensor, "batch pos"], before: Sequence[KeysValues]
) -> list[KeysValues]:
    """Keys and values of every block, of what came before and of `tokens`; none for no tokens at all."""
    if tokens.shape[1] == 0:
        return list(before)
    cache = _cache(before, below=0)
    module(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return [(layer.keys, layer.values) for layer in cache.layers]
