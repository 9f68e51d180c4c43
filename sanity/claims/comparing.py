"""A claim's comparison as numbers: paired differences, and the verdict on them at any margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from sanity.baselines import SoftFrozenDecoder
from sanity.claims.choosing import ScoreChoice, Span
from sanity.claims.schema import AllMetrics, ArmOf, BestOfSeveral, Comparison
from sanity.claims.selection import NoRowsError
from sanity.claims.sensitivity import LeadOverControl, if_sensitive, leads_over_controls
from sanity.errors import BadInputError
from sanity.models import Constraint
from sanity.stats import Verdict, paired_differences, verdict, verdict_best_of


@dataclass(frozen=True)
class PairedComparison:
    """The judged arm against one other, or against the best of several, on one metric.

    Attributes
    ----------
    differences
        One row per seed, one column per arm that it is held against: judged minus that arm, raw.
    judged_mean, against_mean
        Mean scores of the judged arm and of the (nearest) other.
    fraction
        The declared margin, as a fraction of the metric's range.
    all_at_floor
        Where no arm is above the metric's floor, the sentence that says so.
    controls
        The trained arm's leads over what an equivalence has to be told from.
    flat
        Why the metric cannot rank arms, where it does not rise along training.
    """

    claim: Comparison | BestOfSeveral | AllMetrics
    metric: str
    differences: pd.DataFrame
    judged_mean: float
    fraction: float
    span: Span
    higher_is_better: bool
    gate_failure: str | None
    all_at_floor: str | None = None
    controls: tuple[LeadOverControl, ...] = ()
    flat: str = ""

    @property
    def nearest(self) -> str:
        """The arm that comes nearest to the judged one, or furthest above it."""
        sign = 1.0 if self.higher_is_better else -1.0
        return str((sign * self.differences.mean()).idxmin())

    @property
    def nearest_arm(self) -> ArmOf:
        """The same as an arm."""
        others = self.claim.against if isinstance(self.claim, BestOfSeveral) else (self.claim.against,)
        return next(arm for arm in others if arm.label == self.nearest)

    @property
    def against_mean(self) -> float:
        """Mean score of the nearest of the other arms."""
        return self.judged_mean - float(self.differences[self.nearest].mean())

    def verdict(self, fraction: float | None = None) -> Verdict:
        """The verdict at the declared margin, or at another `fraction` of the metric's range."""
        found = self._compared(self.fraction if fraction is None else fraction)
        if self.flat and found.verdict != "open":
            words = f"{found.words}; it decides nothing, since the metric {self.flat}"
            return replace(found, verdict="no range", qualifier=self.flat, words=words)
        return if_sensitive(found, self.controls)

    def _compared(self, fraction: float) -> Verdict:
        margin = fraction * self.span.for_margin
        if isinstance(self.claim, BestOfSeveral):
            return verdict_best_of(
                self.differences,
                margin=margin,
                metric_range=self.span.available,
                reseed_sd=self.span.reseed_sd,
                higher_is_better=self.higher_is_better,
                gate_failure=self.gate_failure,
                all_at_floor=self.all_at_floor,
                judged=self.claim.judged.label,
            )
        (against,) = self.differences.columns
        return verdict(
            self.differences[against],
            margin=margin,
            metric_range=self.span.available,
            reseed_sd=self.span.reseed_sd,
            higher_is_better=self.higher_is_better,
            gate_failure=self.gate_failure,
            all_at_floor=self.all_at_floor,
            names=(self.claim.judged.label, str(against)),
        )


def paired(
    claim: Comparison | BestOfSeveral | AllMetrics, metric: str, chosen: ScoreChoice
) -> PairedComparison:
    """The claim's comparison on `metric`; raises `NoRowsError` where scores are missing."""
    others = claim.against if isinstance(claim, BestOfSeveral) else (claim.against,)
    judged = chosen.judged(claim, claim.judged, metric)
    against = {arm.label: chosen.judged(claim, arm, metric) for arm in others}
    if chosen.on_shared_seeds:
        shared = [seed for seed in judged.index if all(seed in one.index for one in against.values())]
        if not shared:
            raise NoRowsError(f"{' and '.join([claim.judged.label, *against])} share no seed")
        judged, against = judged[shared], {label: one[shared] for label, one in against.items()}
    what = f"claim {claim.id!r}, {metric}: the scores"
    differences = {label: paired_differences(judged, one, what=what) for label, one in against.items()}
    return PairedComparison(
        claim,
        metric,
        pd.DataFrame(differences),
        float(judged.mean()),
        claim.margin.fraction,
        chosen.span(claim, (claim.judged, *others), metric),
        chosen.ledger.metrics[metric].direction == "higher",
        chosen.failed_gates.get(metric),
        chosen.all_at_floor(claim, (claim.judged, *others), metric),
        leads_over_controls(claim, metric, chosen, judged.index),
        chosen.flat.get(metric, ""),
    )


def cone_note(claim: Comparison | BestOfSeveral, chosen: ScoreChoice) -> str:
    """What to say where the trained arm itself stays inside the cones of the soft-frozen one: nothing binds.

    Then the two arms are nearly one, and their sameness says nothing about random directions.
    """
    others = claim.against if isinstance(claim, BestOfSeveral) else (claim.against,)
    constraints = [Constraint.named(arm.constraint) for arm in others]
    cones = [one.cosine for one in constraints if isinstance(one, SoftFrozenDecoder)]
    if claim.judged.constraint != "trained" or not cones:
        return ""
    try:
        cosine = float(chosen.judged(claim, claim.judged, "cosine_to_init").mean())
    except (NoRowsError, BadInputError):
        return ""
    if cosine < min(cones):
        return ""
    return f"hardly constrained: trained directions keep a cosine of {cosine:.2f} to their start"


def comparisons(choices: Mapping[str, ScoreChoice], judged_by: Mapping[str, str]) -> list[PairedComparison]:
    """Every comparison of the ledger, on one metric each, that the scores can speak to.

    Parameters
    ----------
    choices
        The scores of every run by its name; those of the reader's own run by "".
    judged_by
        Claim -> the run that judged it; the reader's own where it says nothing.
    """
    found = []
    for claim in choices[""].ledger.claims:
        if isinstance(claim, Comparison | BestOfSeveral):
            try:
                found.append(paired(claim, claim.metric, choices[judged_by.get(claim.id, "")]))
            except (NoRowsError, BadInputError):
                # the front page says why such a claim is open
                continue
    return found
