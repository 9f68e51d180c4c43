"""What a check is asked for, how large it is, and which arms that makes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from sanity.baselines import SkipOnly, Trained
from sanity.checking.arms import NULLS, Given, GivenObject
from sanity.checking.fitting import null_cell
from sanity.checking.given import InputScale
from sanity.engine.cells import Cell
from sanity.engine.products import product
from sanity.errors import BadInputError
from sanity.evals.base import Eval
from sanity.experiments.plans import RunRequest
from sanity.models import Architecture, Arm, Objective, Plain
from sanity.models.objectives import AffineSkip
from sanity.profiles import load, named_arm
from sanity.sources import MLP, Budget, Hook, Noise, Pace, RunSpec

TRAINED_NULLS = ("frozen_decoder", "soft_frozen_decoder", "frozen_encoder")
BASELINES = (*TRAINED_NULLS, "untrained", *NULLS)
"""What is compared with unless it is said otherwise."""
ON_REQUEST = ("trained", "noise", "random_model")
OF_TRANSCODERS = ("skip_only", "other_tokens", "random_mlp")
"""Further baselines of a transcoder: no latents; outputs of other tokens; the MLP with drawn weights."""
EVALS = ("reconstruction", "loss", "sparse_probing", "interpretability")
READ_LATENTS_ALONE = ("sparse_probing", "interpretability", "judged_interpretability")
"""Evals that never decode: a wrong decoder changes nothing for them."""
WRONG_DECODER = "wrong decoder"
ORDINARY = "ordinary SAE"
"""An arm that is trained as usual: something to compare with, and no null."""
LEARNING_RATE, BATCH, EPOCHS = 1e-3, 512, 2


@dataclass(frozen=True)
class CheckSize:
    """How much is read and trained on, and whose evals are taken."""

    tokens: int
    """That arms train on, `EPOCHS` times."""
    held_out: int
    profile: str
    """Whose fields the evals have."""


SIZES = (
    CheckSize(163_840, 20_480, "quick"),
    CheckSize(81_920, 20_480, "quick"),
    CheckSize(40_960, 8_192, "smoke"),
    CheckSize(16_384, 4_096, "smoke"),
)
"""From large to small; a limit on minutes takes the first that fits."""


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    baselines: tuple[str, ...] = BASELINES
    evals: tuple[str, ...] = EVALS
    seeds: int = 3
    """Of every null."""
    tokens: int | None = None
    """To train on; None: as many as the largest size has."""
    minutes: float | None = None
    """At most about so long; a smaller check is made for it."""
    text: tuple[str, ...] = ("registry",)
    scale: InputScale | None = None
    """What the SAE takes, where that is known better than its configuration says."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.baselines or not self.evals:
            raise BadInputError("a check needs at least one seed, one baseline and one eval")
        if self.tokens is not None and self.tokens < 2048:
            raise BadInputError(f"{self.tokens} tokens are too few to train a null on: give 2,048 or more")
        if self.minutes is not None and self.minutes <= 0:
            raise BadInputError(f"a check cannot take {self.minutes:g} minutes: give more than 0")
        if self.tokens is not None and self.minutes is not None:
            raise BadInputError("give --tokens or --minutes, not both: the minutes decide how many tokens")
        for name in self.baselines:
            if name not in (*NULLS, *ON_REQUEST, *OF_TRANSCODERS):
                _checked_arm(name)
        if all(name.split("/")[0] == "trained" for name in self.baselines):
            raise BadInputError("an SAE that is trained as usual is no null: give a baseline besides trained")
        for name in self.evals:
            Eval.class_named(name)
        others = [name for name in self.baselines if name not in NULLS or NULLS[name].latents_too]
        if set(self.evals) <= set(READ_LATENTS_ALONE) and all(name.startswith("trained") for name in others):
            raise BadInputError(
                f"{' and '.join(self.evals)} read latents alone, which {', '.join(self.baselines)} do not "
                "change: ask for another eval, or for another baseline"
            )

    @property
    def sizes(self) -> tuple[CheckSize, ...]:
        """The sizes that may be taken."""
        if self.tokens is None:
            return SIZES if self.minutes is not None else SIZES[:1]
        like = next((size for size in SIZES if size.tokens <= self.tokens), SIZES[-1])
        return (replace(like, tokens=self.tokens),)

    def eval_fields(self, size: CheckSize) -> dict[str, Eval]:
        """The evals, with the fields that the size gives them."""
        profile = load(size.profile, only=[])
        found = {name: profile.eval_named(name).in_environment() for name in self.evals}
        return {name: one for name, one in found.items() if one is not None}


def _checked_arm(name: str) -> None:
    try:
        named_arm(name)
    except BadInputError as error:
        raise BadInputError(
            f"there is no baseline {name!r}: choose from {', '.join((*BASELINES, *ON_REQUEST))}, or a "
            "constraint with an init, such as frozen_decoder/cov"
        ) from error


