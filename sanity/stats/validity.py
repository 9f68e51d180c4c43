"""The validity gate: may anything be concluded from a metric at all?

A metric's own reference (a true dictionary, an intact activation, a labelled task) gets a graded corruption,
and the metric must see it: fall as the corruption rises, by more than its noise, without calling two runs of
the same thing different. The contrast of a trained with a random autoencoder takes no part: the metric is
there to judge it, and a metric that finds no difference may be right.

======================  ======================================================================================
falls with corruption   Spearman's rho of level against value (turned so that falling is good) at least 0.8:
                        a metric that drops in one step, as one with a threshold does, has 0.87 on five
                        levels. And beyond chance at 1 %, so that a few points cannot pass by luck.
has range               what full corruption costs is at least a fifth of the way from floor to ceiling: two
                        margins of a tenth, below which every pair of scores would be "equivalent".
stands out of noise     the same is more than four reseed SDs, the rule by which verdicts refuse a range.
no false alarms         among reseeds of one level, the verdicts' own paired t-test at 5 % calls at most 15 %
                        different: three times the nominal rate, since a few reseeds give a coarse share.
======================  ======================================================================================

Almost any noise passes the last, since the test takes reseeds as its units, as verdicts do. It catches
metrics that jump between a few states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from sanity.errors import BadInputError
from sanity.stats.deciding import RANGE_SDS, SEEDS_WITHOUT_NOISE
from sanity.stats.pairing import ROUNDING, constant

GATE_COLUMNS = ("metric", "level", "seed", "value", "floor", "ceiling", "n")

MONOTONE = 0.8
MONOTONE_P = 0.01
SHARE = 0.2
ALPHA = 0.05
FALSE_ALARMS = 0.15
# Below these nothing can be said about order, noise, or a test on differences of pairs of reseeds.
LEVELS, SEEDS, SEEDS_FOR_PAIRS = 3, 2, 5
# Ways to pair up the reseeds of one level that are tried.
_PAIRINGS = 200


@dataclass(frozen=True)
class Gate:
    """What the gate found about one metric.

    Attributes
    ----------
    passed
        None where the gate is not available; `reason` says why.
    reference
        What was corrupted, in words.
    monotone
        Spearman's rho of the level against the value, turned so that 1 is "falls with every corruption".
    range, share
        Mean value at level 0 minus that at level 1, positive where corruption costs; and as a share of the
        way from floor to ceiling.
    reseed_noise
        SD of the value over seeds at a fixed level, pooled over levels.
    false_alarm_rate, comparisons
        Share of same-level comparisons of reseeds that are called different, and how many were made (they
        overlap); None with fewer than five seeds.
    n
        Units behind one value, at least.
    """

    metric: str
    passed: bool | None
    reason: str
    reference: str = ""
    monotone: float | None = None
    range: float | None = None
    share: float | None = None
    reseed_noise: float | None = None
    false_alarm_rate: float | None = None
    comparisons: int = 0
    levels: int = 0
    seeds: int = 0
    n: int = 0

    @property
    def state(self) -> str:
        """In one word or three: passed, failed, not available."""
        return "not available" if self.passed is None else "passed" if self.passed else "failed"

    def row(self) -> dict[str, Any]:
        """The gate as a row of a table."""
        numbers = {name: value for name, value in asdict(self).items() if name not in ("metric", "passed")}
        return {"metric": self.metric, "state": self.state, **numbers}


def not_available(metric: str, why: str, *, reference: str = "") -> Gate:
    """A gate that says nothing about the metric, and why it cannot."""
    return Gate(metric, None, f"gate not available: {why}", reference)


def gate(
    graded: pd.DataFrame, *, reference: str = "", higher_is_better: bool | None = None, draws: int = _PAIRINGS
) -> Gate:
    """Judge one metric by how it reads graded corruptions of its own reference.

    Parameters
    ----------
    graded
        One row per level and seed with the columns `GATE_COLUMNS`; level 0 is the reference intact, level 1
        fully corrupted. A seed is one draw of the corruption and of the evaluation.
    higher_is_better
        None: as the ceiling stands to the floor.
    draws
        Ways to pair up the reseeds of one level that are tried.

    Raises
    ------
    BadInputError
        Missing columns, several metrics, two rows for one level and seed, levels outside 0 to 1, and numbers
        that are not finite. Too few levels or seeds are no error: the gate is then not available.
    """
    metric = _checked(graded)
    levels, seeds = sorted(graded["level"].unique()), graded["seed"].nunique()
    if len(levels) < LEVELS or levels[0] > 0 or levels[-1] < 1:
        shown = ", ".join(f"{level:g}" for level in levels)
        why = f"its reference was read at levels {shown}, wanted are {LEVELS} or more from 0 to 1"
        return not_available(metric, why, reference=reference)
    by_level = graded.groupby("level")["value"]
    if int(by_level.count().min()) < SEEDS:
        why = f"a level was read on {int(by_level.count().min())} seed, wanted are {SEEDS} or more"
        return not_available(metric, why, reference=reference)
    span = float((graded["ceiling"].astype(float) - graded["floor"].astype(float)).mean())
    if not math.isfinite(span):
        return not_available(metric, "it has no floor or no ceiling", reference=reference)
    better = span > 0 if higher_is_better is None else higher_is_better
    sign = 1.0 if better else -1.0
    means = by_level.mean()
    noise = float(np.sqrt(by_level.var(ddof=1).mean()))
    rho, p_value = _falls(graded, sign)
    span, fall = sign * span, sign * float(means.loc[levels[0]] - means.loc[levels[-1]])
    alarms, comparisons = _false_alarms(graded, draws)
    share = fall / span if span > 0 else None
    faults = _faults(rho, p_value, fall, share, span, noise, alarms)
    passed_words = f"falls with its reference (rho {rho:.2f}), by {fall:.3g}; reseed SD {noise:.2g}"
    if alarms is None:
        passed_words += f"; false alarms not measured, which takes {SEEDS_FOR_PAIRS} seeds"
    return Gate(
        metric,
        not faults,
        "; ".join(faults) or passed_words,
        reference,
        rho,
        fall,
        share,
        noise,
        alarms,
        comparisons,
        len(levels),
        seeds,
        int(graded["n"].min()),
    )


def gates(
    graded: pd.DataFrame,
    *,
    references: Mapping[str, str] | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
) -> dict[str, Gate]:
    """`gate` for every metric of a frame; one that cannot be read is not available, with the reason."""
    found = {}
    for metric, part in graded.groupby("metric", sort=False):
        name, reference = str(metric), (references or {}).get(str(metric), "")
        try:
            better = (higher_is_better or {}).get(name)
            found[name] = gate(part, reference=reference, higher_is_better=better)
        except BadInputError as error:
            found[name] = not_available(name, str(error), reference=reference)
    return found


def _checked(graded: pd.DataFrame) -> str:
    """The one metric of a frame that can be read."""
    missing = [name for name in GATE_COLUMNS if name not in graded.columns]
    if missing:
        raise BadInputError(
            f"graded scores lack the columns: {', '.join(missing)}; wanted are {', '.join(GATE_COLUMNS)}"
        )
    names = graded["metric"].unique()
    if len(names) != 1:
        raise BadInputError(f"the gate reads one metric at a time, not {len(names)}: {', '.join(names)}")
    metric = str(names[0])
    for column in ("level", "value"):
        broken = int((~np.isfinite(graded[column].astype(float))).sum())
        if broken:
            raise BadInputError(
                f"{broken} of {len(graded)} rows of {metric} have a {column} that is not a finite number: "
                "find out why; they are not dropped here"
            )
    if not graded["level"].between(0, 1).all():
        raise BadInputError(f"levels of corruption run from 0 to 1; {metric} has {graded['level'].max():g}")
    twice = graded.duplicated(["level", "seed"])
    if twice.any():
        level, seed = graded.loc[twice, ["level", "seed"]].iloc[0]
        raise BadInputError(f"{metric} has two rows for level {level:g} and seed {seed:g}: give each once")
    return metric


def _falls(graded: pd.DataFrame, sign: float) -> tuple[float, float]:
    """Spearman's rho of level against the falling value, and its one-sided p-value; 0 and 1 when flat."""
    values = -sign * graded["value"].to_numpy(dtype=np.float64)
    if constant(values):
        return 0.0, 1.0
    found = stats.spearmanr(graded["level"].to_numpy(dtype=np.float64), values, alternative="greater")
    return float(found.statistic), float(found.pvalue)


