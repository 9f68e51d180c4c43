"""Whether latents that two seeds share are true features more often than the others."""

from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from sanity.evals import log_any_above, max_cosines
from sanity.evals.feature_recovery import RECOVERED
from sanity.models.objectives import agreed_latents


def agreement(
    dictionaries: list[tuple[int, Float[Tensor, "d_sae d_in"]]], features: Float[Tensor, "n_features d_in"]
) -> pd.DataFrame:
    """Whether latents that the next seed has too are true features more often than the others.

    `dictionaries` are (seed, decoder rows). One row per pair of neighbouring seeds; `chance` is the exact
    share of shared latents of two random dictionaries.
    """
    rows = []
    for (seed, W_dec), (other, against) in pairwise(dictionaries):
        shared = agreed_latents(W_dec, [against], RECOVERED)
        true = max_cosines(W_dec, features) > RECOVERED
        rows.append(
            {
                "seeds": f"{seed}, {other}",
                "shared": float(shared.double().mean()),
                "chance": math.exp(log_any_above(W_dec.shape[1], len(against), RECOVERED)),
                "true_if_shared": _share(true, shared),
                "true_if_not": _share(true, ~shared),
                "found_by_sharing": _share(shared, true),
            }
        )
    return pd.DataFrame(rows)


def _share(what: Tensor, among: Tensor) -> float:
    return float(what[among].double().mean()) if bool(among.any()) else float("nan")
