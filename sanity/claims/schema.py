"""What an entry of the ledger may say: the schema of `book/claims.yml`.

A claim compares the `judged` arm with the arm it is held `against`. The verdict words come from the usual
case, a trained SAE against a baseline, and keep their order: "trained better" means that the judged arm is
better, "baseline better" that the other is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, model_validator

from sanity import baselines, evals, sources
from sanity.models import Architecture, Constraint, Init, Objective, objectives
from sanity.stats import Word

assert baselines  # importing the rooms makes their names known
assert evals
assert objectives
assert sources

ConstraintName = Annotated[str, AfterValidator(lambda name: Constraint.named(name).spelled)]
InitName = Annotated[str, AfterValidator(lambda name: Init.named(name).spelled)]
ObjectiveName = Annotated[str, AfterValidator(lambda name: Objective.named(name).spelled)]
ArchitectureName = Annotated[str, AfterValidator(lambda name: Architecture.class_named(name).name)]
"""Names are those that the classes declare, spelled as in profiles; unknown ones are refused."""
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=0.5)]
ANY_SCALE = "any"


class _LedgerEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LedgerFile(_LedgerEntry):
    """What a ledger's file holds; each claim is validated by itself, so that all faults are listed."""

    pilot_seeds: tuple[Annotated[StrictInt, Field(ge=0, lt=2**63)], ...]
    experiments: dict[str, Any]
    called: dict[str, Text] = Field(default_factory=dict)
    """What pages call the experiments whose name stands in the name of an arm."""
    scales: dict[str, Any]
    margins: dict[str, Any]
    controls: dict[str, Any]
    claims: tuple[Any, ...]


class Margin(_LedgerEntry):
    """How large a difference still counts as the same."""

    fraction: Share
    """Of the metric's range."""
    why: Text
    blind: bool
    """Whether it was chosen before anything was known about the results."""


class Scale(_LedgerEntry):
    """A size at which claims were made. What is left out may be anything; L0 on real text is in the scope."""

    label: Text
    subject: str | None = None
    d_in: Annotated[int, Field(gt=0)] | None = None
    n_features: Annotated[int, Field(gt=0)] | None = None
    d_sae: Annotated[int, Field(gt=0)] | None = None
    l0: Annotated[int, Field(gt=0)] | None = None
    samples: Annotated[int, Field(gt=0)] | None = None
    """Seen in training, repeats counted."""


class Experiment(_LedgerEntry):
    """Where the scores of an experiment come from, if not from the grid of its name alone."""

    grids: Annotated[tuple[Text, ...], Field(min_length=1)]
    evals: tuple[Text, ...] = ()
    """What of them is taken, by the profile's names; empty: everything."""
    pilots: tuple[Text, ...] = ()
    """Grids of pilot seeds, which measure the range of what is taken."""
    only_first: bool = False
    """Whether only the first of the grids whose scores count is taken; else all of them are."""
    at: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of their samples at which runs are read, from their curves; None: at the end, as scored."""
    metrics: tuple[Text, ...] = ()
    """What is read from the curves."""

    @model_validator(mode="after")
    def _curves_have_metrics(self) -> Experiment:
        if (self.at is None) != (not self.metrics):
            raise ValueError("a share of the samples (at) and the metrics to be read there come together")
        return self


class Scope(_LedgerEntry):
    """Where a claim is made. What is left out is filled from the first block of the experiment's grid.

    The experiment may be left out where a single one measures the metric.
    """

    experiment: Text | None = None
    world_or_hook: str | None = None
    architecture: ArchitectureName | None = None
    l0_target: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None


class ArmOf(_LedgerEntry):
    """An arm of a comparison; what it says about the scope overrides the claim's own scope."""

    constraint: ConstraintName
    init: InitName = "iso"
    objective: ObjectiveName = "plain"
    experiment: str | None = None
    world_or_hook: str | None = None
    architecture: ArchitectureName | None = None
    l0_target: Annotated[int, Field(gt=0)] | None = None
    called: str = Field(default="", exclude=True)
    """What pages call the experiment; filled in from the ledger's `called`, and no part of what is chosen."""

    @property
    def label(self) -> str:
        """The arm in words: "frozen decoder (cov)"; the usual init is said where nothing else is."""
        objective = "" if self.objective == "plain" else Objective.named(self.objective).label
        architecture = Architecture.class_named(self.architecture).title if self.architecture else ""
        l0 = f"L0 = {self.l0_target}" if self.l0_target else ""
        own = (objective, architecture, l0, self.world_or_hook, self.called or self.experiment)
        parts = [part for part in own if part]
        if self.init != "iso" or not parts:
            parts.insert(0, self.init)
        return f"{Constraint.named(self.constraint).label} ({', '.join(parts)})"


