"""How much of the trained arm's lead another arm has: over an untrained dictionary, and over the floor.

A difference says little by itself. So every verdict says what share of the distance from a start without
training (or from chance) to the trained arm the other arm covers: 1 is all of what training adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sanity.claims.choosing import ScoreChoice
from sanity.claims.papernumbers import printed_numbers
from sanity.claims.papertables import CHANCE
from sanity.claims.schema import ArmOf, BestOfSeveral, Comparison, Scope
from sanity.claims.selection import NoRowsError, rows_of
from sanity.claims.sensitivity import BAR, CONFIDENCE
from sanity.stats import Ratio, ratio_of_means, t_interval

UNTRAINED = ArmOf(constraint="untrained")
TRAINED = ArmOf(constraint="trained")
MARGIN = 0.1
"""The ledger's general margin, as a share of a metric's range."""


class Shares(NamedTuple):
    """Shares of the trained lead, with 90 % intervals over seeds; None where not known."""

    over_untrained: Ratio | None
    over_floor: Ratio | None

    @property
    def words(self) -> str:
        """Both in a few words: "84 % over untrained, 93 % over the floor"."""
        parts = (("over untrained", self.over_untrained), ("over the floor", self.over_floor))
        return ", ".join(f"{one.value:z.0%} {over}" for over, one in parts if one is not None)


def shares_of_lead(claim: Comparison | BestOfSeveral, other: ArmOf, choice: ScoreChoice) -> Shares | None:
    """The share that `other`, an arm of the claim, has of the trained arm's lead; None for other claims."""
    elsewhere = {claim.judged.experiment, other.experiment} - {None}
    if claim.judged.constraint != "trained" or other.constraint == "trained" or elsewhere:
        return None
    at = claim.judged.model_dump(exclude={"constraint", "init", "objective"})
    untrained = None if other.constraint == "untrained" else ArmOf(**{**at, "constraint": "untrained"})
    known = {}
    for name, arm in (("trained", claim.judged), ("other", other), ("untrained", untrained)):
        try:
            known[name] = None if arm is None else choice.rows(claim, arm, claim.metric)[0]
        except NoRowsError:
            known[name] = None
    return _shares(known)


def _shares(known: Mapping[str, pd.DataFrame | None]) -> Shares | None:
    """From the rows of three arms, one per seed."""
    trained, other, untrained = (
        None if rows is None else rows.set_index("seed")[["value", "floor"]].astype(float)
        for rows in (known["trained"], known["other"], known["untrained"])
    )
    if trained is None or other is None:
        return None
    floor = trained["floor"] if trained["floor"].notna().all() else None
    found = Shares(
        _share(trained["value"], other["value"], None if untrained is None else untrained["value"]),
        _share(trained["value"], other["value"], floor),
    )
    return found if any(found) else None


def _share(trained: pd.Series, other: pd.Series, base: pd.Series | None) -> Ratio | None:
    if base is None:
        return None
    both = pd.concat({"trained": trained, "other": other, "base": base}, axis=1).dropna()
    if both.empty:
        return None
    ratio = ratio_of_means(
        both["other"] - both["base"], both["trained"] - both["base"], confidence=CONFIDENCE
    )
    return None if np.isnan(ratio.value) else ratio


