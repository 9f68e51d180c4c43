"""One verdict over several metrics: "the baseline matches on all of them"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from sanity.errors import BadInputError
from sanity.stats.deciding import WITHOUT_TRAINING, Verdict, Word
from sanity.stats.families import holm
from sanity.stats.intervals import Interval


def verdict_all(parts: Mapping[str, Verdict], *, ranges: Mapping[str, float], alpha: float = 0.05) -> Verdict:
    """One verdict on "the arms match on every metric".

    Equivalent only where every part is (intersection-union). A difference found on any metric after Holm,
    and not within that metric's margin, refutes it; differences in both directions are inconclusive.

    Parameters
    ----------
    parts
        Metric -> its verdict.
    ranges
        Metric -> its range: value and interval are given for the metric with the largest share of its
        margin used up, as a fraction of that range.
    """
    if not parts:
        raise BadInputError("a verdict over several metrics needs at least one metric")
    word, qualifier = _joint_word(parts, alpha)
    return _worst(parts, ranges, word, qualifier)


def _joint_word(parts: Mapping[str, Verdict], alpha: float) -> tuple[Word, str]:
    """The rule of `verdict_all`."""
    tested = {name: part.p_difference for name, part in parts.items() if part.p_difference is not None}
    survive = [name for name, p_value in holm(tested).items() if p_value < alpha]
    for side, other in (("trained better", "baseline better"), ("baseline better", "trained better")):
        found = [name for name in survive if parts[name].verdict == side]
        if found and not any(parts[name].verdict == other for name in survive):
            return parts[found[0]].verdict, f"on {', '.join(found)}"
        if found:
            return "inconclusive", "better on one metric, worse on another"
    for name, part in parts.items():
        if part.verdict in ("open", "no range"):
            return part.verdict, f"{name}: {part.qualifier}"
    hollow = [name for name, part in parts.items() if part.verdict in WITHOUT_TRAINING]
    undecided = [name for name, part in parts.items() if part.verdict != "equivalent" and name not in hollow]
    if undecided:
        return "inconclusive", f"not decided on {', '.join(undecided)}"
    if hollow:
        return parts[hollow[0]].verdict, f"on {', '.join(hollow)}"
    same = all(part.qualifier == "identical" for part in parts.values())
    return "equivalent", "identical" if same else "on every metric"


def _worst(parts: Mapping[str, Verdict], ranges: Mapping[str, float], word: Word, qualifier: str) -> Verdict:
    """The joint verdict, with the value of the metric that uses up most of its margin."""
    usable = {
        name: part for name, part in parts.items() if part.value is not None and part.interval is not None
    }
    seeds = min(part.n_seeds for part in parts.values())
    joint = {name: part.p_equivalence for name, part in parts.items() if part.p_equivalence is not None}
    # Intersection-union: that all match has the largest of the p-values, with no correction.
    p_equivalence = max(joint.values()) if len(joint) == len(parts) else None
    listed = "; ".join(f"{name}: {part.verdict}" for name, part in parts.items())
    empty = Verdict(word, qualifier, None, None, seeds, None, f"{word} ({qualifier}); {listed}")
    if not usable:
        return empty
    worst = max(usable, key=lambda name: abs(usable[name].value or 0.0) / (usable[name].margin or math.inf))
    part, scale = usable[worst], ranges[worst]
    interval, tight = (
        None if one is None else Interval(one.low / scale, one.high / scale)
        for one in (part.interval, part.tight)
    )
    return replace(
        empty,
        value=(part.value or 0.0) / scale,
        interval=interval,
        tight=tight,
        margin=None if part.margin is None else part.margin / scale,
        p_equivalence=p_equivalence,
        words=f"{empty.words}; largest against its margin: {worst}, as a fraction of its range",
    )
