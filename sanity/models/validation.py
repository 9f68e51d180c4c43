"""What makes a set of tensors an SAE: shapes that belong together, one floating type, finite numbers.

Every checkpoint, whoever wrote it, and every `Autoencoder` is held against this one definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sanity.errors import BadInputError

TENSORS = ("W_enc", "W_dec", "b_enc", "b_dec")
"""What every SAE has; some have a `threshold` [d_sae], too."""


def check_weights(
    where: str, weights: Mapping[str, Any], *, finite: bool = True, transcoder: bool = False
) -> None:
    """Raise `BadInputError` in the name of `where` unless `weights` are those of one SAE.

    Wanted are `TENSORS`, and `threshold` where there is one: W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_enc
    and threshold [d_sae], b_dec [d_in], all of one floating type, on one device. Other names are ignored.
    `finite` looks at every number, too. A `transcoder`'s W_enc may have another d_in, and it may have W_skip
    [d_in, d_out].
    """
    more = ("threshold", "W_skip") if transcoder else ("threshold",)
    given = {name: weights[name] for name in (*TENSORS, *more) if weights.get(name) is not None}
    if missing := [name for name in TENSORS if name not in given]:
        raise BadInputError(f"{where} lacks {', '.join(missing)}: an SAE has {', '.join(TENSORS)}")
    for name, value in given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise BadInputError(f"{where}: {name} must be a floating-point tensor, not {described(value)}")
    W_dec = given["W_dec"]
    if W_dec.ndim != 2 or 0 in W_dec.shape:
        raise BadInputError(
            f"{where}: W_dec must be [d_sae, d_in] with at least one latent, not {described(W_dec)}"
        )
    d_sae, d_in = W_dec.shape
    W_enc = given["W_enc"]
    read = W_enc.shape[0] if transcoder and W_enc.ndim == 2 else d_in
    shapes = {"W_enc": (read, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,), "W_skip": (read, d_in)}
    for name, value in given.items():
        wanted = shapes.get(name, (d_sae,))
        if tuple(value.shape) != wanted:
            raise BadInputError(
                f"{where}: {name} has shape {list(value.shape)}, but {list(wanted)} goes with W_dec "
                f"[d_sae {d_sae}, d_in {d_in}]: is it transposed, or of another SAE?"
            )
    if len({(value.dtype, value.device) for value in given.values()}) > 1:
        told = ", ".join(f"{name} {value.dtype} on {value.device}" for name, value in given.items())
        raise BadInputError(f"{where} mixes types or devices ({told}): convert all to one, with .to()")
    if finite and (bad := [name for name, value in given.items() if not bool(value.isfinite().all())]):
        raise BadInputError(
            f"{where} holds NaN or infinite values in {', '.join(bad)}: train or load it again"
        )


def described(value: Any) -> str:
    """A value in the words of an error message."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"a tensor {list(value.shape)}" + ("" if value.dtype == torch.float32 else f" of {value.dtype}")
