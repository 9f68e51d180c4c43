"""The plain autoencoder with the weights of the fast way."""

from __future__ import annotations

import torch
from torch import Tensor

from sanity.models import Architecture, Autoencoder
from sanity.models.gradients import Weights
from sanity.models.plain import PlainAutoencoder


def twin_of(architecture: Architecture, weights: Weights, smallest: float = 0.0) -> PlainAutoencoder:
    """A plain autoencoder with a copy of `weights`, as it trains."""
    plain = PlainAutoencoder(architecture, weights.W_dec)
    values = {"W_enc": weights.W_enc_t.T, "b_enc": weights.b_enc, "b_dec": weights.b_dec}
    with torch.no_grad():
        for name, value in values.items():
            getattr(plain, name).copy_(value)
        if weights.log_threshold is not None:
            plain.log_theta.copy_(weights.log_threshold)
        plain.smallest.fill_(smallest)
    return plain


def finished_twin_of(sae: Autoencoder) -> PlainAutoencoder:
    """A plain autoencoder with the weights of `sae`, as it is evaluated."""
    averaged = sae.architecture.threshold == "averaged"
    learned = sae.architecture.threshold == "learned"
    assert sae.threshold is not None or not (averaged or learned)
    threshold = sae.threshold.log() if learned and sae.threshold is not None else None
    smallest = float(sae.threshold[0]) if averaged and sae.threshold is not None else 0.0
    weights = Weights(sae.W_enc.T, sae.W_dec, sae.b_enc, sae.b_dec, threshold)
    return twin_of(sae.architecture, weights, smallest).eval()


def gradients_of(plain: PlainAutoencoder) -> dict[str, Tensor | None]:
    """Its gradients, named and laid out as those of the fast way."""
    W_enc = plain.W_enc.grad
    found = {name: getattr(plain, name).grad for name in ("W_dec", "b_enc", "b_dec")}
    found["W_enc"] = None if W_enc is None else W_enc.T
    return {**found, "threshold": plain.log_theta.grad} if hasattr(plain, "log_theta") else found
