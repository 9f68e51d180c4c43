"""At which other hooks of a language model an SAE does fit: where it does not at the one asked for."""

from __future__ import annotations

from typing import Any

from sanity.checking.fitting import rescaled
from sanity.checking.given import GivenSAE, InputScale
from sanity.engine.store import LocalStore, require
from sanity.evals import explained_variance
from sanity.evals.inputs import reconstructed
from sanity.sources import Hook, Pace, harvests_of
from sanity.subject import Normalisation

SEQUENCES = 4
"""Read at every hook: a look, and no measurement."""


def hooks_that_fit(
    given: GivenSAE, source: Hook, store: LocalStore, *, scale: InputScale, above: float, device: str
) -> dict[str, float]:
    """Hooks at which the SAE explains more than `above` of the variance, the best first, at most three."""
    inputs = {name: require(cell, store) for name, cell in source.cells(device, Pace()).items()}
    _, held_out = harvests_of(inputs)
    tokens = held_out.shard(0).tokens[:SEQUENCES].to(device)
    subject = source.at.load(device)
    found: dict[str, float] = {}
    # What leaves a block enters the next one: the first hook, and those after the blocks, are all there are.
    for hook in (subject.hooks[0], *subject.hooks[1::2]):
        rows = subject.residual(tokens, hook)[:, 1:].flatten(0, 1).float()
        normal = Normalisation(rows.mean(0), (rows.shape[1] / float(rows.var(0, correction=0).sum())) ** 0.5)
        sample = normal.apply(rows)
        sae: Any = rescaled(given.sae, scale, normal, sample)
        explained = float(explained_variance(sample, reconstructed(sae, sample)))
        if explained > above:
            found[hook] = explained
    return dict(sorted(found.items(), key=lambda one: -one[1])[:3])
