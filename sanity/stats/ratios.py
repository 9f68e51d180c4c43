"""The ratio of two paired means with Fieller's interval: how much of one gain another arm keeps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from sanity.errors import BadInputError
from sanity.stats.pairing import Numbers, constant, vector


class Ratio(NamedTuple):
    """A ratio of means and its interval; the ends are NaN where the data bound it on no side."""

    value: float
    low: float
    high: float


def ratio_of_means(part: Numbers, whole: Numbers, *, confidence: float = 0.90) -> Ratio:
    """Mean of `part` over mean of `whole`, paired by seed, with the interval of Fieller (1954).

    The interval holds every r for which a paired t-test does not tell the mean of `part` - r `whole` from
    zero. Where `whole` itself is not told from zero there is no such interval: nothing is left to divide by.

    Parameters
    ----------
    part, whole : shape [seeds]
        In the same units; one seed gives a ratio without an interval.

    Examples
    --------
    >>> ratio_of_means([0.8, 0.9, 0.7], [1.0, 1.1, 0.9]).value
    0.8
    """
    top, bottom = (vector(one, what="the gains of a ratio") for one in (part, whole))
    if top.size != bottom.size:
        raise BadInputError(f"a ratio is paired by seed: {top.size} numbers do not go with {bottom.size}")
    a, b = float(top.mean()), float(bottom.mean())
    if b == 0:
        return Ratio(math.nan, math.nan, math.nan)
    if top.size < 2:
        return Ratio(a / b, math.nan, math.nan)
    if constant(top) and constant(bottom):
        return Ratio(a / b, a / b, a / b)
    (aa, ab), (_, bb) = np.cov(top, bottom) / top.size
    t2 = float(stats.t.ppf((1 + confidence) / 2, top.size - 1)) ** 2
    leading = b * b - t2 * bb
    if leading <= 0:
        return Ratio(a / b, math.nan, math.nan)
    middle = a * b - t2 * ab
    half = math.sqrt(max(middle * middle - leading * (a * a - t2 * aa), 0.0))
    return Ratio(a / b, (middle - half) / leading, (middle + half) / leading)