def lead_table(metrics: Mapping[str, tuple[str, ScoreChoice]], arms: list[tuple[str, str]]) -> pd.DataFrame:
    """Every baseline's share of the trained lead, metric by metric, next to the paper's.

    Parameters
    ----------
    metrics
        Metric -> the experiment in which it is read, at that grid's first setting, and a run's scores.
    arms
        Constraint and init of each baseline.

    Returns
    -------
    DataFrame
        A row per metric, baseline and `over` ("untrained", "floor" or "paper": its printed scores over
        chance): `share`, `low`, `high`, `seeds` (that both arms have; 0 of the paper), `trained` (mean
        score), `lead` (of the trained arm over an untrained one), and for the metric `tells` (whether that
        lead is shown to exceed two margins of a tenth of the range, by the rule of
        `sanity.claims.sensitivity`, of the range that margins are taken of) and `why_not`.
    """
    rows = []
    printed = _printed()
    for metric, (experiment, choice) in metrics.items():
        trained, untrained = (_rows_of(choice, metric, experiment, arm) for arm in (TRAINED, UNTRAINED))
        if trained is None:
            continue
        reach, _ = choice.reach(Scope(experiment=experiment), metric)
        about = {"metric": metric, **_tells(choice, metric, trained, untrained, MARGIN * reach)}
        for constraint, init in arms:
            arm = ArmOf(constraint=constraint, init=init)
            other = _rows_of(choice, metric, experiment, arm)
            known = {
                "trained": trained,
                "other": other,
                "untrained": untrained if constraint != "untrained" else None,
            }
            shares = _shares(known) or Shares(None, None)
            papers = printed.get((metric, constraint, init))
            named = {"untrained": shares.over_untrained, "floor": shares.over_floor}
            named["paper"] = None if papers is None else Ratio(papers, np.nan, np.nan)
            for over, ratio in named.items():
                if ratio is not None:
                    ends = {"share": ratio.value, "low": ratio.low, "high": ratio.high}
                    seeds = 0 if over == "paper" else _shared_seeds(trained, other)
                    arm_is = {"constraint": constraint, "init": init, "over": over, "seeds": seeds}
                    rows.append({**about, **arm_is, **ends})
    return pd.DataFrame(rows)


def _shared_seeds(trained: pd.DataFrame, other: pd.DataFrame | None) -> int:
    return 0 if other is None else len({*trained["seed"]} & {*other["seed"]})


def _rows_of(choice: ScoreChoice, metric: str, experiment: str, arm: ArmOf) -> pd.DataFrame | None:
    try:
        scope = Scope(experiment=experiment)
        rows = rows_of(choice.of(metric), scope=scope, arm=arm, metric=metric, primary=choice.primary)
    except NoRowsError:
        return None
    rows = rows[~rows["seed"].isin(choice.ledger.pilot_seeds)]
    return rows if len(rows) else None


def _tells(
    choice: ScoreChoice, metric: str, trained: pd.DataFrame, untrained: pd.DataFrame | None, margin: float
) -> dict[str, Any]:
    """Whether a metric can tell arms apart here, and why not."""
    entry = choice.ledger.metrics[metric]
    facts = {"trained": float(trained["value"].mean()), "lead": np.nan}
    if metric in choice.failed_gates:
        return {**facts, "tells": False, "why_not": "it failed its validity gate"}
    if metric in choice.flat:
        return {**facts, "tells": False, "why_not": choice.flat[metric]}
    if untrained is None:
        return {**facts, "tells": False, "why_not": "no untrained dictionary was run"}
    sign = 1.0 if entry.direction == "higher" else -1.0
    lead = sign * (trained.set_index("seed")["value"] - untrained.set_index("seed")["value"]).dropna()
    facts["lead"], wanted = float(lead.mean()), BAR * margin
    if len(lead) < 2:
        return {**facts, "tells": False, "why_not": "one seed cannot tell"}
    low = t_interval(lead, confidence=CONFIDENCE).low
    words = f"training adds {facts['lead']:.3g} (at least {low:.2g}), and {wanted:.3g} is wanted"
    return {**facts, "tells": low > wanted, "why_not": "" if low > wanted else words}


def _printed() -> dict[tuple[str, str, str], float]:
    """The paper's shares over chance in its main setting: (metric, constraint, init) -> share."""
    rows = printed_numbers()
    main = rows[(rows["layer"] == 12) & (rows["architecture"] == "BatchTopK") & (rows["l0"] == 160)]
    cells = zip(main["metric"], main["variant"], main["init"], main["mean"], strict=True)
    chance = CHANCE | {"autointerp_judge": 0.5}
    above = {(metric, arm, init): float(score) - chance[metric] for metric, arm, init, score in cells}
    return {cell: gain / above[cell[0], "trained", "iso"] for cell, gain in above.items()}
