"""A dozen tokens through a subject when it is loaded: does its backend do what the plain module does?

Families of models differ in what their blocks take and return, and a backend that does not know one may fail
in the middle of a run, or answer with other numbers and say nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sanity.errors import BadInputError, reason_of
from sanity.subject.interface import ALIKE, LoadedSubject, agree


def self_test(subject: LoadedSubject) -> None:
    """Raise `BadInputError` in words unless reading and splicing agree with the plain module.

    At the first, the middle and the last hook, and after the first block of every class. The dozen are two
    sequences: into one the residual stream is spliced as it is, into the other with its units moved by one.
    It costs as much as eight passes of a dozen tokens.
    """
    tokens, wanted = subject.reference

    def holds(what: str, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception as error:
            plain = type(error) in (ValueError, BadInputError)
            raise BadInputError(
                f"{subject.backend} does not run {subject.name} ({type(subject._plain).__name__}) as "
                f"transformers does, at {what}: {error if plain else reason_of(error)}"
            ) from error

    holds("its attention, which is not causal", lambda: agree(wanted[0, :ALIKE], wanted[1, :ALIKE]))
    holds("its logits", lambda: agree(subject.logits(tokens), wanted))
    for depth in _depths(subject):
        hook = f"blocks.{depth - 1}.hook_resid_post" if depth else "blocks.0.hook_resid_pre"
        holds(hook, lambda hook=hook: _check_hook(subject, tokens, wanted, hook))  # type: ignore[misc]


def _check_hook(subject: LoadedSubject, tokens: Tensor, wanted: Tensor, hook: str) -> None:
    residual = subject.residual(tokens, hook)
    if residual.shape != (*tokens.shape, subject.d_model):
        raise ValueError(f"the residual stream has shape {list(residual.shape)}")
    moved = torch.cat([residual[:1], residual[1:].roll(1, -1)])
    seen: list[Tensor] = []

    def splice(found: Tensor) -> Tensor:
        seen.append(found)
        return moved

    edited = subject.logits_with(tokens, hook, splice)
    if not seen:
        raise ValueError("no edit is asked for")
    agree(seen[0], residual)
    agree(edited[0], wanted[0])
    agree(edited, subject.logits_from(moved, hook))
    if bool((edited[1] == wanted[1]).all()):
        raise ValueError("an edit changes nothing")


def _depths(subject: LoadedSubject) -> list[int]:
    kinds = [type(block) for block in subject._plain_blocks]
    first = {kinds.index(kind) + 1 for kind in set(kinds)}
    return sorted({0, subject.n_layers // 2, subject.n_layers, *first})
