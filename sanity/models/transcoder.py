"""A trained transcoder: latents read one place of a model and write to another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.models.autoencoder import Autoencoder
from sanity.models.sparsity import Architecture
from sanity.models.validation import check_weights

_ROWS = 4096


@dataclass(eq=False)
class Transcoder(Autoencoder):
    """z = select(x W_enc + b_enc),  t_hat = z W_dec + b_dec (+ x W_skip), with unit rows in W_dec.

    It is an `Autoencoder` in all that concerns its latents. Its inputs are read as they are, as in SAELens:
    no bias is subtracted. `decode` is what the latents add, `reconstruct` the whole estimate of the target.

    Attributes
    ----------
    W_skip : [d_in, d_out] or None
        An affine map from input to target next to the latents (Paulo, Shabalin and Belrose 2501.18823).
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_enc: Float[Tensor, " d_sae"]
    b_dec: Float[Tensor, " d_out"]
    architecture: Architecture
    threshold: Float[Tensor, " d_sae"] | None = None
    W_skip: Float[Tensor, "d_in d_out"] | None = None

    @override
    def __post_init__(self) -> None:
        where = f"a Transcoder with {self.architecture.label}"
        check_weights(where, vars(self), finite=False, transcoder=True)
        self.architecture.check(self.d_sae)
        if self.threshold is None and self.architecture.threshold != "none":
            raise BadInputError(f"{where} needs a threshold to be evaluated: give one per latent")

    @property
    @override
    def d_in(self) -> int:
        """Width of the inputs."""
        return self.W_enc.shape[0]

    @property
    def d_out(self) -> int:
        """Width of the targets."""
        return self.W_dec.shape[1]

    @override
    def _read(self, rows: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_in"]:
        return rows

    def skip(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"] | float:
        """What reaches the target past the latents."""
        return 0.0 if self.W_skip is None else x @ self.W_skip

    @checked
    @override
    def reconstruct(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The estimate of the target: latents, bias and skip."""
        if torch.is_grad_enabled() and x.requires_grad:
            return self.decode(self.encode(x)) + self.skip(x)
        rows = self._rows_of(x)
        parts = [
            self.decode_sparse(self.encode_sparse(part)) + self.skip(part)
            for part in torch.split(rows, _ROWS)
        ]
        return torch.cat(parts).view(*x.shape[:-1], self.d_out)

    @override
    def fold_normalisation(self, centre: Float[Tensor, " d_in"], factor: float) -> Autoencoder:
        """Refused: inputs and targets have a scale each; see `for_raw`."""
        raise BadInputError("a transcoder has two normalisations: use for_raw(centre, factor, ...)")

    @checked
    def for_raw(
        self,
        centre: Float[Tensor, " d_in"],
        factor: float,
        target_centre: Float[Tensor, " d_out"],
        target_factor: float,
    ) -> Transcoder:
        """The transcoder from raw inputs to raw targets, given that this one takes and gives
        `(raw - centre) * factor` of each.

        Latents come out divided by `target_factor`; the decoder keeps its unit rows.
        """
        scale = factor / target_factor
        shifted = self.b_enc - factor * (centre @ self.W_enc)
        bias = self.b_dec / target_factor + target_centre
        return dataclasses.replace(
            self,
            W_enc=self.W_enc * scale,
            b_enc=shifted / target_factor,
            b_dec=bias if self.W_skip is None else bias - scale * (centre @ self.W_skip),
            threshold=None if self.threshold is None else self.threshold / target_factor,
            W_skip=None if self.W_skip is None else self.W_skip * scale,
        )