class Control(_LedgerEntry):
    """An arm that an equivalence has to be told from: see `sanity.claims.sensitivity`."""

    label: Text
    arm: ArmOf
    metrics: tuple[Text, ...] = ()
    """Those that it says something about; empty: all."""
    required: bool = True
    """Whether no equivalence stands where it was not run; else it is said that it was not."""
    decides: bool = True
    """Whether an equivalence falls where the trained arm is not told from it; else its lead is only shown."""

    def is_arm(self, arm: ArmOf) -> bool:
        """Whether an arm of a comparison is this control."""
        elsewhere = self.arm.experiment
        return arm.constraint == self.arm.constraint and elsewhere in (None, arm.experiment)


class ExpectedRange(_LedgerEntry):
    """A range in which a score should lie; an end that the metric has anyway is left out."""

    low: float | None = None
    high: float | None = None
    why: Text
    blind: bool

    @model_validator(mode="after")
    def _rises(self) -> ExpectedRange:
        if self.low is None and self.high is None:
            raise ValueError("an expected range needs at least one end")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low {self.low} must be less than high {self.high}")
        return self


class _Claim(_LedgerEntry):
    id: Slug
    by: Literal["paper", "ours"]
    statement: Text
    """In our own words."""
    where: Text
    """Section or table of the paper, or our chapter."""
    paper: str | None = None
    """The value as the paper prints it."""
    scope: Scope
    scale: Text = ANY_SCALE
    """The name of the scale at which the claim was made; "any" where it is meant for all."""
    predicts: Annotated[tuple[Word, ...], Field(min_length=1)]
    """The verdicts under which the claim stands."""
    overturned_by: Text
    """What would change our mind."""
    note: str = ""
    only_at_scale: bool = False
    """Whether it stays open at another scale, as expected values do: claims about the course of training."""


class Comparison(_Claim):
    """One arm against one other on one metric."""

    kind: Literal["comparison"] = "comparison"
    metric: Text
    judged: ArmOf
    against: ArmOf
    margin: Margin


class BestOfSeveral(_Claim):
    """One arm against the best of several, corrected for having chosen the best."""

    kind: Literal["best of several"]
    metric: Text
    judged: ArmOf
    against: Annotated[tuple[ArmOf, ...], Field(min_length=2)]
    margin: Margin


class AllMetrics(_Claim):
    """One arm against one other on every one of several metrics."""

    kind: Literal["all metrics"]
    metrics: Annotated[dict[Text, Text], Field(min_length=2)]
    """Metric -> the experiment in which it is read."""
    judged: ArmOf
    against: ArmOf
    margin: Margin


class Value(_Claim):
    """One arm's score against a range fixed in advance."""

    kind: Literal["value"]
    scale: Text
    """Without a default: whether an expected value holds at any scale is a decision."""
    metric: Text
    judged: ArmOf
    expected: ExpectedRange
    exact: bool = False
    """Whether the number is computed and not measured: one row decides, without an interval."""


AnyClaim = Annotated[Comparison | BestOfSeveral | AllMetrics | Value, Field(discriminator="kind")]


def metrics_of(claim: Comparison | BestOfSeveral | AllMetrics | Value) -> tuple[Text, ...]:
    """The metrics that a claim reads."""
    return tuple(claim.metrics) if isinstance(claim, AllMetrics) else (claim.metric,)


def scope_of(claim: Comparison | BestOfSeveral | AllMetrics | Value, metric: str) -> Scope:
    """Where a claim is made on one of its metrics."""
    if not isinstance(claim, AllMetrics):
        return claim.scope
    return claim.scope.model_copy(update={"experiment": claim.metrics[metric]})


def is_blind(claim: Comparison | BestOfSeveral | AllMetrics | Value) -> bool:
    """Whether the claim's margin or expected range was set without knowledge of results."""
    return claim.expected.blind if isinstance(claim, Value) else claim.margin.blind
