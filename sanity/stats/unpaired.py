"""Two arms whose seeds have nothing in common: Welch's t-test, and TOST by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from sanity.stats.deciding import Measurement, Verdict, decide, finish, refusal
from sanity.stats.equivalence import check_margin
from sanity.stats.intervals import Interval
from sanity.stats.pairing import Numbers, constant, vector
from sanity.stats.verdicts import verdict


def verdict_unpaired(
    judged: Numbers,
    baseline: Numbers,
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
    """Judge two arms by the scores of seeds that are not paired: at least two of each.

    The rest is as for `verdict`; `n_seeds` is the smaller number.

    >>> verdict_unpaired([0.80, 0.81], [0.50, 0.51, 0.49], margin=0.05).verdict
    'trained better'
    """
    check_margin(margin)
    ours, theirs = vector(judged, what="the scores"), vector(baseline, what="the baseline's scores")
    fewest = min(ours.size, theirs.size)
    value = float(ours.mean() - theirs.mean()) if fewest else 0.0
    differences = np.full(fewest, value)
    if fewest < 2 or (constant(ours) and constant(theirs)):
        # In whatever way they were paired, their differences would be these.
        return verdict(
            differences, margin=margin, metric_range=metric_range, reseed_sd=reseed_sd, alpha=alpha,
            higher_is_better=higher_is_better, gate_failure=gate_failure, all_at_floor=all_at_floor,
            names=names,
        )  # fmt: skip
    refused = refusal(differences, margin, metric_range, reseed_sd, gate_failure, all_at_floor)
    found = stats.ttest_ind(ours, theirs, equal_var=False)
    scale = (
        abs(value / float(found.statistic))
        if value
        else float(np.sqrt(ours.var(ddof=1) / ours.size + theirs.var(ddof=1) / theirs.size))
    )
    t = stats.t(float(found.df))
    measured = Measurement(
        value,
        Interval(*map(float, found.confidence_interval(1 - alpha))),
        Interval(*map(float, found.confidence_interval(1 - 2 * alpha))),
        float(found.pvalue),
        float(max(t.sf((value + margin) / scale), t.cdf((value - margin) / scale))),
        None,
    )
    if refused is not None:
        return replace(refused, interval=refused.interval and measured.interval)
    word, qualifier = decide(measured, margin, higher_is_better, alpha, "unpaired")
    return finish(measured, word, qualifier, fewest, margin, names)
