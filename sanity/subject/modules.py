"""Handling of plain transformers modules: their blocks, a run that stops early, weights shared and hashed."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sanity.errors import BadInputError

Form = tuple[type, int] | None
"""How a block returns hidden states: alone, or first in a tuple or list of so many."""


def find_blocks(module: Any) -> tuple[str, nn.ModuleList]:
    """The path and the list of a causal language model's transformer blocks (`model.layers`, ...)."""
    n_layers = module.config.get_text_config().num_hidden_layers
    found = [
        (path, child)
        for path, child in module.named_modules()
        if isinstance(child, nn.ModuleList) and len(child) == n_layers
    ]
    if not found:
        raise BadInputError(
            f"{type(module).__name__} has no list of {n_layers} transformer blocks: only decoder-only models "
            "with one stack of blocks can be studied"
        )
    path, blocks = min(found, key=lambda entry: entry[0].count("."))
    return path, blocks


class _StopError(Exception):
    """Ends a forward pass when what was wanted is known."""


def residual_after(
    module: Any, blocks: nn.ModuleList, tokens: Int[Tensor, "batch pos"], depth: int, *, cache: Any = None
) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream that has passed `depth` blocks; the blocks after them are not run.

    With a transformers `cache` of keys and values, `tokens` go on where it ends.
    """
    return residuals_after(module, blocks, tokens, (depth,), cache=cache)[0]


def residuals_after(
    module: Any,
    blocks: nn.ModuleList,
    tokens: Int[Tensor, "batch pos"],
    depths: Sequence[int],
    *,
    cache: Any = None,
) -> list[Float[Tensor, "batch pos d_model"]]:
    """The same after each of `depths` blocks, from one run that ends at the last of them."""
    kept: dict[int, Tensor] = {}

    def keep(depth: int, hidden: Tensor) -> None:
        if depth == max(depths):
            kept[depth] = hidden
            raise _StopError
        kept[depth] = hidden.clone()  # a later block may work in place

    def keep_input(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        keep(0, arguments[0] if arguments else named["hidden_states"])

    with contextlib.ExitStack() as stack, contextlib.suppress(_StopError):
        for depth in set(depths):
            handle = (
                blocks[0].register_forward_pre_hook(keep_input, with_kwargs=True)
                if depth == 0
                else blocks[depth - 1].register_forward_hook(
                    lambda block, arguments, output, depth=depth: keep(depth, hidden_of(output))
                )
            )
            stack.callback(handle.remove)
        module(tokens, past_key_values=cache, use_cache=cache is not None)
    return [kept[depth] for depth in depths]


def mlp_pass(
    module: Any,
    block: nn.Module,
    mlp: nn.Module,
    writes: nn.Module,
    tokens: Int[Tensor, "batch pos"],
    *,
    edit: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What a block's MLP is given, what it puts out, and the residual stream after the block [batch, pos, d].

    `writes` is the module whose output is added to the stream: the MLP itself, or a norm after it. With
    `edit`, the block goes on with that of this output. What comes after the block is not run.
    """
    kept: dict[str, Any] = {}

    def keep_input(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        kept["in"] = arguments[0] if arguments else next(iter(named.values()))

    def keep_output(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        kept["out"] = output
        return None if edit is None else edit(output)

    def stop(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        kept["after"] = hidden_of(output)
        raise _StopError

    with contextlib.ExitStack() as stack, contextlib.suppress(_StopError):
        for handle in (
            mlp.register_forward_pre_hook(keep_input, with_kwargs=True),
            writes.register_forward_hook(keep_output),
            block.register_forward_hook(stop),
        ):
            stack.callback(handle.remove)
        module(tokens, use_cache=False)
    return kept["in"], kept["out"], kept["after"]


@contextlib.contextmanager
def passed_by(blocks: nn.ModuleList, forms: Sequence[Form], hidden: Tensor) -> Iterator[None]:
    """While this lasts, `blocks` only return `hidden`, in the form in which each returns it."""
    # nnsight has put forwards of its own there.
    before = [block.__dict__.get("forward") for block in blocks]
    for block, form in zip(blocks, forms, strict=True):
        output = in_form(form, hidden)
        block.__dict__["forward"] = lambda *arguments, output=output, **named: output
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is None:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = own


@contextlib.contextmanager
def entered_at(blocks: nn.ModuleList, forms: Sequence[Form], depth: int, hidden: Tensor) -> Iterator[None]:
    """While this lasts, a run of the module is given `hidden` after `depth` blocks, which are not run."""

    def give(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        return ((hidden, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": hidden})

    with contextlib.ExitStack() as stack:
        stack.enter_context(passed_by(blocks[:depth], forms[:depth], hidden))
        if depth < len(blocks):
            stack.callback(blocks[depth].register_forward_pre_hook(give, with_kwargs=True).remove)
        yield


def hidden_of(output: Any) -> Tensor:
    """The hidden states in what a block returns: the tensor itself, or the first of a tuple or list."""
    hidden: Tensor = output[0] if isinstance(output, tuple | list) else output
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """What a block returned, with other hidden states in it."""
    return type(output)((hidden, *output[1:])) if isinstance(output, tuple | list) else hidden


def in_form(form: Form, hidden: Tensor) -> Any:
    """Hidden states as a block returns them, with nothing next to them."""
    return hidden if form is None else form[0]((hidden, *[None] * (form[1] - 1)))


def forms_of(
    module: Any, blocks: nn.ModuleList, tokens: Int[Tensor, "batch pos"]
) -> tuple[Tensor, list[Form]]:
    """Logits of `tokens`, and what form each block gave its output on the way."""
    forms: dict[int, Form] = {}

    def note(layer: int, output: Any) -> None:
        forms[layer] = (type(output), len(output)) if isinstance(output, tuple | list) else None

    with contextlib.ExitStack() as stack:
        for layer, block in enumerate(blocks):
            hook = block.register_forward_hook(lambda _, given, output, layer=layer: note(layer, output))
            stack.callback(hook.remove)
        logits: Tensor = module(tokens, use_cache=False).logits
    return logits, [forms.get(layer) for layer in range(len(blocks))]


def twin(module: nn.Module) -> nn.Module:
    """A copy of `module` whose parameters and buffers are those of the original, not copies."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared)


def weights_sha256(module: nn.Module) -> str:
    """Hash of names, types, shapes and values of all parameters; tied ones count once."""
    state = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        state.update(f"{name} {parameter.dtype} {list(parameter.shape)}\n".encode())
        raw = parameter.detach().cpu().contiguous().view(-1).view(torch.uint8)
        state.update(raw.numpy().data)
    return state.hexdigest()
