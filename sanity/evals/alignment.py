"""Cosines between directions: to their own start, between encoder and decoder, and what chance gives.

The exact isotropic nulls are in `sanity.evals.sphere`; real dictionaries are not isotropic, so
`covariance_matched_max_cosine` draws a null with a covariance.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.evals.feature_recovery import max_cosines
from sanity.evals.inputs import SparseAutoencoder, require_finite, require_width, unit_rows
from sanity.evals.score import Score

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@checked
@torch.no_grad()
def row_cosines(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d_b"], *, names: tuple[str, str] = ("a", "b")
) -> Float[Tensor, " n"]:
    """Cosine of each row of `a` with the same row of `b`, in float64.

    >>> row_cosines(torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    if a.shape != b.shape:
        raise BadInputError(
            f"{names[0]} has shape {list(a.shape)} and {names[1]} {list(b.shape)}: "
            "rows are compared in pairs, so the shapes must be equal"
        )
    left, right = (unit_rows(name, rows.detach().double()) for name, rows in zip(names, (a, b), strict=True))
    return (left * right.to(left.device)).sum(1).clamp(-1.0, 1.0)


@checked
def cosine_to_init(W: Float[Tensor, "d_sae d_in"], W0: Float[Tensor, "m d_0"]) -> Score:
    """Cosine of the latents' directions to those they started from, averaged over latents.

    `row_cosines(W, W0)` gives them one by one. For encoders pass `W_enc.T`. Ceiling: nothing has turned.
    Floor: 0, the expectation for directions that have nothing to do with their start. The direction of the
    scale says nothing about which is good.
    """
    return _mean_cosine("cosine_to_init", row_cosines(W, W0, names=("W", "W0")))


@checked
def encoder_decoder_cosine(sae: SparseAutoencoder) -> Score:
    """Cosine of each latent's encoder and decoder directions, averaged over latents.

    Ceiling: tied. Floor: 0, the expectation for directions that have nothing to do with each other.
    """
    return _mean_cosine("encoder_decoder_cosine", encoder_decoder_cosines(sae))


@checked
def encoder_decoder_cosines(sae: SparseAutoencoder) -> Float[Tensor, " d_sae"]:
    """Cosine of each latent's encoder and decoder directions.

    Raises `BadInputError` for an SAE without `W_enc` [d_in, d_sae].
    """
    W_enc = getattr(sae, "W_enc", None)
    if not isinstance(W_enc, Tensor):
        raise BadInputError(f"{type(sae).__name__} has no W_enc [d_in, d_sae] to compare its decoder with")
    return row_cosines(W_enc.T, sae.W_dec, names=("W_enc.T", "W_dec"))


@checked
def cosine_quantiles(cosines: Float[Tensor, " n"]) -> dict[str, float]:
    """Mean and quantiles of `cosines`: mean, q05, q25, q50, q75, q95."""
    levels = torch.tensor(QUANTILES, dtype=torch.float64, device=cosines.device)
    quantiles = torch.quantile(cosines.double(), levels).tolist()
    named = {f"q{100 * q:02.0f}": value for q, value in zip(QUANTILES, quantiles, strict=True)}
    return {"mean": float(cosines.mean()), **named}


@checked
@torch.no_grad()
def covariance_matched_max_cosine(
    targets: Float[Tensor, "n d"],
    covariance: Float[Tensor, "d_a d_b"],
    m: int,
    *,
    seed: int,
    draws: int = 1,
) -> Float[Tensor, "draws n"]:
    """Largest cosine of each target to m random directions with the given covariance: an empirical null.

    The directions are zero-mean Gaussian, as a dictionary would be that knew only which directions of the
    space vary (the paper's `cov` initialisation). With the identity it is the isotropic null.
    """
    if m < 1 or draws < 1:
        raise BadInputError(f"m={m} directions in draws={draws} were asked for: ask for at least 1 of both")
    d = targets.shape[1]
    for side in covariance.shape:
        require_width("the covariance", side, d, "the targets")
    require_finite("the covariance", covariance)
    values, vectors = torch.linalg.eigh(covariance.double().cpu())
    if float(values.max()) <= 0 or float(values.min()) < -1e-6 * float(values.max()):
        raise BadInputError(
            f"the covariance has eigenvalues from {float(values.min()):.3g} to {float(values.max()):.3g}: "
            "none may be negative and not all may be 0"
        )
    root = (vectors * values.clamp(min=0).sqrt()).T.float()
    # The bare seed may have made the targets: the null must not draw the same numbers again.
    own_seed = int(digest(["covariance-matched null", seed])[:8], 16)
    generator = torch.Generator().manual_seed(own_seed)
    nulls = [
        max_cosines(targets, (torch.randn(m, d, generator=generator) @ root).to(targets))
        for _ in range(draws)
    ]
    return torch.stack(nulls)


def _mean_cosine(metric: str, cosines: Float[Tensor, " n"]) -> Score:
    value = float(cosines.mean())
    return Score(metric, value, 0.0, 1.0, True, n=len(cosines), unit="latent", version="1")
