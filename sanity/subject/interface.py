"""What the book asks of a language model: tokens to residual stream, residual stream to logits.

Hooks are named as transformer-lens names them, `blocks.K.hook_resid_pre` and `blocks.K.hook_resid_post`.
The residual stream that leaves block K is the one that enters block K + 1, so what matters is a hook's depth:
the number of blocks, 0 to n, that its activation has passed (`depth_of`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError, SanityError, reason_of
from sanity.subject.modules import find_blocks, forms_of, weights_sha256
from sanity.subject.running_on import EditablePrompts, editable_prompts

Edit = Callable[[Tensor], Tensor]

ALIKE = 3
"""With how many tokens both sequences of the self-test begin."""
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "context_length", "seq_length")
_ENDLESS = 2**31 - 1
"""The context of a model whose configuration names no longest sequence."""
_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")


@runtime_checkable
class Subject(Protocol):
    """A causal language model, read and edited at its residual stream.

    Sequences are given as token ids without an attention mask: attention is causal, so what is padded on
    the right changes nothing before it.
    """

    name: str
    backend: str
    d_model: int
    n_layers: int
    context: int
    """Longest sequence, in tokens."""
    vocab: int
    tokenizer: Any
    hooks: tuple[str, ...]
    device: torch.device
    dtype: torch.dtype

    @property
    def weights_sha256(self) -> str:
        """Of all parameters: the same for both backends, different for other weights or another dtype."""

    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Next-token logits."""

    def residual(self, tokens: Int[Tensor, "batch pos"], hook: str) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream at `hook`; the blocks after it are not run."""

    def logits_from(
        self, residual: Float[Tensor, "batch pos d_model"], hook: str
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the model run on from `residual` at `hook`; the blocks before it are not run."""

    def logits_with(
        self, tokens: Int[Tensor, "batch pos"], hook: str, edit: Edit
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits with the residual stream at `hook` replaced by `edit` of it."""

    def editable(self, tokens: Int[Tensor, "batch pos"], hook: str, position: int) -> EditablePrompts:
        """Prompts of one length, ready to be run on from `hook` with another residual at `position`."""


def hook_names(n_layers: int) -> tuple[str, ...]:
    """The hooks of a model of `n_layers` blocks, from input to output."""
    return tuple(f"blocks.{layer}.hook_resid_{end}" for layer in range(n_layers) for end in ("pre", "post"))


def depth_of(hook: str, n_layers: int, name: str) -> int:
    """How many blocks the activation at `hook` has passed, 0 to `n_layers`.

    >>> depth_of("blocks.10.hook_resid_post", 30, "smollm2-135m")
    11
    """
    match = _HOOK.fullmatch(hook)
    if match is None or int(match[1]) >= n_layers:
        raise BadInputError(
            f"{name} has no hook {hook!r}: it has {n_layers} blocks, with blocks.K.hook_resid_pre and "
            f"blocks.K.hook_resid_post for K from 0 to {n_layers - 1}"
        )
    return int(match[1]) + (match[2] == "post")


def check_finite(activations: Float[Tensor, "batch pos d_model"], hook: str, name: str) -> None:
    """Raise `BadInputError` saying where, if an activation is NaN or infinite."""
    finite = torch.isfinite(activations)
    if not bool(finite.all()):
        row, position, unit = (int(index) for index in (~finite).nonzero()[0])
        raise BadInputError(
            f"the activation of {name} at {hook} is {float(activations[row, position, unit])} for sequence "
            f"{row} of the batch, position {position}, unit {unit} ({int((~finite).sum())} values in all are "
            "not finite): try dtype=torch.float32, and look at that sequence"
        )


def agree(found: Float[Tensor, "*any"], wanted: Float[Tensor, "*any"]) -> None:
    """Raise `ValueError` unless two results are one up to rounding: by the root mean square of both."""
    if found.shape != wanted.shape:
        raise ValueError(f"it gives shape {list(found.shape)} instead of {list(wanted.shape)}")
    off = float((found.double() - wanted.double()).pow(2).mean().sqrt())
    size = float(wanted.double().pow(2).mean().sqrt())
    # Rounding in 16 bits adds up over the blocks; what is wrong is off by about 1.
    if not off <= (1e-3 if torch.finfo(wanted.dtype).bits > 16 else 0.15) * size:
        raise ValueError(f"it is off by {off / size if size else off:.2g} of its size")


class LoadedSubject(ABC):
    """A `Subject` over a transformers module: the checks are here, a backend adds how to run it.

    Nothing of the model learns (its parameters want no gradients). `logits_from` and `logits_with` let
    gradients through to what they are given, so that masks and rotations can be fitted through the model;
    `residual` and `logits` record none.
    """

    backend: str

    def __init__(self, name: str, module: Any, tokenizer: Any) -> None:
        config = module.config.get_text_config()
        self.name = name
        self.tokenizer = tokenizer
        self.d_model = int(config.hidden_size)
        self.n_layers = int(config.num_hidden_layers)
        self.context = next(
            (int(n) for name in _LENGTHS if (n := getattr(config, name, None)) is not None), _ENDLESS
        )
        self.vocab = int(config.vocab_size)
        self.hooks = hook_names(self.n_layers)
        self.device = torch.device(module.device)
        self.dtype: torch.dtype = module.dtype
        self._plain = module
        self._plain_blocks = find_blocks(module)[1]
        # A dozen tokens through the module itself, before anything wraps it: see `selftest`.
        dozen = (torch.arange(1, 13) * max(1, self.vocab // 13) % self.vocab).view(2, 6).to(self.device)
        dozen[1, :ALIKE] = dozen[0, :ALIKE]
        with torch.no_grad():
            logits, self._forms = forms_of(module, self._plain_blocks, dozen)
        self.reference = (dozen, logits)

    @cached_property
    def weights_sha256(self) -> str:
        """Of all parameters: the same for both backends, different for other weights or another dtype."""
        return weights_sha256(self._plain)

    @checked
    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Next-token logits, without gradients."""
        tokens = self._checked(tokens)
        with torch.no_grad():
            return self._logits(tokens)

    @checked
    def residual(self, tokens: Int[Tensor, "batch pos"], hook: str) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream at `hook`, without gradients; the blocks after it are not run."""
        return self.residuals(tokens, (hook,))[0]

    @checked
    def residuals(
        self, tokens: Int[Tensor, "batch pos"], hooks: Sequence[str]
    ) -> list[Float[Tensor, "batch pos d_model"]]:
        """The residual stream at each of `hooks`, from one pass that ends at the last of them."""
        depths, tokens = [self._depth(hook) for hook in hooks], self._checked(tokens)
        with torch.no_grad():
            found = self._residuals(tokens, depths)
        for hook, residual in zip(hooks, found, strict=True):
            check_finite(residual, hook, self.name)
        return found

    @checked
    def logits_from(
        self, residual: Float[Tensor, "batch pos d_model"], hook: str
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the model run on from `residual` at `hook`; the blocks before it are not run."""
        depth = self._depth(hook)
        self._check_width(residual, hook)
        self._check_length(residual.shape[1])
        check_finite(residual, hook, self.name)
        return self._logits_from(residual.to(self.device, self.dtype), depth)

    @checked
    def logits_with(
        self, tokens: Int[Tensor, "batch pos"], hook: str, edit: Edit
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits with the residual stream at `hook` replaced by `edit` of it (of the same shape)."""
        depth, tokens = self._depth(hook), self._checked(tokens)

        def checked_edit(found: Tensor) -> Tensor:
            edited = edit(found)
            if not isinstance(edited, Tensor) or edited.shape != found.shape:
                what = f"shape {list(edited.shape)}" if isinstance(edited, Tensor) else type(edited).__name__
                raise BadInputError(
                    f"the edit at {hook} returned {what}, but was given "
                    f"{list(found.shape)}: return the same shape"
                )
            check_finite(edited, hook, self.name)
            return edited.to(found)

        return self._logits_with(tokens, depth, checked_edit)

    @checked
    def editable(self, tokens: Int[Tensor, "batch pos"], hook: str, position: int) -> EditablePrompts:
        """Prompts of one length, ready to be run on from `hook` with another residual at `position`.

        What they give equals `logits_with` an edit at that position, at a fraction of its work: keys and
        values before the position are kept, and the plain module underneath the backend runs on from there.
        """
        depth, tokens = self._depth(hook), self._checked(tokens)
        try:
            prompts = editable_prompts(
                self._plain, self._plain_blocks, self._forms, tokens, depth=depth, position=position
            )
            some = torch.arange(min(2, len(tokens)), device=self.device)
            with torch.no_grad():
                agree(prompts.logits(prompts.found[some], some), self._logits(tokens[some])[:, -1])
        except SanityError:
            raise
        except Exception as error:
            raise BadInputError(
                f"{self.name} cannot be run on from the middle of its prompts, as its kind of cache is not "
                f"that of a plain transformer ({reason_of(error)}): take another language model"
            ) from error
        check_finite(prompts.residual, hook, self.name)
        return prompts

    @abstractmethod
    def _logits(self, tokens: Tensor) -> Tensor: ...

    @abstractmethod
    def _residuals(self, tokens: Tensor, depths: Sequence[int]) -> list[Tensor]: ...

    @abstractmethod
    def _logits_from(self, residual: Tensor, depth: int) -> Tensor: ...

    @abstractmethod
    def _logits_with(self, tokens: Tensor, depth: int, edit: Edit) -> Tensor: ...

    def _depth(self, hook: str) -> int:
        return depth_of(hook, self.n_layers, self.name)

    def _checked(self, tokens: Tensor) -> Tensor:
        """`tokens` on the model's device, after a look at their length and range."""
        self._check_length(tokens.shape[1])
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocab:
            raise BadInputError(
                f"token ids reach from {int(tokens.min())} to {int(tokens.max())}, but {self.name} has 0 to "
                f"{self.vocab - 1}: tokenise with its own tokenizer"
            )
        return tokens.to(self.device, torch.long)

    def _check_length(self, length: int) -> None:
        if length > self.context:
            raise BadInputError(
                f"sequences of {length} tokens are longer than the context of {self.name}, which is "
                f"{self.context}: cut them shorter"
            )

    def _check_width(self, residual: Tensor, hook: str) -> None:
        if residual.shape[-1] != self.d_model:
            raise BadInputError(
                f"the activation given for {hook} has width {residual.shape[-1]}, but {self.name} has "
                f"d_model {self.d_model}"
            )
