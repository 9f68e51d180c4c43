"""Gaussian noise with a given covariance, as a stream: activations without any structure beyond it.

What an arm does on this stream it does for the covariance alone, not for features.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.data.synthetic import generator_of_step, seed_of
from sanity.engine.config import digest
from sanity.errors import BadInputError


class GaussianStream:
    """Batches of Gaussian noise of mean 0 with the shape of `covariance`, scaled so that E||x||^2 = d_in.

    Each batch is a pure function of (covariance, name, seed, batch_size, step), in any order.

    Parameters
    ----------
    covariance : [d_in, d_in]
        Of the activations that are to be matched.
    name
        What the covariance is of, such as the key of the stream it comes from: it is part of the `key`.
    """

    def __init__(
        self, covariance: Float[Tensor, "d_in d_other"], *, batch_size: int, seed: int, name: str
    ) -> None:
        if covariance.shape[0] != covariance.shape[1] or batch_size < 1:
            raise BadInputError(
                f"a Gaussian stream was given a covariance {list(covariance.shape)} and batches of "
                f"{batch_size}: the covariance must be square, and a batch hold at least 1 sample"
            )
        values, vectors = torch.linalg.eigh(covariance.double().cpu())
        if not bool(values.isfinite().all()) or float(values.max()) <= 0:
            raise BadInputError("a Gaussian stream was given a covariance without variance, or not finite")
        if float(values.min()) < -1e-5 * float(values.max()):
            raise BadInputError(
                f"a Gaussian stream was given a covariance with the eigenvalue {float(values.min()):.3g}: "
                "none may be negative"
            )
        values = values.clamp_min(0.0)
        self.d_in, self.batch_size = covariance.shape[0], batch_size
        scaled = values * (self.d_in / float(values.sum()))
        self._root: Tensor = (vectors * scaled.sqrt()).T.to(covariance)
        self._covariance: Tensor = ((vectors * scaled) @ vectors.T).to(covariance)
        self.centre = covariance.new_zeros(self.d_in)
        self.factor = math.sqrt(self.d_in / float(values.sum()))
        made_of = ["gaussian", name, seed, batch_size]
        self._first_seed = seed_of(*made_of)
        self.key = f"gaussian-{digest([*made_of, str(covariance.dtype), covariance.device.type])}"

    def batch(self, step: int) -> Float[Tensor, "batch d_in"]:
        """The batch of a step."""
        device = self._root.device
        generator = generator_of_step(self._first_seed, step, device)
        shape = (self.batch_size, self.d_in)
        return torch.randn(shape, generator=generator, device=device, dtype=self._root.dtype) @ self._root

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """The exact covariance of what `batch` gives."""
        return self._covariance
