"""Which of its nulls a given SAE beats, metric by metric, and by which test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sanity.checking.arms import NULLS, Given
from sanity.checking.request import ORDINARY, WRONG_DECODER
from sanity.evals.metric import METRICS, Metric
from sanity.stats import Spread, Verdict, place, pooled_spread, verdict, verdict_unpaired

MARGIN = 0.1
"""Half-width of equivalence as a share of a metric's range: that of the book's claims."""
MARGINS = np.linspace(0.01, 0.5, 50)
"""Of the equivalence curves."""
HEADLINES = (
    "explained_variance", "ce_recovered", "kl_recovered", "sparse_probing_top1", "sparse_probing_top5",
    "autointerp_auroc", "autointerp_auroc_token_matched",
)  # fmt: skip
"""Metrics by which a check answers; the others are shown below."""
OF_LATENTS_ALONE = ("dead_latents",)
"""Metrics of the encoder that are measured where the decoder is: nulls with its latents are left out."""
GIVEN = Given().label
OF_THE_GIVEN = frozenset(null.label for null in NULLS.values())
"""Nulls of which each seed is made of one given SAE: only these pair with them."""

BEATS, MATCHED, UNDECIDED, NOT_ASKED = "beats every null", "matched by a null", "undecided", "not decided"
WINS, LOSES = "trained better", "baseline better"


def compare(scores: pd.DataFrame, failed: Mapping[str, str], *, several: bool) -> pd.DataFrame:
    """One row per metric and null.

    Parameters
    ----------
    scores
        Columns `arm`, `kind`, `eval`, `metric`, `seed`, `value`, `floor`, `ceiling`; the given SAE's arm is
        `GIVEN`.
    failed
        Metrics whose validity gate failed, and why.
    several
        Whether the seeds of `GIVEN` are SAEs of their own, or one that was scored once for each seed.
    """
    rows: list[dict[str, Any]] = []
    for name, part in scores.groupby("metric", sort=False):
        metric = METRICS.get(str(name))
        if name in OF_LATENTS_ALONE:
            part = part[part["kind"] != WRONG_DECODER]
        if metric is None or metric.direction == "none":
            continue
        by_arm = {
            str(arm): of.set_index("seed")["value"].sort_index().dropna()
            for arm, of in part.groupby("arm", sort=False)
        }
        ours = by_arm.pop(GIVEN, None)
        if ours is None:
            continue
        leads = {arm: _leads(ours, theirs) for arm, theirs in by_arm.items()}
        about = {"eval": part["eval"].iloc[0], "metric": name, "label": metric.label}
        rules = _rules(metric, part, failed.get(str(name)))
        kinds = part.drop_duplicates("arm").set_index("arm")["kind"]
        spreads = _spreads(kinds, leads)
        for arm, theirs in by_arm.items():
            if several:
                found = _over_seeds(ours, theirs, rules, arm)
            elif len(leads[arm]):
                found = _single(leads[arm], spreads[arm], rules, arm)
            else:
                continue
            means = {"given": ours.mean(), "null_mean": theirs.mean()}
            rows.append({**about, "null": arm, "kind": kinds[arm], **means, **found})
    return pd.DataFrame(rows)


def _leads(ours: pd.Series[float], theirs: pd.Series[float]) -> np.ndarray:
    """The given SAE minus each seed of a null, both asked the same."""
    return (ours - theirs).dropna().to_numpy(dtype=np.float64)


def _rules(metric: Metric, part: pd.DataFrame, failed: str | None) -> dict[str, Any]:
    """What every verdict on a metric has in common."""
    measured = float((part["ceiling"].astype(float) - part["floor"].astype(float)).abs().mean())
    span = metric.range or (measured if np.isfinite(measured) else 1.0)
    return {
        "margin": MARGIN * span,
        "metric_range": span,
        "higher_is_better": metric.direction == "higher",
        "gate_failure": failed,
    }


def _spreads(kinds: pd.Series[str], leads: Mapping[str, np.ndarray]) -> dict[str, Spread]:
    """How much seeds of each null differ, pooled over nulls of one kind: others differ by other amounts."""
    pooled = {
        kind: pooled_spread({arm: lead for arm, lead in leads.items() if kinds[arm] == kind and len(lead)})
        for kind in kinds.unique()
    }
    return {arm: pooled[kinds[arm]] for arm in leads}


def _single(leads: np.ndarray, spread: Spread, rules: dict[str, Any], arm: str) -> dict[str, Any]:
    found = place(leads, spread=spread, names=(GIVEN, arm), **rules)
    return {
        **_row(found.verdict, rules),
        "rank": found.rank,
        "of": found.of,
        "p_rank": found.p_rank,
        "null_sd": found.spread.sd,
        "smallest_margin": found.smallest_margin,
        "test": f"prediction interval (SD pooled over nulls of its kind, {found.spread.df} df) and rank",
    }


def _over_seeds(
    ours: pd.Series[float], theirs: pd.Series[float], rules: dict[str, Any], arm: str
) -> dict[str, Any]:
    """Several given SAEs against a null, whose seeds go with theirs only where it is made of them.

    The draws of evals are shared by number all the same, by which Welch's intervals are too wide if anything.
    """
    paired = arm in OF_THE_GIVEN
    names = (GIVEN, arm)
    found = (
        verdict(_leads(ours, theirs), names=names, **rules)
        if paired
        else verdict_unpaired(ours.to_numpy(), theirs.to_numpy(), names=names, **rules)
    )
    tight = found.tight
    return {
        **_row(found, rules),
        "rank": int((_signed(theirs, rules) >= _signed(ours, rules).mean()).sum()) + 1,
        "of": len(theirs) + 1,
        "p_rank": None,
        "null_sd": float(theirs.std()) if len(theirs) > 1 else None,
        "smallest_margin": None if tight is None else max(abs(tight.low), abs(tight.high)),
        "test": f"{'paired' if paired else 'unpaired (Welch)'} t-test and TOST over seeds",
    }


def _signed(values: pd.Series[float], rules: Mapping[str, Any]) -> pd.Series[float]:
    return values if rules["higher_is_better"] else -values


def _row(found: Verdict, rules: Mapping[str, Any]) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    tight_low, tight_high = found.tight or (None, None)
    return {
        "lead": found.value,
        "low": low,
        "high": high,
        "tight_low": tight_low,
        "tight_high": tight_high,
        "verdict": found.verdict,
        "qualifier": found.qualifier,
        "p_difference": found.p_difference,
        "p_equivalence": found.p_equivalence,
        "margin": rules["margin"],
        "range": rules["metric_range"],
        "n_seeds": found.n_seeds,
        "words": found.words,
    }


def summarise(compared: pd.DataFrame) -> pd.DataFrame:
    """One row per metric: whether the SAE beats every null, or which of them match it.

    A null matches it where it is equivalent or better; an ordinary SAE is no null. Beating every null needs
    no correction for their number, as all comparisons must hold; that some null matches is held against
    alpha / nulls for "better".
    """
    rows = []
    nulls = compared[compared["kind"] != ORDINARY]
    for name, part in nulls.groupby("metric", sort=False):
        wins = part["verdict"] == WINS
        matching = part[(part["verdict"] == "equivalent") | _loses(part)]
        decided = part["verdict"].isin([WINS, LOSES, "equivalent", "inconclusive"])
        if not decided.any():
            answer = NOT_ASKED
        elif len(matching):
            answer = MATCHED
        else:
            answer = BEATS if wins[decided].all() else UNDECIDED
        nearest = part.iloc[int(_lead_of(part).to_numpy().argmin())]
        rows.append(
            {
                "eval": part["eval"].iloc[0],
                "metric": name,
                "label": part["label"].iloc[0],
                "answer": answer,
                "given": part["given"].iloc[0],
                "best_null": nearest["null"],
                "best_null_mean": nearest["null_mean"],
                "matched_by": ", ".join(matching["null"]),
                "beaten": int(wins.sum()),
                "nulls": len(part),
                "why": "" if decided.any() else part["qualifier"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def _loses(part: pd.DataFrame) -> pd.Series[bool]:
    """Where a null is better, corrected for the number of nulls (Bonferroni)."""
    strict = part["p_difference"].astype(float).fillna(0.0) <= 0.05 / len(part)
    return (part["verdict"] == LOSES) & strict


def _lead_of(part: pd.DataFrame) -> pd.Series[float]:
    higher = METRICS[part["metric"].iloc[0]].direction == "higher"
    return (part["given"] - part["null_mean"]) * (1 if higher else -1)


def equivalence_curves(compared: pd.DataFrame) -> pd.DataFrame:
    """For every comparison and margin (a share of the range): whether the null would be called equivalent."""
    known = compared.dropna(subset=["smallest_margin"])
    return pd.DataFrame(
        [
            {"metric": row["metric"], "null": row["null"], "margin": float(share),
             "equivalent": row["smallest_margin"] < share * row["range"]}
            for row in known.to_dict("records")
            for share in MARGINS
        ],
        columns=["metric", "null", "margin", "equivalent"],
    )  # fmt: skip
