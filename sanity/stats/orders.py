"""Whether one score ranks arms as another does."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
from scipy.stats import kendalltau


def compared_orders(
    score: pd.Series, truth: pd.Series, *, score_tie: float, truth_tie: float
) -> dict[str, float | int]:
    """How far the order of arms by `score` is that by `truth`: tau, and pairs told apart, wrong and blind.

    Parameters
    ----------
    score, truth
        A number for each arm, on the same index.
    score_tie, truth_tie
        Smaller differences are ties.

    Returns
    -------
    `tau`, Kendall's tau-b. Of the pairs of arms that `truth` tells apart (`told apart`), `wrong` have the
    higher score at the lower truth; `blind` are pairs that the score tells apart and the truth does not.

    >>> ev, found = pd.Series({"a": 0.7, "b": 0.6}), pd.Series({"a": 0.1, "b": 0.4})
    >>> compared_orders(ev, found, score_tie=0.01, truth_tie=0.01)["wrong"]
    1
    """
    told = wrong = blind = 0
    for a, b in combinations(score.index, 2):
        by_score = _sign(score[a] - score[b], score_tie)
        by_truth = _sign(truth[a] - truth[b], truth_tie)
        told += by_truth != 0
        wrong += by_score * by_truth < 0
        blind += by_truth == 0 and by_score != 0
    tau = float(kendalltau(score, truth).statistic)
    return {"tau": tau, "told apart": told, "wrong": wrong, "blind": blind}


def _sign(difference: float, tie: float) -> int:
    return 0 if abs(difference) < tie else (1 if difference > 0 else -1)
