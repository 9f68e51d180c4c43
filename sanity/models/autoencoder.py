"""A trained sparse autoencoder: encode, decode, reconstruct, and what any other SAE must offer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import CheckedDataclass, checked, usable_device
from sanity.engine.products import product
from sanity.errors import BadInputError, SanityError, reason_of
from sanity.models.encoding import select
from sanity.models.kernels import block_rows, weighted_sums
from sanity.models.selection import Rows
from sanity.models.sparsity import Architecture, TopK
from sanity.models.validation import check_weights, described

_ROWS = 4096
"""Samples that `reconstruct` holds in sparse form at a time."""


@dataclass(eq=False)
class Autoencoder(CheckedDataclass):
    """z = select((x - b_dec) W_enc + b_enc),  x_hat = z W_dec + b_dec, with unit rows in W_dec.

    Attributes
    ----------
    W_enc : [d_in, d_sae]
        Usually a view of a contiguous [d_sae, d_in], which is what the kernels read.
    W_dec : [d_sae, d_in]
    b_enc : [d_sae]
    b_dec : [d_in]
        Subtracted before encoding and added after decoding.
    architecture
        How latents are selected. Evaluation uses its inference rule: BatchTopK and Matryoshka need
        `threshold`, TopK has none.
    threshold : [d_sae] or None
        A latent is active when its pre-activation is positive and above this.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_enc: Float[Tensor, " d_sae"]
    b_dec: Float[Tensor, " d_in"]
    architecture: Architecture
    threshold: Float[Tensor, " d_sae"] | None = None

    def __post_init__(self) -> None:
        check_weights(f"an Autoencoder with {self.architecture.label}", vars(self), finite=False)
        self.architecture.check(self.d_sae)
        if self.threshold is None and self.architecture.threshold != "none":
            raise BadInputError(
                f"an Autoencoder with {self.architecture.label} needs a threshold to be evaluated: "
                "give one per latent, as training does"
            )

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.W_dec.shape[0]

    @checked
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Dense latents [*batch, d_sae]; for many samples `encode_sparse` needs far less memory.

        Gradients flow through the values of the active latents, where they are asked for.
        """
        rows = self._rows_of(x)
        z = self.encode_sparse(rows).dense()
        if torch.is_grad_enabled() and (x.requires_grad or self.W_enc.requires_grad):
            z = product(self._read(rows), self.W_enc.T, self.b_enc) * (z > 0)
        return z.view(*x.shape[:-1], self.d_sae)

    @checked
    def decode(self, z: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction [*batch, d_in] of dense latents."""
        return z @ self.W_dec + self.b_dec

    def encode_sparse(self, x: Float[Tensor, "batch d_in"], *, precision: str = "float32") -> Rows:
        """The active latents and their values, row by row (CSR); memory grows with the active ones only.

        `precision="bf16"` rounds the dense product and takes about half of the time; values and the choice
        between candidates stay exact. No gradients flow.
        """
        rule = self.architecture.inference_rule(self.threshold)
        rows = self._rows_of(x)
        with torch.no_grad():
            return select(self._read(rows), self.W_enc.T, self.b_enc, rule, precision=precision)

    def decode_sparse(self, z: Rows) -> Float[Tensor, "batch d_in"]:
        """The reconstruction of what `encode_sparse` gave, or of a part of it."""
        with torch.no_grad():
            return weighted_sums(z, self.W_dec).add_(self.b_dec)

    @checked
    def reconstruct(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """`decode(encode(x))` without ever holding dense latents of more than a block of rows.

        Where a gradient with respect to `x` is needed, it is the dense `decode(encode(x))`.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            return self.decode(self.encode(x))
        rows = self._rows_of(x)
        out = torch.empty_like(rows)
        for first in range(0, rows.shape[0], _ROWS):
            out[first : first + _ROWS] = self.decode_sparse(self.encode_sparse(rows[first : first + _ROWS]))
        return out.view(x.shape)

    @checked
    def calibrate_l0(self, x: Float[Tensor, "batch d_in"], target: float) -> Autoencoder:
        """The same SAE with one global threshold offset (TopK: another k) at which L0 on `x` is `target`.

        Within 2 %, else `BadInputError`: no offset activates a latent that is not positive.
        """
        if not 0 < target <= self.d_sae:
            raise BadInputError(
                f"calibrate_l0 was asked for an L0 of {target:g} with {self.d_sae} latents: "
                "ask for one above 0 and at most d_sae"
            )
        rows = self._rows_of(x).detach()
        if isinstance(self.architecture, TopK):
            k = max(1, round(target))
            calibrated = dataclasses.replace(self, architecture=dataclasses.replace(self.architecture, k=k))
        else:
            threshold = torch.zeros_like(self.b_enc) if self.threshold is None else self.threshold
            offset = self._offset(rows, threshold, target)
            calibrated = dataclasses.replace(self, threshold=threshold + offset)
        achieved = calibrated.encode_sparse(rows).latents.numel() / rows.shape[0]
        if abs(achieved / target - 1) > 0.02:
            raise BadInputError(
                f"{self.architecture.label} reaches an L0 of {achieved:.4g} where {target:g} was "
                f"asked for, on {rows.shape[0]} samples: take more samples, or a target within reach"
            )
        return calibrated

    @checked
    def fold_normalisation(self, centre: Float[Tensor, " d_in"], factor: float) -> Autoencoder:
        """The SAE for raw activations, given that this one takes `(x_raw - centre) * factor`.

        Latents come out divided by `factor`; the decoder keeps its unit rows.
        """
        if len(centre) != self.d_in or not factor > 0:
            raise BadInputError(
                f"an SAE of width {self.d_in} was given a centre of {len(centre)} numbers and factor "
                f"{factor}: both are those of the activations it was trained on, the factor above 0"
            )
        centre = centre.to(self.b_dec)
        return dataclasses.replace(
            self,
            b_enc=self.b_enc / factor,
            b_dec=self.b_dec / factor + centre,
            threshold=None if self.threshold is None else self.threshold / factor,
        )

    @checked
    def to(
        self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Autoencoder:
        """The same SAE elsewhere or in another floating type."""
        if dtype is not None and not dtype.is_floating_point:
            raise BadInputError(f"an SAE cannot be of {dtype}: choose a floating type")
        move: Any = {"device": None if device is None else usable_device(device), "dtype": dtype}
        encoder = self.W_enc.T.to(**move).T
        others = {name: getattr(self, name).to(**move) for name in ("W_dec", "b_enc", "b_dec")}
        for name in ("threshold", "W_skip"):
            if getattr(self, name, None) is not None:
                others[name] = getattr(self, name).to(**move)
        return dataclasses.replace(self, W_enc=encoder, **others)

    def _read(self, rows: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_in"]:
        """What the encoder multiplies."""
        return rows - self.b_dec

    def _rows_of(self, x: Tensor) -> Float[Tensor, "rows d_in"]:
        if x.shape[-1] != self.d_in:
            raise BadInputError(
                f"an SAE of width {self.d_in} was given activations of width {x.shape[-1]}: "
                "use the layer and model that it was trained on"
            )
        return x.reshape(-1, self.d_in)

    @torch.no_grad()
    def _offset(
        self, x: Float[Tensor, "batch d_in"], threshold: Float[Tensor, " d_sae"], target: float
    ) -> float:
        """The offset above which `target` latents per sample lie, among those that are positive."""
        wanted = round(target * x.shape[0])
        best = np.empty(0, dtype=np.float64)
        block = block_rows(x.shape[0], self.d_sae, torch.device("cpu"))
        for first in range(0, x.shape[0], block):
            pre = product(self._read(x[first : first + block]), self.W_enc.T, self.b_enc)
            above = (pre - threshold)[pre > 0]
            best = np.concatenate([best, above.cpu().double().numpy()])
            if best.size > wanted + 1:
                best = np.partition(best, best.size - wanted - 1)[best.size - wanted - 1 :]
        if best.size <= wanted:
            return float(best.min() - 1) if best.size else 0.0
        lowest = np.partition(best, 1)[:2]
        return float(lowest.mean())


def check_sae(sae: Any) -> None:
    """Check that any object can be evaluated as an SAE, with an error that says what is missing.

    Wanted: `encode(x [n, d_in]) -> z [n, d_sae]`, `decode(z) -> x_hat [n, d_in]` and `W_dec [d_sae, d_in]`,
    all finite, and of an `Autoencoder` every weight. Gradients are not needed. Whatever is wrong, also what
    the object's own code raises, is a `BadInputError`.
    """
    kind = type(sae).__name__
    try:
        _check_parts(sae, kind)
        with torch.no_grad():
            _check_calls(sae, kind)
    except SanityError:
        raise
    except Exception as error:
        raise BadInputError(f"{kind} cannot be used as an SAE: it raises {reason_of(error)}") from error


def _check_parts(sae: Any, kind: str) -> None:
    missing = [name for name in ("encode", "decode", "W_dec") if not hasattr(sae, name)]
    if missing:
        raise BadInputError(
            f"{kind} cannot be used as an SAE: it has no {', no '.join(missing)}; "
            "wanted are encode(x) -> z, decode(z) -> x_hat and W_dec [d_sae, d_in]"
        )
    if isinstance(sae, Autoencoder):
        check_weights(kind, vars(sae))
        sae.architecture.check(sae.d_sae)
    W_dec = sae.W_dec
    if not isinstance(W_dec, Tensor) or W_dec.ndim != 2 or 0 in W_dec.shape or not W_dec.is_floating_point():
        raise BadInputError(
            f"{kind}.W_dec must be a floating-point tensor [d_sae, d_in], not {described(W_dec)}"
        )
    if not bool(W_dec.isfinite().all()):
        raise BadInputError(f"{kind}.W_dec holds NaN or infinite values: load or train it again")


def _check_calls(sae: Any, kind: str) -> None:
    d_sae, d_in = sae.W_dec.shape
    x = torch.randn(5, d_in, generator=torch.Generator().manual_seed(0)).to(sae.W_dec)
    z = sae.encode(x)
    _check_output(f"{kind}.encode(x [5, {d_in}])", z, (5, d_sae))
    _check_output(f"{kind}.decode(z [5, {d_sae}])", sae.decode(z), (5, d_in))


def _check_output(call: str, value: Any, shape: tuple[int, int]) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        raise BadInputError(f"{call} must give a tensor of shape {list(shape)}, not {described(value)}")
    if not bool(value.isfinite().all()):
        raise BadInputError(f"{call} gives NaN or infinite values: check the weights and the input's scale")
