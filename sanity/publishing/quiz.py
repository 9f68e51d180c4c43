"""*Which latent is trained?*: pairs of a trained latent and another arm's, and what a judge makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.publishing.widgets import QuizQuestion

if TYPE_CHECKING:
    import pandas as pd

TRAINED = "trained"


def questions_of(
    examples: pd.DataFrame, latents: pd.DataFrame, *, others: Sequence[str], each: int, seed: int
) -> list[QuizQuestion]:
    """`each` questions for every arm of `others`, their order and sides drawn from `seed`.

    `examples` has the columns arm, seed, latent and those of a context, one row per context; `latents` has
    arm, seed, latent and `score`, the higher of which a judge takes. Two arms' first latents are a pair, and
    so on.
    """
    draw = np.random.default_rng(seed)
    by_arm = {arm: list(_shown(examples[examples["arm"] == arm])) for arm in (TRAINED, *others)}
    scores = latents.set_index(["arm", "seed", "latent"])["score"].to_dict()
    found = []
    for other in others:
        pairs = [
            (own, against)
            for own in by_arm[TRAINED]
            for against in by_arm[other]
            if own[:2] == against[:2]  # the same seed, and as early in its draw
        ]
        for (run, _, latent, html), (_, _, against, contrast) in pairs[:each]:
            first = bool(draw.random() < 0.5)
            points = _points(scores.get((TRAINED, run, latent)), scores.get((other, run, against)))
            found.append(
                QuizQuestion(*((html, contrast) if first else (contrast, html)), first, other, points)
            )
    return [found[i] for i in draw.permutation(len(found))]


def points_on_all(latents: pd.DataFrame, others: Sequence[str]) -> list[float]:
    """What choosing the higher score gets on every pair of latents with the same number and seed."""
    wide = latents.pivot_table(index=["seed", "latent"], columns="arm", values="score")
    pairs = (wide[[TRAINED, other]].dropna() for other in others if {TRAINED, other} <= set(wide))
    return [_points(own, against) or 0.0 for pair in pairs for own, against in pair.itertuples(index=False)]


def _points(own: float | None, against: float | None) -> float | None:
    if own is None or against is None or np.isnan(own) or np.isnan(against):
        return None
    return 0.5 if own == against else float(own > against)


def _shown(examples: pd.DataFrame) -> Iterator[tuple[int, int, int, str]]:
    """Seed, place in the draw, number and contexts of every latent shown; seeds take turns."""
    from sanity.evals.interpretability import Context
    from sanity.figures import context_html

    runs = []
    seed: Any
    for seed, of_seed in examples.groupby("seed", sort=False):
        latents = []
        latent: Any
        for place, (latent, rows) in enumerate(of_seed.groupby("latent", sort=False)):
            drawn: list[Any] = list(rows.itertuples())
            contexts = [
                Context(one.window, one.document, one.source, tuple(one.pieces), tuple(one.activations))
                for one in drawn
            ]
            strongest = max(context.strength for context in contexts)
            lines = (
                f"<div>{context_html(one, strongest=strongest, numbers=False)}</div>" for one in contexts
            )
            latents.append((int(seed), place, int(latent), "".join(lines)))
        runs.append(latents)
    rounds = range(max(map(len, runs), default=0))
    return (run[i] for i in rounds for run in runs if i < len(run))