def _false_alarms(graded: pd.DataFrame, draws: int) -> tuple[float | None, int]:
    """How often the paired t-test calls two halves of one level's reseeds different, and of how many."""
    rng = np.random.default_rng(0)
    alarms = comparisons = 0
    for _, part in graded.groupby("level"):
        values = part.sort_values("seed")["value"].to_numpy(dtype=np.float64)
        pairs = len(values) // 2
        if len(values) < SEEDS_FOR_PAIRS:
            continue
        shuffled = rng.permuted(np.tile(values, (draws, 1)), axis=1)
        differences = shuffled[:, :pairs] - shuffled[:, pairs : 2 * pairs]
        alarms += int(_different(differences).sum())
        comparisons += draws
    return (alarms / comparisons if comparisons else None), comparisons


def _different(differences: Float[np.ndarray, "draws pairs"]) -> np.ndarray:
    """Which rows the verdicts call different: by the t-test, and by its rules where there is no noise."""
    largest = np.abs(differences).max(1)
    same = np.ptp(differences, axis=1) <= ROUNDING * np.maximum(1.0, largest)
    found = same & (largest > ROUNDING) & (differences.shape[1] >= SEEDS_WITHOUT_NOISE)
    if not same.all():
        found[~same] = stats.ttest_1samp(differences[~same], 0.0, axis=1).pvalue < ALPHA
    return np.asarray(found)


def _faults(
    rho: float,
    p_value: float,
    fall: float,
    share: float | None,
    span: float,
    noise: float,
    alarms: float | None,
) -> list[str]:
    """What is wrong with the metric, in words; empty when nothing is."""
    faults = []
    if rho <= -MONOTONE:
        faults.append(f"it rises as its reference is corrupted (rho {rho:.2f})")
    elif rho < MONOTONE or p_value > MONOTONE_P:
        faults.append(
            f"it does not follow the corruption of its reference (rho {rho:.2f}, wanted {MONOTONE:g}; "
            f"p = {p_value:.2g})"
        )
    if share is None:
        faults.append(f"its ceiling is not better than its floor (by {span:.3g})")
    elif share < SHARE:
        faults.append(
            f"full corruption costs {share:.0%} of the way from floor to ceiling, wanted {SHARE:.0%}"
        )
    if fall <= RANGE_SDS * noise:
        faults.append(f"its range of {fall:.3g} is within {RANGE_SDS:g} reseed SDs of {noise:.2g}")
    if alarms is not None and alarms > FALSE_ALARMS:
        faults.append(f"{alarms:.0%} of comparisons of a level with itself are called different")
    return faults
