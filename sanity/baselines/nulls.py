"""Dictionaries that are wrong on purpose: an SAE with its decoder permuted or rotated; and random choices.

Such an SAE keeps its encoder, and so every latent's activation; only what its latents are taken to mean
changes.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.models.autoencoder import Autoencoder


@checked
def permuted_decoder(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The SAE with its decoder rows re-paired at random: the same directions, on the wrong latents."""
    order = torch.randperm(sae.d_sae, generator=torch.Generator().manual_seed(seed))
    return dataclasses.replace(sae, W_dec=sae.W_dec[order.to(sae.W_dec.device)])


@checked
def rotated_decoder(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The SAE with its decoder turned by one random rotation: the angles between rows stay the same."""
    turned = sae.W_dec.double() @ random_rotation(sae.d_in, seed=seed).to(sae.W_dec.device)
    return dataclasses.replace(sae, W_dec=functional.normalize(turned, dim=1).to(sae.W_dec.dtype))


@checked
def random_rotation(d: int, *, seed: int) -> Float[Tensor, "d d"]:
    """A rotation drawn uniformly (Haar), float64 on the CPU.

    The orthogonal factor of a Gaussian matrix, with the signs that make it uniform and its determinant 1.
    """
    drawn = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q: Tensor
    q, r = torch.linalg.qr(drawn)
    q = q * r.diagonal().sign()
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q


@checked
def random_latents(n: int, d_sae: int, *, seed: int) -> Tensor:
    """`n` different latents of `d_sae`, in ascending order [n], for controls by random choice."""
    if not 0 <= n <= d_sae:
        raise BadInputError(f"random_latents was asked for {n} of {d_sae} latents: ask for at most all")
    chosen = torch.randperm(d_sae, generator=torch.Generator().manual_seed(seed))[:n]
    return chosen.sort().values