@dataclass(frozen=True)
class Recipe:
    """What all arms of a check have in common."""

    architecture: Architecture
    d_sae: int
    source: Hook
    budget: Budget
    device: str
    objective: Objective = Plain()

    def run(self, seed: int, **more: object) -> RunSpec:
        """A run of this recipe."""
        source = more.pop("source", self.source)
        fields = {"seed": seed, "learning_rate": LEARNING_RATE, "objective": self.objective, **more}
        arm = Arm(self.architecture, self.d_sae, **fields)  # type: ignore[arg-type]
        return RunSpec(arm, source, self.budget, self.device)  # type: ignore[arg-type]


def budget_of(size: CheckSize) -> Budget:
    """How long arms train."""
    return Budget(max(1, round(EPOCHS * size.tokens / BATCH)), BATCH)


@dataclass(frozen=True, eq=False)
class CheckedArm:
    """An arm of a check, as readers know it."""

    name: str
    kind: str
    """Arms of a kind differ about as much between seeds."""
    asked: RunRequest


def asked_arms(
    recipe: Recipe,
    fits: Sequence[Cell],
    baselines: Sequence[str],
    evals: Sequence[str],
    seeds: int,
    *,
    can_be_kept: bool = True,
) -> Iterator[CheckedArm]:
    """Every arm: the given SAEs first, then each null.

    A single SAE is scored once for every seed of the nulls, so that both are asked the same; of several, each
    is a seed, and has one null of every kind that is made of it.
    """
    for seed in range(seeds if len(fits) == 1 else len(fits)):
        arm = Given() if can_be_kept else GivenObject()
        asked = RunRequest(recipe.run(seed, constraint=arm), made=fits[seed % len(fits)])
        yield CheckedArm(Given().label, "given", asked)
    for name in baselines:
        for seed in range(len(fits) if name in NULLS and len(fits) > 1 else seeds):
            yield _null(name, recipe, fits[seed % len(fits)], evals, seed)


def _null(name: str, recipe: Recipe, fit: Cell, evals: Sequence[str], seed: int) -> CheckedArm:
    source = recipe.source
    if name == "noise":
        run = recipe.run(seed, source=Noise(source))
        return CheckedArm("trained on noise of its covariance", "trained", RunRequest(run, scored_on=source))
    if name in OF_TRANSCODERS:
        return _null_of_transcoder(name, recipe, evals, seed)
    if name == "random_model":
        other = replace(source, at=replace(source.at, random_weights=True))
        return CheckedArm(
            "trained on a random model", "random model", RunRequest(recipe.run(seed, source=other))
        )
    if name in NULLS:
        null = NULLS[name]
        run = recipe.run(seed, constraint=null)
        chosen = [one for one in evals if null.latents_too or one not in READ_LATENTS_ALONE]
        kind = "untrained" if null.latents_too else WRONG_DECODER
        return CheckedArm(null.label, kind, RunRequest(run, made=null_cell(null, run, fit), evals=chosen))
    constraint, init = named_arm(name)
    words = constraint.label if init.name == "iso" else f"{constraint.label} ({init.label})"
    if constraint == Trained():
        words, kind = f"{words} for as long as the nulls", ORDINARY
    else:
        kind = "trained" if constraint.learns else "untrained"
    return CheckedArm(words, kind, RunRequest(recipe.run(seed, constraint=constraint, init=init)))


def _null_of_transcoder(name: str, recipe: Recipe, evals: Sequence[str], seed: int) -> CheckedArm:
    source = recipe.source
    if not isinstance(source, MLP):
        raise BadInputError(f"{name} is a baseline of transcoders, and an SAE was given")
    if name == "skip_only":
        run = recipe.run(seed, constraint=SkipOnly(), objective=AffineSkip())
        return CheckedArm(
            "an affine map without latents", "trained", RunRequest(run, evals=_that_decode(evals))
        )
    if name == "other_tokens":
        run = recipe.run(seed, source=replace(source, outputs="shuffled"))
        return CheckedArm("trained on outputs of other tokens", "trained", RunRequest(run, scored_on=source))
    run = recipe.run(seed, source=replace(source, outputs="random"))
    decoding = [one for one in _that_decode(evals) if one != "loss"]
    return CheckedArm("trained on the MLP with drawn weights", "random MLP", RunRequest(run, evals=decoding))


def _that_decode(evals: Sequence[str]) -> list[str]:
    return [one for one in evals if one not in READ_LATENTS_ALONE]


def measured_pace() -> Pace:
    """How fast this machine is now, by one matrix product: costs are told in proportion to it."""
    x, weights = torch.ones(2048, 576), torch.ones(4608, 576)
    bias, best = torch.zeros(4608), float("inf")
    for _ in range(3):
        began = time.perf_counter()
        product(x, weights, bias)
        best = min(best, time.perf_counter() - began)
    # What the default pace goes with: 4.5e-12 seconds per product of a dense matrix on two cores.
    ratio = max(0.25, best / (2048 * 576 * 4608 * 4.5e-12))
    usual = Pace()
    return Pace(
        usual.seconds_per_product * ratio, usual.seconds_per_latent * ratio, usual.tokens_per_second / ratio,
        usual.edits_per_second / ratio,
    )  # fmt: skip
