"""Verdicts on one comparison: two arms, an arm against the best of several, an arm against a range.

The rules are in `sanity.stats.deciding`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from sanity.errors import BadInputError
from sanity.stats.deciding import (
    NO_VARIANCE,
    Measurement,
    Verdict,
    Word,
    coincidence,
    decide,
    finish,
    refusal,
)
from sanity.stats.equivalence import check_margin, tost, tost_between
from sanity.stats.families import best_of
from sanity.stats.intervals import Interval, sign_flip, t_interval, t_test
from sanity.stats.pairing import Numbers, constant, identical, vector


def verdict(
    differences: Numbers,
    *,
    margin: float,
    metric_range: float | None = None,
    reseed_sd: float | None = None,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    gate_failure: str | None = None,
    all_at_floor: str | None = None,
    names: tuple[str, str] = ("the trained SAE", "the baseline"),
) -> Verdict:
    """Judge raw paired differences against a margin fixed in advance.

    Parameters
    ----------
    differences : shape [seeds]
        Judged arm minus baseline, one number per seed, in the metric's units.
    margin
        Equivalence margin in the metric's units: a fraction of the metric's range, fixed on pilot seeds.
    metric_range, reseed_sd
        What `has_range` needs; with no range given the check is left out.
    higher_is_better
        False where a positive difference is bad for the judged arm.
    gate_failure
        Why the metric failed its validity gate, if it did: the verdict is then turned off.
    all_at_floor
        Where no arm is above the metric's floor, a sentence that says so: it is the verdict's then.
    names
        The two arms, for the sentence.

    Examples
    --------
    >>> verdict([0.30, 0.31, 0.29], margin=0.05).verdict
    'trained better'
    >>> verdict([0.0, 0.0, 0.0], margin=0.05).qualifier
    'identical'
    """
    check_margin(margin)
    values = vector(differences, what="the differences")
    refused = refusal(values, margin, metric_range, reseed_sd, gate_failure, all_at_floor)
    if refused is not None:
        return refused
    same = identical(values)
    measured = Measurement(
        value=float(values.mean()),
        interval=t_interval(values, confidence=1 - alpha),
        tight=t_interval(values, confidence=1 - 2 * alpha),
        p_difference=t_test(values),
        p_equivalence=0.0 if same else tost(values, margin=margin),
        p_sign_flip=sign_flip(values),
    )
    if not same and coincidence(values):
        word, qualifier = NO_VARIANCE
    else:
        note = "identical" if same else "no variance over seeds" if constant(values) else ""
        word, qualifier = decide(measured, margin, higher_is_better, alpha, note)
    return finish(measured, word, qualifier, values.size, margin, names)


def verdict_best_of(
    differences: pd.DataFrame,
    *,
    margin: float,
    metric_range: float | None = None,
    reseed_sd: float | None = None,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    gate_failure: str | None = None,
    all_at_floor: str | None = None,
    judged: str = "the trained SAE",
) -> Verdict:
    """Judge an arm against the best of several baselines, corrected for having chosen the best.

    Parameters
    ----------
    differences
        One row per seed, one column per baseline: judged arm minus baseline. The rest is as for `verdict`.
    """
    check_margin(margin)
    oriented = differences if higher_is_better else -differences
    first = vector(differences.iloc[:, 0], what=f"the differences to {differences.columns[0]}")
    refused = refusal(first, margin, metric_range, reseed_sd, gate_failure, all_at_floor)
    if refused is not None:
        return replace(refused, value=None)
    found = best_of(oriented, alpha=alpha)
    sign = 1.0 if higher_is_better else -1.0
    same = identical(oriented.to_numpy(dtype=np.float64))
    measured = Measurement(
        value=sign * found.gap,
        interval=_orient(found.interval, sign),
        tight=_orient(found.tight, sign),
        p_difference=min(1.0, 2 * (found.p_better if found.gap > 0 else found.p_worse)),
        p_equivalence=0.0 if same else found.p_equivalence(oriented, margin),
        p_sign_flip=found.p_sign_flip,
    )
    columns = [oriented[name].to_numpy(dtype=np.float64) for name in oriented]
    if any(coincidence(column) and not identical(column) for column in columns):
        word, qualifier = NO_VARIANCE
    else:
        note = f"best of {len(columns)}: {found.best}" + (", all identical" if same else "")
        word, qualifier = decide(measured, margin, higher_is_better, alpha, note)
    names = (judged, f"the best baseline ({found.best})")
    return finish(measured, word, qualifier, len(first), margin, names)


def verdict_within(
    values: Numbers,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    judged_is_baseline: bool = False,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    gate_failure: str | None = None,
    name: str = "the score",
) -> Verdict:
    """Judge whether an arm's score lies in an expected range of values.

    Inside is "equivalent". Outside, the better side is named: a trained arm above the range is "trained
    better" (than expected), below it "baseline better"; for a baseline arm the other way round. The
    qualifier says plainly on which side of the range the score lies.

    Parameters
    ----------
    values : shape [seeds]
        The arm's own scores.
    low, high
        The expected range, fixed before the scores were seen. Leave out the side on which the metric ends
        anyway: no sample can show that a recovery is above zero *or equal to it*.
    """
    if not low < high:
        raise BadInputError(f"an expected range must rise from low to high, not from {low} to {high}")
    numbers = vector(values, what="the scores")
    refused = refusal(numbers, 0.0, None, None, gate_failure)
    if refused is not None:
        return refused
    measured = Measurement(
        value=float(numbers.mean()),
        interval=t_interval(numbers, confidence=1 - alpha),
        tight=t_interval(numbers, confidence=1 - 2 * alpha),
        p_difference=None,
        p_equivalence=tost_between(numbers, low=low, high=high),
        p_sign_flip=None,
    )
    tested = _place(numbers, measured, low, high, alpha)
    better: Word = "baseline better" if judged_is_baseline else "trained better"
    worse: Word = "trained better" if judged_is_baseline else "baseline better"
    word: Word
    if coincidence(numbers):
        word, qualifier = NO_VARIANCE
    elif tested == "inside":
        word, qualifier = "equivalent", "inside the expected range"
    elif tested == "unknown":
        word, qualifier = "inconclusive", "on the edge of the expected range, or too noisy"
    else:
        word = better if (tested == "above") == higher_is_better else worse
        qualifier = f"{tested} the expected range"
    expected = f"the expected {low:.4g} to {high:.4g}"
    return finish(measured, word, qualifier, numbers.size, None, (name, expected))


def _place(
    numbers: Float[np.ndarray, " seeds"], measured: Measurement, low: float, high: float, alpha: float
) -> Literal["inside", "above", "below", "unknown"]:
    """Where the mean has been shown to lie, the ends of the range belonging to it."""
    if constant(numbers) and low <= measured.value <= high:
        return "inside"
    if measured.p_equivalence is not None and measured.p_equivalence < alpha:
        return "inside"
    if measured.tight.low > high:
        return "above"
    return "below" if measured.tight.high < low else "unknown"


def _orient(interval: Interval, sign: float) -> Interval:
    return interval if sign > 0 else Interval(-interval.high, -interval.low)
