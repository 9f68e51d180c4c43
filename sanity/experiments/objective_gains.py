"""What an objective buys next to plain training: at the end, and at equal explained variance."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sanity.evals import log_any_above, max_cosines
from sanity.models.objectives import agreed_latents

AGREE = 0.8
"""Cosine from which two directions count as one: the paper's bar for recovery."""


def gains(scores: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """What each objective changes against plain training of the same architecture and seed.

    Columns: explained_variance, recovery, dead_latents, l0 of the objective; `ev_gain` and `recovery_gain` at
    the end; `equal_ev`, the highest explained variance that both reach, and the recovery that either has when
    it first gets there (`recovery_at_equal_ev`, `plain_at_equal_ev`).
    """
    run = ["architecture", "objective", "seed"]
    ends = scores.pivot_table(index=run, columns="metric", values="value", sort=False)
    by_run: Any = ends.loc
    rows = []
    for name, objective, seed in ends.index:
        final, plain = by_run[name, objective, seed], by_run[name, "plain", seed]
        mine, base = (_path(curves, name, one, seed) for one in (objective, "plain"))
        equal = min(mine[0].max(), base[0].max())
        rows.append(
            {
                "architecture": name,
                "objective": objective,
                "seed": seed,
                **final.to_dict(),
                "ev_gain": final["explained_variance"] - plain["explained_variance"],
                "recovery_gain": final["recovery"] - plain["recovery"],
                "equal_ev": equal,
                "recovery_at_equal_ev": _when_first(mine, equal),
                "plain_at_equal_ev": _when_first(base, equal),
            }
        )
    return pd.DataFrame(rows)


Path = tuple[NDArray[np.float64], NDArray[np.float64]]


def _path(curves: pd.DataFrame, name: str, objective: str, seed: Any) -> Path:
    """Held-out explained variance and recovery along a run."""
    of = (curves["architecture"] == name) & (curves["objective"] == objective) & (curves["seed"] == seed)
    rows = curves[of].dropna(subset=["recovery"]).sort_values("samples_seen")
    return rows["explained_variance_held_out"].to_numpy(float), rows["recovery"].to_numpy(float)


def _when_first(path: Path, level: float) -> float:
    """Recovery where explained variance first reaches `level`, between two measurements by interpolation."""
    ev, found = path
    at = int(np.argmax(ev >= level - 1e-12))
    if at == 0:
        return float(found[0])
    part = (level - ev[at - 1]) / (ev[at] - ev[at - 1])
    return float(found[at - 1] + part * (found[at] - found[at - 1]))


def agreement(
    dictionaries: list[tuple[int, Float[Tensor, "d_sae d_in"]]], features: Float[Tensor, "n_features d_in"]
) -> pd.DataFrame:
    """Whether latents that the next seed has too are true features more often than the others.

    `dictionaries` are (seed, decoder rows). One row per pair of neighbouring seeds; `chance` is the exact
    share of shared latents of two random dictionaries.
    """
    rows = []
    for (seed, W_dec), (other, against) in pairwise(dictionaries):
        shared = agreed_latents(W_dec, [against], AGREE)
        true = max_cosines(W_dec, features) > AGREE
        rows.append(
            {
                "seeds": f"{seed}, {other}",
                "shared": float(shared.double().mean()),
                "chance": math.exp(log_any_above(W_dec.shape[1], len(against), AGREE)),
                "true_if_shared": _share(true, shared),
                "true_if_not": _share(true, ~shared),
                "found_by_sharing": _share(shared, true),
            }
        )
    return pd.DataFrame(rows)


def _share(what: Tensor, among: Tensor) -> float:
    return float(what[among].double().mean()) if bool(among.any()) else float("nan")
