"""What evals ask of their inputs, refused in words where it does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.models.encoding import stacked
from sanity.models.selection import Rows

# Elements of the largest temporary array that an eval makes: 64 MiB in float32.
CHUNK_ELEMENTS = 2**24
# Samples held in sparse form at a time.
_SPARSE_ROWS = 4096


@runtime_checkable
class SparseAutoencoder(Protocol):
    """The part of a sparse autoencoder that evals read."""

    @property
    def W_dec(self) -> Tensor:
        """Decoder directions [d_sae, d_in]."""

    def encode(self, x: Tensor) -> Tensor:
        """Latents [batch, d_sae] of activations [batch, d_in]."""

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions [batch, d_in] of latents [batch, d_sae]."""


def require_finite(name: str, values: Float[Tensor, "*any"]) -> None:
    """Raise `BadInputError` with the place of the first NaN or infinite value, if `values` hold one."""
    # A sum is NaN or infinite whenever a term is, and takes no second array; it may also overflow by itself.
    if bool(torch.isfinite(values.sum())):
        return
    bad = ~torch.isfinite(values)
    if not bool(bad.any()):
        return
    place = torch.nonzero(bad)[0].tolist()
    value = float(values[tuple(place)])
    raise BadInputError(
        f"{name} of shape {list(values.shape)} holds {int(bad.sum())} NaN or infinite values, "
        f"the first at {place} ({value}): an eval needs finite numbers"
    )


def require_width(name: str, width: int, expected: int, of: str) -> None:
    """Raise `BadInputError` when `name` is not as wide as `of`."""
    if width != expected:
        raise BadInputError(f"{name} is {width} wide and {of} {expected}: both must live in the same space")


def unit_rows(name: str, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """`vectors` with rows of length 1.

    Raises `BadInputError` where a row has no direction.
    """
    require_finite(name, vectors)
    # Dividing by the largest entry first keeps the squares of very small and very large rows in range.
    largest = vectors.abs().amax(1, keepdim=True)
    zero = torch.nonzero(largest[:, 0] == 0)
    if len(zero):
        raise BadInputError(
            f"{name} of shape {list(vectors.shape)} has {len(zero)} rows of length 0, the first is row "
            f"{int(zero[0])}: a cosine with it is not defined"
        )
    return functional.normalize(vectors / largest, dim=1)


def active_latents(sae: SparseAutoencoder, x: Float[Tensor, "n d_in"]) -> Rows:
    """Every active latent of the rows of `x` with its value, sparse.

    This is what *active* means in every eval: the value is not 0, whatever its sign. An SAE that has
    `encode_sparse` is read through it, others in parts that keep memory bounded.
    """
    x = x.to(sae.W_dec)
    encode_sparse = getattr(sae, "encode_sparse", None)
    if callable(encode_sparse):
        found: Rows = encode_sparse(x)
        return found
    codes = (sae.encode(part).detach() for part in torch.split(x, max(1, CHUNK_ELEMENTS // len(sae.W_dec))))
    return stacked([Rows.of(z) for z in codes])


def coded(
    sae: SparseAutoencoder, x: Float[Tensor, "n d_in"]
) -> Iterator[tuple[Int[Tensor, " d_sae"], Float[Tensor, "part d_in"]]]:
    """How often each latent is active in a part of the rows of `x`, and the reconstruction of that part (a
    transcoder's: of its target).

    Parts keep memory bounded. An SAE that has `encode_sparse` and `decode_sparse` is read through these.
    """
    d_sae, d_in = sae.W_dec.shape
    require_width("x", x.shape[1], getattr(sae, "d_in", d_in), "what it reads")
    skip = getattr(sae, "skip", None)  # what a transcoder adds to what its latents say
    encode_sparse, decode_sparse = (getattr(sae, f"{verb}_sparse", None) for verb in ("encode", "decode"))
    if callable(encode_sparse) and callable(decode_sparse):
        for part in torch.split(x.to(sae.W_dec), _SPARSE_ROWS):
            entries = encode_sparse(part)
            x_hat = decode_sparse(entries)
            yield torch.bincount(entries.latents, minlength=d_sae), x_hat + skip(part) if skip else x_hat
        return
    for part in torch.split(x.to(sae.W_dec), max(1, CHUNK_ELEMENTS // d_sae)):
        z = sae.encode(part)
        yield torch.count_nonzero(z, dim=0), sae.decode(z)


def reconstructed(sae: SparseAutoencoder, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
    """The SAE's reconstruction of `x`, where `x` lives and in its type; checked to be finite."""
    x_hat = torch.cat([part for _, part in coded(sae, x)])
    require_finite("the reconstruction", x_hat)
    return x_hat.to(x)
