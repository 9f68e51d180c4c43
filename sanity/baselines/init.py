"""Where directions start: uniform on the sphere, or as the data vary (the paper, Section 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.errors import BadInputError
from sanity.models.arm import Init, Iso

__all__ = ["Cov", "Iso"]


@dataclass(frozen=True)
class Cov(Init):
    """Zero-mean Gaussian directions with the covariance of the activations, normalised.

    The Gaussian matrix is the one `Iso` uses, times the symmetric square root of the covariance: with an
    isotropic covariance both give the same directions.
    """

    name: ClassVar[str] = "cov"

    @override
    def directions(
        self,
        gaussian: Float[Tensor, "d_sae d_in"],
        covariance: Callable[[], Float[Tensor, "d_in d_in"]],
    ) -> Float[Tensor, "d_sae d_in"]:
        given = covariance().to("cpu", torch.float64)
        if not bool(given.isfinite().all()):
            raise BadInputError("the activations' covariance is not finite: check them for NaN and overflow")
        values, vectors = torch.linalg.eigh((given + given.T) / 2)
        if float(values[-1]) <= 0:
            raise BadInputError("the activations do not vary: a cov init needs data with variance")
        root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
        return functional.normalize(gaussian.double() @ root, dim=1).to(gaussian.dtype)
