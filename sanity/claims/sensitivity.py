"""Assay sensitivity: an "equivalent" that an untrained dictionary would get too is no finding.

Two arms can only be called equivalent by a metric that sees, on the same seeds and in the same setting, what
training adds: the trained arm must be ahead of each of the ledger's controls by more than twice the margin
(the lower end of the 90 % interval of that lead lies above it). Comparisons with a control itself are exempt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from sanity.claims.choosing import ScoreChoice
from sanity.claims.schema import AllMetrics, ArmOf, BestOfSeveral, Comparison, Control, scope_of
from sanity.claims.selection import NoRowsError
from sanity.stats import ALIKE_RANDOM, HOLLOW, Verdict, Word, t_interval

BAR = 2.0
"""By how many margins the trained arm must be ahead of a control."""
CONFIDENCE = 0.90


@dataclass(frozen=True)
class LeadOverControl:
    """By how much the trained arm is better than a control, seed by seed; None where it was not run."""

    control: Control
    values: pd.Series | None
    imported: str = ""
    """The run that the control's scores are from, where it is not the reader's own."""

    def is_shown(self, margin: float) -> bool:
        """Whether the lead is shown to exceed twice the margin."""
        if self.values is None or len(self.values) < 2:
            return False
        return t_interval(self.values, confidence=CONFIDENCE).low > BAR * margin

    def words(self, margin: float) -> str:
        """The lead with its interval, and what is wanted of it."""
        if self.values is None:
            return f"control not run: {self.control.label}"
        low, high = t_interval(self.values, confidence=CONFIDENCE) if len(self.values) > 1 else ("?", "?")
        ends = f" [{low:.3f}, {high:.3f}]" if len(self.values) > 1 else ""
        wanted = f"wanted is more than {BAR * margin:.3g}"
        whose = f" (imported: {self.imported})" if self.imported else ""
        return f"trained is ahead of {self.control.label}{whose} by {self.values.mean():.3f}{ends}, {wanted}"


def leads_over_controls(
    claim: Comparison | BestOfSeveral | AllMetrics, metric: str, choice: ScoreChoice, seeds: pd.Index
) -> tuple[LeadOverControl, ...]:
    """The trained arm's lead over every control that says something about `metric`; none where exempt."""
    others = claim.against if isinstance(claim, BestOfSeveral) else (claim.against,)
    known = [one for one in choice.ledger.controls.values() if not one.metrics or metric in one.metrics]
    compared = [
        arm if arm.experiment else arm.model_copy(update={"experiment": scope_of(claim, metric).experiment})
        for arm in (claim.judged, *others)
    ]
    if any(one.is_arm(arm) for one in choice.ledger.controls.values() for arm in compared):
        return ()
    at = claim.judged.model_dump(exclude={"constraint", "init", "objective"})
    trained = ArmOf(constraint="trained", **at)
    sign = 1.0 if choice.ledger.metrics[metric].direction == "higher" else -1.0
    found = []
    for one in known:
        own = {name: value for name, value in one.arm.model_dump().items() if value is not None}
        arms = (trained, ArmOf(**{**at, **own}))
        judged, against = (_on(seeds, claim, arm, metric, choice) for arm in arms)
        if judged is None or against is None:
            found.append(LeadOverControl(one, None))
            continue
        rows, _ = choice.rows(claim, arms[1], metric)
        whose = rows["imported"].dropna().unique() if "imported" in rows else ()
        found.append(LeadOverControl(one, sign * (judged - against), ", ".join(map(str, whose))))
    return tuple(found)


def _on(
    seeds: pd.Index,
    claim: Comparison | BestOfSeveral | AllMetrics,
    arm: ArmOf,
    metric: str,
    choice: ScoreChoice,
) -> pd.Series | None:
    """An arm's scores on the seeds of a comparison; None where they are not all there."""
    try:
        scores = choice.judged(claim, arm, metric)
    except NoRowsError:
        return None
    return scores.loc[seeds] if seeds.isin(scores.index).all() else None


def if_sensitive(found: Verdict, leads: Iterable[LeadOverControl]) -> Verdict:
    """The verdict, where an equivalence stands only if every control is told from the trained arm."""
    if found.verdict != "equivalent" or found.margin is None:
        return found
    leads, margin = [one for one in leads if one.control.decides], found.margin
    run = [one for one in leads if one.values is not None]
    alike = [one for one in run if not one.is_shown(margin)]
    absent = [one for one in leads if one.values is None]
    untrained = any(one.control.arm.constraint == "untrained" for one in alike)
    word: Word = HOLLOW if untrained else ALIKE_RANDOM if alike else found.verdict
    if not alike and any(one.control.required for one in absent):
        word = "inconclusive"
    notes = [found.qualifier, *(one.words(margin) for one in (*alike, *absent))]
    qualifier = "; ".join(note for note in notes if note)
    words = "; ".join((found.words, *(one.words(margin) for one in leads)))
    return replace(found, verdict=word, qualifier=qualifier, words=words.replace(found.verdict, word, 1))
