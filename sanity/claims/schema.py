"""What an entry of the ledger may say: the schema of `book/claims.yml`.

A claim compares the `judged` arm with the arm it is held `against`. The verdict words come from the usual
case, a trained SAE against a baseline, and keep their order: "trained better" means that the judged arm is
better, "baseline better" that the other is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sanity.stats import Word

MetricName = Literal[
    "explained_variance",
    "ce_recovered",
    "kl_recovered",
    "l0",
    "dead_latents",
    "recovery",
    "frequency_weighted_recovery",
    "mean_max_cosine",
    "mean_matched_cosine",
    "detection_f1",
    "cosine_to_init",
    "share_on_edge",
    "autointerp_judge",
    "autointerp_auroc",
    "autointerp_auroc_token_matched",
    "sparse_probing_top1",
    "sparse_probing_top5",
    "ravel_disentanglement",
    "log10_cone_bound",
    "cone_reach",
]
ConstraintName = Literal[
    "trained", "frozen_decoder", "soft_frozen_decoder", "frozen_encoder", "frozen_both", "untrained"
]
# "truth" starts the decoder at the known features of a synthetic world.
InitName = Literal["iso", "cov", "truth"]
ArchitectureName = Literal["relu", "topk", "batchtopk", "jumprelu", "matryoshka"]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=0.5)]
ANY_SCALE = "any"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Entry):
    """The scale of a metric, the same for every claim."""

    label: Text
    direction: Literal["higher", "lower", "none"]
    """Which scores are better; metrics without a better side take no part in comparisons."""
    range: Annotated[float, Field(gt=0)] | None
    """Ceiling minus floor of the task as declared, used until pilot seeds have measured it."""
    floor: Text
    ceiling: Text


class Margin(_Entry):
    """How large a difference still counts as the same."""

    fraction: Share
    """Of the metric's range."""
    why: Text
    blind: bool
    """Whether it was chosen before anything was known about the results."""


class Scale(_Entry):
    """A size at which claims were made. What is left out may be anything; L0 on real text is in the scope."""

    label: Text
    subject: str | None = None
    d_in: Annotated[int, Field(gt=0)] | None = None
    n_features: Annotated[int, Field(gt=0)] | None = None
    d_sae: Annotated[int, Field(gt=0)] | None = None
    l0: Annotated[int, Field(gt=0)] | None = None
    samples: Annotated[int, Field(gt=0)] | None = None
    """Seen in training, repeats counted."""


class Scope(_Entry):
    """Where a claim is made. What is left out is filled from the profile's primary grid.

    The experiment may be left out where a single one measures the metric.
    """

    experiment: Text | None = None
    world_or_hook: str | None = None
    architecture: ArchitectureName | None = None
    l0_target: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None


class ArmOf(_Entry):
    """An arm of a comparison; what it says about the scope overrides the claim's own scope."""

    constraint: ConstraintName
    init: InitName = "iso"
    experiment: str | None = None
    world_or_hook: str | None = None
    architecture: ArchitectureName | None = None

    @property
    def label(self) -> str:
        """The arm in words: "frozen decoder (cov)"."""
        where = [v for v in (self.init, self.architecture, self.world_or_hook, self.experiment) if v]
        name = self.constraint.replace("_", " ").replace("soft frozen", "soft-frozen")
        return f"{name} ({', '.join(where)})"


class Expected(_Entry):
    """A range in which a score should lie; an end that the metric has anyway is left out."""

    low: float | None = None
    high: float | None = None
    why: Text
    blind: bool

    @model_validator(mode="after")
    def _rises(self) -> Expected:
        if self.low is None and self.high is None:
            raise ValueError("an expected range needs at least one end")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low {self.low} must be less than high {self.high}")
        return self


class _Claim(_Entry):
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


class Comparison(_Claim):
    """One arm against one other on one metric."""

    kind: Literal["comparison"] = "comparison"
    metric: MetricName
    judged: ArmOf
    against: ArmOf
    margin: Margin


class BestOfSeveral(_Claim):
    """One arm against the best of several, corrected for having chosen the best."""

    kind: Literal["best of several"]
    metric: MetricName
    judged: ArmOf
    against: Annotated[tuple[ArmOf, ...], Field(min_length=2)]
    margin: Margin


class AllMetrics(_Claim):
    """One arm against one other on every one of several metrics."""

    kind: Literal["all metrics"]
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=2)]
    judged: ArmOf
    against: ArmOf
    margin: Margin


class Value(_Claim):
    """One arm's score against a range fixed in advance."""

    kind: Literal["value"]
    scale: Text
    """Without a default: whether an expected value holds at any scale is a decision."""
    metric: MetricName
    judged: ArmOf
    expected: Expected
    exact: bool = False
    """Whether the number is computed and not measured: one row decides, without an interval."""


AnyClaim = Annotated[Comparison | BestOfSeveral | AllMetrics | Value, Field(discriminator="kind")]


def metrics_of(claim: Comparison | BestOfSeveral | AllMetrics | Value) -> tuple[MetricName, ...]:
    """The metrics that a claim reads."""
    return claim.metrics if isinstance(claim, AllMetrics) else (claim.metric,)


def is_blind(claim: Comparison | BestOfSeveral | AllMetrics | Value) -> bool:
    """Whether the claim's margin or expected range was set without knowledge of results."""
    return claim.expected.blind if isinstance(claim, Value) else claim.margin.blind
