"""Scoring any SAE in a notebook: `sanity.evaluate(sae, source, evals)`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.engine.arguments import Seed, checked, usable_device
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Setting
from sanity.experiments.planner import plan_runs
from sanity.experiments.readiness import make_ready
from sanity.experiments.reading import stack
from sanity.experiments.steps import score_table
from sanity.models import Arm, TopK, check_sae
from sanity.sources import Budget, OneLayer, RunSpec, Source

_BATCH = 1024
"""Samples drawn at a time."""


@checked
def evaluate(
    sae: Any,
    source: Source,
    evals: Sequence[Eval | str] = ("reconstruction",),
    *,
    seed: Seed = 0,
    device: str = "cpu",
    store: LocalStore | None = None,
) -> pd.DataFrame:
    """The scores of any SAE on a source: one tidy row per metric, with floor, ceiling and `eval`.

    Parameters
    ----------
    sae
        Anything with `encode(x) -> z`, `decode(z) -> x_hat` and `W_dec`, for activations in the scale of the
        source: centred, and with E||x||^2 = d_in.
    source
        Such as `sanity.sources.World(...)` or `Hook(...)`. What has to be computed before (a harvest, texts,
        references) is kept in the store, and computed once.
    evals
        Evals, or their names for those with their usual fields.
    seed
        Draws the samples that are evaluated, and divides texts.

    Raises
    ------
    BadInputError
        For an object that is no SAE or has another width, and an eval that cannot be asked here.

    >>> evaluate(sae, World(), ["reconstruction", "recovery"])                     # doctest: +SKIP
    """
    check_sae(sae)
    usable_device(device)
    d_sae, d_in = sae.W_dec.shape
    # A crosscoder is spliced one layer at a time.
    wide = source.of.d_in if isinstance(source, OneLayer) else source.d_in
    if d_in not in (source.d_in, wide):
        raise BadInputError(f"the SAE is {d_in} wide, and {source.where} is {source.d_in} wide")
    frames = []
    for one in (Eval.named(each) if isinstance(each, str) else each for each in evals):
        if why := one.why_not(source):
            raise BadInputError(f"the eval {one.name} cannot be asked of SAEs on {source.where}: {why}")
        # What an SAE of this size and seed would be scored with, whatever it was trained as.
        nominal = RunSpec(Arm(TopK(1), d_sae, seed=seed), source, Budget(1, _BATCH), device)
        scoring = plan_runs([nominal], {one.name: one}).runs[0].scored[one.name]
        cells = {name: cell for name, cell in scoring.inputs if name != "sae"}
        make_ready([scoring], store)
        found = dict(zip(cells, results(list(cells.values()), store), strict=True))
        with tempfile.TemporaryDirectory() as scratch:
            scored = _scored(one, sae, Setting(source, seed, _BATCH, device, found), Path(scratch))
        about = {
            "eval": one.name,
            "sae": type(sae).__name__,
            "seed": seed,
            "d_sae": d_sae,
            **source.columns(),
        }
        frames.append(score_table(scored.scores, about))
    return stack(frames)


def _scored(one: Eval, sae: Any, setting: Setting, scratch: Path) -> EvalResult:
    if needed := one.needs():
        raise BadInputError(
            f"the eval {one.name} reads what {', '.join(needed)} found of the same SAE: score it in a grid"
        )
    (scored,) = one.score([Candidate(sae, scratch=scratch)], one.open(setting), setting)
    return scored
