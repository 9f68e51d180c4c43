"""Arms compared as if their latents fired equally often: a metric of all SAEs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sanity.evals.interpretability.scoring import VERSION
from sanity.evals.metric import Metric, declare
from sanity.evals.score import Score

FREQUENCY_MATCHED = "autointerp_auroc_frequency_matched"
STRATA = 5

declare(
    {
        FREQUENCY_MATCHED: Metric(
            "held-out example AUROC (equal frequencies)",
            "higher",
            0.5,
            "0.5: shuffled examples",
            "1: every context ranked",
        )
    }
)


def frequency_matched(latents: pd.DataFrame, about: Sequence[str]) -> pd.DataFrame:
    """The mean AUROC of every arm and seed, as if its latents fired as often as everyone's.

    All latents of all arms are divided into `STRATA` of equally many by how often they fire. An arm's score
    is the mean over strata of its mean there; strata that some arm of the seed has no latent in are left
    out for all its arms.

    Parameters
    ----------
    latents
        A row per latent with the columns `frequency`, `auroc`, `seed` and those in `about`.
    about
        The columns that say which SAE a latent is of; they are in the rows that come out, with the score's.
    """
    if latents.empty:
        return pd.DataFrame()
    edges = np.quantile(latents["frequency"], np.linspace(0, 1, STRATA + 1)[1:-1])
    stratum = np.searchsorted(edges, latents["frequency"])
    rows = []
    for _, part in latents.assign(stratum=stratum).groupby("seed", sort=False):
        arms = list(part.groupby(list(about), sort=False, dropna=False))
        common = set.intersection(*(set(arm["stratum"]) for _, arm in arms))
        for key, arm in arms:
            kept = arm[arm["stratum"].isin(common)]
            if len(kept):
                value = float(kept.groupby("stratum")["auroc"].mean().mean())
                score = Score(FREQUENCY_MATCHED, value, 0.5, 1.0, True, len(kept), "latent", VERSION)
                rows.append({**dict(zip(about, key, strict=True)), **score.row()})
    return pd.DataFrame(rows)
