"""Whether a dictionary holds the true features of a synthetic world (Section 3 and Appendix B of the paper).

A feature is recovered when the largest cosine of a decoder direction to it is above `RECOVERED`. Cosines are
signed: coefficients are positive, so a decoder direction that points the other way does not stand for the
feature. Where another library takes absolute cosines, `absolute=True` does the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.inputs import CHUNK_ELEMENTS, require_width, unit_rows
from sanity.evals.score import Score
from sanity.evals.sphere import expected_max_cosine, log_any_above

RECOVERED = 0.8
"""Cosine above which a feature counts as recovered, as in the paper."""


@checked
@torch.no_grad()
def nearest_latents(
    features: Float[Tensor, "n_features d_in"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    absolute: bool = False,
) -> tuple[Float[Tensor, " n_features"], Int[Tensor, " n_features"]]:
    """For each feature the largest cosine of a decoder direction to it, and which latent has it.

    Raises `BadInputError` for widths that differ, rows of length 0, and numbers that are not finite.
    """
    features, W_dec = _comparable(features, W_dec)
    rows = max(1, CHUNK_ELEMENTS // len(W_dec))
    best = []
    for part in torch.split(features, rows):
        cosines = part @ W_dec.T
        best.append((cosines.abs_() if absolute else cosines).max(1))
    values = torch.cat([b.values for b in best]).clamp(-1.0, 1.0)
    return values, torch.cat([b.indices for b in best])


@checked
def max_cosines(
    features: Float[Tensor, "n_features d_in"], W_dec: Float[Tensor, "d_sae d_dec"]
) -> Float[Tensor, " n_features"]:
    """For each feature the largest cosine of a decoder direction to it.

    >>> max_cosines(torch.eye(2), torch.tensor([[3.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    return nearest_latents(features, W_dec)[0]


@checked
def recovery(
    features: Float[Tensor, "n_features d_in"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    threshold: float = RECOVERED,
    probabilities: Float[Tensor, " n_weights"] | None = None,
) -> Score:
    """Share of the features that some decoder direction matches with a cosine above `threshold`.

    With `probabilities`, each feature counts as often as it is active: the share of all activations that
    belong to recovered features, `frequency_weighted_recovery`. Floor: the share that as many random
    directions would recover, exactly (practically 0 in the paper's world).
    """
    return recovery_of(max_cosines(features, W_dec), W_dec, threshold=threshold, probabilities=probabilities)


@checked
def recovery_of(
    cosines: Float[Tensor, " n_features"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    threshold: float = RECOVERED,
    probabilities: Float[Tensor, " n_weights"] | None = None,
) -> Score:
    """`recovery`, from the `max_cosines` of a dictionary that are known already."""
    d_sae, d_in = W_dec.shape
    floor = math.exp(log_any_above(d_in, d_sae, threshold))
    metric = "recovery" if probabilities is None else "frequency_weighted_recovery"
    value = _mean((cosines > threshold).double(), probabilities)
    return Score(metric, value, floor, 1.0, True, n=len(cosines), unit="feature", version="1")


@checked
def mean_max_cosine(features: Float[Tensor, "n_features d_in"], W_dec: Float[Tensor, "d_sae d_dec"]) -> Score:
    """Largest cosine of a decoder direction to a feature, averaged over the features.

    Floor: its expectation for as many random directions, exactly.
    """
    return mean_max_cosine_of(max_cosines(features, W_dec), W_dec)


@checked
def mean_max_cosine_of(cosines: Float[Tensor, " n_features"], W_dec: Float[Tensor, "d_sae d_dec"]) -> Score:
    """`mean_max_cosine`, from the `max_cosines` of a dictionary that are known already."""
    d_sae, d_in = W_dec.shape
    floor = expected_max_cosine(d_in, d_sae)
    value = _mean(cosines.double(), None)
    return Score("mean_max_cosine", value, floor, 1.0, True, n=len(cosines), unit="feature", version="1")


@dataclass(frozen=True, eq=False)
class Matching:
    """Pairs of features and latents, none used twice, with the largest sum of cosines."""

    features: Int[Tensor, " pairs"]
    latents: Int[Tensor, " pairs"]
    cosines: Float[Tensor, " pairs"]


@checked
@torch.no_grad()
def one_to_one(
    features: Float[Tensor, "n_features d_in"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    absolute: bool = False,
) -> Matching:
    """The one-to-one matching of features and latents with the largest sum of cosines (Hungarian).

    Holds all n_features * d_sae cosines; about a second for 3,200 by 3,200.
    """
    features, W_dec = _comparable(features, W_dec)
    cosines = features @ W_dec.T
    cosines = (cosines.abs_() if absolute else cosines).double().cpu()
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    matched, latents = torch.from_numpy(rows), torch.from_numpy(columns)
    return Matching(matched, latents, cosines[matched, latents].clamp(-1.0, 1.0))


@checked
def mean_matched_cosine(
    features: Float[Tensor, "n_features d_in"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    absolute: bool = False,
) -> Score:
    """Mean cosine of the one-to-one matched pairs (MCC: "mean correlation coefficient").

    Floor: the same for a random dictionary of the same size against random features (one seeded draw,
    remembered; it averages over all pairs).
    """
    matching = one_to_one(features, W_dec, absolute=absolute)
    floor = _matched_by_chance(len(features), len(W_dec), features.shape[1], absolute)
    value, n = float(matching.cosines.mean()), len(matching.cosines)
    return Score("mean_matched_cosine", value, floor, 1.0, True, n=n, unit="pair", version="1")


@checked
def uniqueness(
    features: Float[Tensor, "n_features d_in"],
    W_dec: Float[Tensor, "d_sae d_dec"],
    *,
    absolute: bool = False,
) -> Score:
    """Number of different features that are nearest to some latent, divided by the number of latents.

    Floor: its expectation when every latent picks a feature at random. Ceiling: no feature picked twice.
    """
    _, picked = nearest_latents(W_dec, features, absolute=absolute)
    n, m = len(features), len(W_dec)
    floor = -math.expm1(m * math.log1p(-1 / n)) * n / m if n > 1 else 1 / m
    value = len(torch.unique(picked)) / m
    return Score("uniqueness", value, floor, min(1.0, n / m), True, n=m, unit="latent", version="1")


@checked
def recovery_by_frequency(
    cosines: Float[Tensor, " n_features"],
    probabilities: Float[Tensor, " n_features"],
    *,
    threshold: float = RECOVERED,
    bins: int = 12,
    n_samples: int | None = None,
) -> pd.DataFrame:
    """Recovery within equal bins of log10 p: one row per bin that holds a feature, rare to frequent.

    Columns: p_low, p_high, features, recovered (share), mean_max_cosine, and with `n_samples` times_seen, the
    mean expected number of samples in which a feature of the bin was active.
    """
    if bins < 1:
        raise BadInputError(f"{bins} bins were asked for: ask for at least 1")
    p, values = probabilities.double().cpu().numpy(), cosines.double().cpu().numpy()
    logs = np.log10(p)
    edges = np.linspace(logs.min(), logs.max(), bins + 1) if logs.max() > logs.min() else logs[[0, 0]]
    which = np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, len(edges) - 2)
    frame = pd.DataFrame({"bin": which, "p": p, "recovered": values > threshold, "cosine": values})
    grouped = frame.groupby("bin")
    table = pd.DataFrame(
        {
            "p_low": 10 ** edges[grouped.size().index],
            "p_high": 10 ** edges[grouped.size().index + 1],
            "features": grouped.size(),
            "recovered": grouped["recovered"].mean(),
            "mean_max_cosine": grouped["cosine"].mean(),
        }
    )
    if n_samples is not None:
        table["times_seen"] = grouped["p"].mean() * n_samples
    return table.reset_index(drop=True)


def _comparable(
    features: Float[Tensor, "n_features d_in"], W_dec: Float[Tensor, "d_sae d_dec"]
) -> tuple[Float[Tensor, "n_features d_in"], Float[Tensor, "d_sae d_dec"]]:
    """Both with rows of length 1, in one dtype of at least float32, on one device."""
    require_width("W_dec", W_dec.shape[1], features.shape[1], "the features")
    if not len(features) or not len(W_dec):
        raise BadInputError(
            f"{len(features)} features and {len(W_dec)} latents were given: give some of both"
        )
    dtype = torch.promote_types(torch.promote_types(features.dtype, W_dec.dtype), torch.float32)
    return (
        unit_rows("features", features.to(W_dec.device, dtype)),
        unit_rows("W_dec", W_dec.detach().to(dtype)),
    )


def _mean(values: Float[Tensor, " n_features"], weights: Float[Tensor, " n_weights"] | None) -> float:
    if weights is None:
        return float(values.mean())
    if len(weights) != len(values):
        raise BadInputError(
            f"{len(weights)} probabilities were given for {len(values)} features: give one each"
        )
    weights = weights.to(values)
    if not bool((weights >= 0).all()) or not float(weights.sum()) > 0:
        raise BadInputError("the probabilities must be finite, not negative, and not all 0")
    return float((values * weights).sum() / weights.sum())


@lru_cache(maxsize=64)
def _matched_by_chance(n_features: int, d_sae: int, d_in: int, absolute: bool) -> float:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n_features, d_in, generator=generator)
    W_dec = torch.randn(d_sae, d_in, generator=generator)
    return float(one_to_one(features, W_dec, absolute=absolute).cosines.mean())
