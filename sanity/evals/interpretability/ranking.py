"""How well scores rank contexts in which a latent fires above others, all others or matched ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sanity.errors import BadInputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def auroc(scores: Floats, positive: Bools) -> float:
    """P(score of a positive > score of a negative), ties counting one half: the area under the ROC curve.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        raise BadInputError(
            f"an AUROC needs contexts of both kinds: there are {n_positive} in which the latent fires and "
            f"{n_negative} others"
        )
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def matched_auroc(scores: Floats, positive: Bools, controls: Bools) -> tuple[float, int]:
    """The same, each positive against its own controls only, and how many positives have any.

    Parameters
    ----------
    scores : [n]
    positive : [n]
    controls : [n_positive, n]
        For each positive, in order, which contexts it is held against; positives among them do not count.

    Returns
    -------
    float, int
        The mean over positives with controls of the share of controls below them (ties one half), and the
        number of these positives. NaN and 0 if there are none.
    """
    mine = scores[positive][:, None]
    allowed = controls & ~positive[None, :]
    below = ((scores[None, :] < mine) & allowed).sum(1) + 0.5 * ((scores[None, :] == mine) & allowed).sum(1)
    sizes = allowed.sum(1)
    with_controls = sizes > 0
    if not with_controls.any():
        return float("nan"), 0
    shares = below[with_controls] / sizes[with_controls]
    return float(shares.mean()), int(with_controls.sum())
