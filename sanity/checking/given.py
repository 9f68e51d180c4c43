"""A trained SAE as somebody gives it, in the one form that everything here computes with.

Linear encoder, threshold or top-k, linear decoder: whatever a library calls its classes, that is what is
left. What had to be changed for it is said in `notes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.models import Architecture, Autoencoder, JumpReLU, ReLU, TopK, Transcoder
from sanity.models.validation import check_weights

InputScale = Literal["raw", "expected norm", "centred", "before the gain"]
"""What an SAE takes: activations as they are; times sqrt(d_in) / E||x||; or less their mean, and times one
factor, as the arms of this package do. A transcoder also: its MLP's input before the gain of the norm."""

_UNIT = 1e-5


@dataclass(frozen=True, eq=False)
class SAEParts:
    """The tensors of an SAE as they were found, and how its library uses them.

    `autoencoder` checks their shapes (W_enc [d_in, d_sae], W_dec [d_sae, d_in]) and makes one form of all:

    pre = (x - b_dec) W_enc + b_enc, without b_dec where `subtracts` is False. Active are the `k` largest
    positive ones, or those above 0 and their `threshold`. With `by_length`, a latent counts times the
    length of its decoder row when the k largest, or those above the threshold, are chosen.
    """

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    k: int | None = None
    subtracts: bool = True
    by_length: bool = False
    transcoder: bool = False
    """Whether it writes another activation than it reads; then nothing is subtracted."""
    W_skip: Tensor | None = None
    """A transcoder's, [d_in, d_out]."""

    def autoencoder(self, where: str) -> tuple[Autoencoder, list[str]]:
        """The same function as an `Autoencoder`, and what was done for it; `where` is for errors."""
        notes = []
        names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "W_skip")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if types := {str(v.dtype).removeprefix("torch.") for v in given.values()} - {"float32"}:
            notes.append(f"weights stored as {', '.join(sorted(types))}, computed in float32")
        given = {name: value.detach().cpu().double() for name, value in given.items()}
        if (
            given["W_enc"].shape == given["W_dec"].shape
            and given["W_enc"].shape[0] != given["W_enc"].shape[1]
        ):
            notes.append("the encoder is stored [d_sae, d_in]: transposed")
            given["W_enc"] = given["W_enc"].T
        check_weights(where, given, transcoder=self.transcoder)
        if not self.subtracts and not self.transcoder:
            given["b_enc"] = given["b_enc"] + given["b_dec"] @ given["W_enc"]
            notes.append(
                "the decoder's bias is not subtracted from the input: folded into the encoder's bias"
            )
        notes += _with_unit_rows(given, fold=self.k is None or self.by_length, scaled=self.by_length)
        made = {name: value.float() for name, value in given.items()}
        # The kernels read the encoder a latent per contiguous row.
        made["W_enc"] = made["W_enc"].T.contiguous().T
        kind: Architecture = ReLU(1.0) if self.threshold is None else JumpReLU(1.0)
        architecture = TopK(self.k) if self.k else kind
        if self.transcoder:
            return Transcoder(**made, architecture=architecture), notes
        return Autoencoder(**made, architecture=architecture), notes


def _with_unit_rows(given: dict[str, Tensor], *, fold: bool, scaled: bool) -> list[str]:
    """Bring decoder rows to length 1 in place, where that changes no reconstruction; what was done."""
    lengths = torch.linalg.vector_norm(given["W_dec"], dim=1)
    low, high = float(lengths.min()), float(lengths.max())
    if max(abs(low - 1), abs(high - 1)) <= _UNIT:
        return []
    words = f"decoder rows are {low:.3g} to {high:.3g} long"
    if not fold:
        return [f"{words}: kept, since the k largest are chosen without them"]
    lengths = torch.where(lengths > 0, lengths, 1.0)
    given["W_dec"] = given["W_dec"] / lengths[:, None]
    given["W_enc"] = given["W_enc"] * lengths
    given["b_enc"] = given["b_enc"] * lengths
    # A threshold on what is already times the length stays as it is.
    if "threshold" in given and not scaled:
        given["threshold"] = given["threshold"] * lengths
    return [f"{words}: folded into the encoder, so that all are 1"]


@dataclass(frozen=True, eq=False)
class GivenSAE:
    """An SAE that was trained elsewhere."""

    sae: Any
    """For activations in one of `scales`: an `Autoencoder`, or an object that passes `check_sae`."""
    name: str
    library: str
    recipe: Architecture
    """What its nulls are trained as; its L0 is a placeholder (see `recipe_at`)."""
    model: str | None = None
    hook: str | None = None
    notes: tuple[str, ...] = ()
    scales: tuple[InputScale, ...] = ("raw",)
    """What it may take, where its configuration leaves that open: the one it explains most in is taken."""
    path: str = ""
    """Where it was found, as given; empty for an object."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """As read, for display only."""

    @cached_property
    def weights(self) -> str:
        """A hash of what it computes; of an object, on some random inputs."""
        d_sae, d_in = self.sae.W_dec.shape
        if not self.can_be_kept:
            x = 3 * torch.randn(64, d_in, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                z = self.sae.encode(x.to(self.sae.W_dec))
                said = {"W_dec": self.sae.W_dec, "z": z, "x_hat": self.sae.decode(z)}
            return digest({name: _hash_of(value) for name, value in said.items()})
        state = [self.sae.architecture, [d_sae, d_in]]
        named = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "W_skip")
        there = {name: value for name in named if (value := getattr(self.sae, name, None)) is not None}
        return digest([*state, {name: _hash_of(value) for name, value in there.items()}])

    @property
    def can_be_kept(self) -> bool:
        """Whether its weights say all of it; any other object exists in this process alone."""
        return isinstance(self.sae, Autoencoder)

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return int(self.sae.W_dec.shape[0])

    @property
    def d_in(self) -> int:
        """Width of what it takes."""
        return int(getattr(self.sae, "d_in", self.sae.W_dec.shape[1]))

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes another activation than it reads."""
        return isinstance(self.sae, Transcoder)

    def recipe_at(self, l0: float) -> Architecture:
        """What its nulls are trained as, at a whole L0 of at least 1."""
        return self.recipe.at_l0(max(1, min(self.d_sae, round(l0))))


def given(
    parts: SAEParts, recipe: Architecture | None, *, name: str, library: str, notes: list[str], **more: Any
) -> GivenSAE:
    """A `GivenSAE` of these parts; without a recipe, what the parts look like."""
    sae, done = parts.autoencoder(name)
    return GivenSAE(sae, name, library, recipe or sae.architecture, notes=(*notes, *done), **more)


def required(tensors: Mapping[str, Tensor], where: str, *names: str) -> Tensor:
    """The first of some names that a checkpoint has."""
    for name in names:
        if name in tensors:
            return tensors[name]
    raise BadInputError(
        f"{where} has no tensor {' or '.join(names)}; it has: {', '.join(sorted(tensors)) or 'none'}"
    )


def no_crosscoder(name: str, kind: str) -> BadInputError:
    """Why a crosscoder is not checked, and what can be done with it."""
    return BadInputError(
        f"{name} is a crosscoder ({kind}), and the check reads one hook: its folder does not say which hooks "
        "or models it is for. Give its layers' weights joined, as an object with encode, decode, W_dec, to "
        'sanity.evaluate(it, sanity.sources.Layers((hook, hook)), ["reconstruction", "crosscoding"]), which '
        "centres and scales each layer; nulls to hold it against are arms on a source of `kind: layers`"
    )


def _hash_of(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()
