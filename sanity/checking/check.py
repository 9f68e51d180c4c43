"""A check: a grid with one arm that is given instead of trained, its nulls, and the evals that are there.

    harvest -> the given SAE in the scale of the activations, its L0 -> nulls of that L0 -> scores -> report

Everything is a cell: killed at any moment it goes on where it was, and two checks at once share their work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sanity.checking.arms import NULLS
from sanity.checking.fitting import fit_cell, published, stand_in
from sanity.checking.given import GivenSAE
from sanity.checking.other_hooks import hooks_that_fit
from sanity.checking.report import Report, make_report
from sanity.checking.request import (
    BASELINES,
    OF_TRANSCODERS,
    CheckedArm,
    CheckSize,
    Recipe,
    Request,
    asked_arms,
    budget_of,
    measured_pace,
)
from sanity.checking.target import find_hook, find_model, source_of
from sanity.engine.cells import Cell, Cost, in_order
from sanity.engine.computing import compute, results, total_cost
from sanity.engine.store import LocalStore, missing, open_store
from sanity.errors import BadInputError
from sanity.evals import BeyondAffine, Eval
from sanity.experiments.planner import plan_runs
from sanity.experiments.plans import Plan
from sanity.models import Plain
from sanity.models.objectives import AffineSkip
from sanity.sources import Hook, Pace

log = logging.getLogger("sanity")

GRID = "check"
_GUESSED_L0 = 32
"""For costs, until it is measured."""


@dataclass(eq=False)
class Check:
    """What is checked, where, and how; `run` computes what is missing and gives the report.

    Raises
    ------
    BadInputError
        For an SAE that does not go with the model or the hook, and several that are not of one recipe.
    """

    givens: Sequence[GivenSAE]
    request: Request = field(default_factory=Request)
    model: str | None = None
    hook: str | None = None
    store: LocalStore = field(default_factory=open_store)

    def __post_init__(self) -> None:
        first = self.givens[0]
        if any(one.sae.W_dec.shape != first.sae.W_dec.shape for one in self.givens):
            shapes = ", ".join(f"{one.name} {list(one.sae.W_dec.shape)}" for one in self.givens)
            raise BadInputError(f"several SAEs are seeds of one recipe here, but differ in size: {shapes}")
        if len({one.weights for one in self.givens}) < len(self.givens):
            raise BadInputError("an SAE was given twice: give each seed of the recipe once")
        self.model = find_model(first, self.model)
        self.hook = find_hook(first, self.hook, self.model)
        for one in self.givens[1:]:
            find_hook(one, self.hook, self.model)

    @property
    def name(self) -> str:
        """Of the given SAE, or of the first of several."""
        more = f" and {len(self.givens) - 1} more" if len(self.givens) > 1 else ""
        return self.givens[0].name + more

    @property
    def baselines(self) -> tuple[str, ...]:
        """Those asked for; of an object whose decoder is its own code none that would change it."""
        kept = all(one.can_be_kept for one in self.givens)
        named = self.request.baselines
        if self.givens[0].is_transcoder:
            more = OF_TRANSCODERS if named == BASELINES else ()
            return tuple(name for name in (*named, *more) if name != "random_latents")
        return tuple(name for name in named if kept or name not in NULLS or NULLS[name].latents_too)

    @cached_property
    def pace(self) -> Pace:
        """How fast this machine is."""
        return measured_pace()

    @cached_property
    def size(self) -> CheckSize:
        """The largest size that fits into the minutes that there are; what is computed already is free."""
        for size in self.request.sizes:
            if self.request.minutes is None or self._cost_of(size).seconds <= 60 * self.request.minutes:
                return size
        smallest = self.request.sizes[-1]
        log.warning(
            "the smallest check takes about %.1f minutes on this machine, more than the %g asked for",
            self._cost_of(smallest).seconds / 60, self.request.minutes,
        )  # fmt: skip
        return smallest

    def _cost_of(self, size: CheckSize) -> Cost:
        return total_cost(missing(self._cells(size, _GUESSED_L0), self.store))

    def _source(self, size: CheckSize) -> Hook:
        assert self.model is not None
        assert self.hook is not None
        return source_of(self.model, self.hook, self.request.text, tokens=size.tokens, held_out=size.held_out)

    @property
    def source(self) -> Hook:
        """Where activations come from."""
        return self._source(self.size)

    def _fits(self, size: CheckSize) -> list[Cell]:
        source = self._source(size)
        return [
            fit_cell(
                published(one, self.store), one, source,
                (self.request.scale,) if self.request.scale else one.scales, self.request.device,
            )
            for one in self.givens
        ]  # fmt: skip

    @property
    def fits(self) -> list[Cell]:
        """Of each given SAE: its scale, its L0, and how well it reconstructs."""
        return self._fits(self.size)

    def _arms(self, size: CheckSize, l0: float) -> list[CheckedArm]:
        first = self.givens[0]
        recipe = Recipe(
            first.recipe_at(l0),
            first.d_sae,
            self._source(size),
            budget_of(size),
            self.request.device,
            AffineSkip() if getattr(first.sae, "W_skip", None) is not None else Plain(),
        )
        evals = list(self._evals(size))
        kept = all(one.can_be_kept for one in self.givens)
        fits = self._fits(size)
        return list(asked_arms(recipe, fits, self.baselines, evals, self.request.seeds, can_be_kept=kept))

    def _plan(self, size: CheckSize, l0: float) -> Plan:
        asked = [arm.asked for arm in self._arms(size, l0)]
        return plan_runs(asked, self._evals(size), grid=GRID, pace=self.pace)

    def _evals(self, size: CheckSize) -> dict[str, Eval]:
        """What is asked; of a transcoder also what it explains beyond an affine map."""
        evals = self.request.eval_fields(size)
        more = BeyondAffine(samples=size.tokens) if self.givens[0].is_transcoder else None
        return evals if more is None else {**evals, more.name: more}

    def _cells(self, size: CheckSize, l0: float) -> list[Cell]:
        return in_order([*self._fits(size), *self._plan(size, l0).cells])

    @property
    def cells(self) -> list[Cell]:
        """Everything that the check computes; as if L0 were 32 where it is not measured yet."""
        found = [self.store.get(cell.key) for cell in self.fits]
        known = [one.json("fit")["l0"] for one in found if one is not None]
        return self._cells(self.size, sum(known) / len(known) if len(known) == len(found) else _GUESSED_L0)

    def run(self) -> Report:
        """Compute what is missing, and compare.

        Raises
        ------
        BadInputError
            The SAE is dead on these activations, or explains less of them than an untrained dictionary: then
            it is for another hook, model or scale, and its nulls say nothing about it.
        """
        began = time.perf_counter()
        facts = [fit.json("fit") for fit in results(self.fits, self.store)]
        for given, fit in zip(self.givens, facts, strict=True):
            self._require_fit(given, fit)
            if not given.can_be_kept:
                stand_in(self.fits[self.givens.index(given)], given, self.store, fit["scale"])
        l0 = sum(fit["l0"] for fit in facts) / len(facts)
        arms = {arm.asked.run: arm for arm in self._arms(self.size, l0)}
        plan = self._plan(self.size, l0)
        compute(plan.cells, self.store, verify=False)
        return make_report(self, plan, arms, facts, seconds=time.perf_counter() - began)

    def _require_fit(self, given: GivenSAE, fit: dict[str, Any]) -> None:
        explained, untrained = fit["explained_variance"], fit["untrained"]
        if given.is_transcoder:  # what an untrained one writes has nothing to do with the target
            untrained = max(untrained, 0.0)
        here = explained[fit["scale"]]
        if fit["alive"] == 0:
            raise BadInputError(
                f"all {given.d_sae} latents of {given.name} are dead on {fit['rows']} activations at "
                f"{self.hook} of {self.model}: is it for another hook, model or scale?"
            )
        if here >= min(untrained / 2, untrained - 0.05):
            return
        hint = self._hint(given, fit, above=max(untrained, here))
        raise BadInputError(
            f"{given.name} does not fit {self.hook} of {self.model}: it explains {here:.3g} of the variance "
            f"at an L0 of {fit['l0']:.3g}, "
            f"an untrained dictionary of its size and L0 {untrained:.3g}: a comparison with its nulls "
            f"would say nothing about it; {hint}"
        )

    def _hint(self, given: GivenSAE, fit: dict[str, Any], *, above: float) -> str:
        """In which scale, or at which other hook, the SAE would explain more than `above`."""
        explained = fit["explained_variance"]
        scale = max(explained, key=lambda one: explained[one])
        if given.is_transcoder:
            if explained[scale] > above:
                return f"in another scale it explains {explained[scale]:.2f}: give --scale {scale!r}"
            return "it is for another MLP or model, or its input was scaled in another way"
        there = hooks_that_fit(
            given, self.source, self.store, scale=fit["scale"], above=above, device=self.request.device
        )
        if there and max(there.values()) > explained[scale]:
            said = ", ".join(f"{value:.2f} at {hook}" for hook, value in there.items())
            return f"it explains {said}: give another --hook"
        if explained[scale] > above:
            return f"in another scale it explains {explained[scale]:.2f}: give --scale {scale!r}"
        return "nor does it fit another hook: it is for another model, or its input was scaled in another way"


def planned(check: Check) -> dict[str, Any]:
    """What a check computes and what the rest of it costs, as plain data."""
    cells = check.cells
    absent = missing(cells, check.store)
    cost = total_cost(absent)
    return {
        "sae": check.name,
        "model": check.model,
        "hook": check.hook,
        "tokens": check.size.tokens,
        "held_out_tokens": check.size.held_out,
        "seeds": check.request.seeds,
        "baselines": list(check.baselines),
        "evals": list(check.request.evals),
        "results": len(cells),
        "missing": len(absent),
        "seconds": cost.seconds,
        "disk_bytes": cost.disk_bytes,
        "memory_bytes": cost.memory_bytes,
    }
