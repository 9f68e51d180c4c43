"""What untrained dictionaries explain: cheap enough to be known at the paper's own sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from scipy.stats import norm

from sanity.baselines import Untrained
from sanity.data import SyntheticSpec, SyntheticWorld
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.evals.pursuit import pursuit_explained_variance
from sanity.evals.reconstruction import reconstruction_scores
from sanity.experiments.plans import Plan
from sanity.experiments.steps import at_matched_l0
from sanity.models import Architecture, Arm, Init, Iso, train
from sanity.sources import SignedBasis, TrueFeatures, World

RULES = ("topk", "batchtopk")
"""A fixed dictionary is the same under every architecture with one threshold; BatchTopK stands for them."""
PAPER_WORLDS = (SyntheticSpec(), SyntheticSpec(probabilities="variable"))
PAPER_L0 = 20
SAMPLES = 8192
"""Held-out samples on which they are scored, and as many on which their L0 is set."""
PURSUED = 1024
"""Of these, how many pursuit represents."""


@dataclass(frozen=True)
class Dictionaries:
    """Untrained dictionaries on one world: the truth, random directions, a signed basis."""

    world: SyntheticSpec
    l0: int
    batch_size: int = 4096
    seed: int = 0


@computes("score untrained dictionaries", version=1)
def score_dictionaries(task: Task) -> None:
    """Explained variance of untrained dictionaries under each rule, by pursuit, and by PCA: `references`."""
    config: Dictionaries = task.config
    source = World(config.world, SAMPLES)
    opened = source.open({}, batch_size=config.batch_size, seed=config.seed, device="cpu")
    inits: list[tuple[Init, int]] = [
        (TrueFeatures(config.world), config.world.n_features),
        (SignedBasis(), 2 * config.world.d_in),
        (Iso(), config.world.n_features),
    ]
    rows: list[dict[str, Any]] = []
    for init, m in inits:
        kinds = [Architecture.class_named(name).with_l0(config.l0) for name in RULES]
        arms = [Arm(kind, m, Untrained(), init, config.seed) for kind in kinds]
        runs = train(arms, opened.stream, steps=0)
        for name, run in zip(RULES, runs, strict=True):
            sae = at_matched_l0(run.sae, opened.calibration, config.l0)
            found = reconstruction_scores(sae, [opened.sample])
            rows.append(_row(init.label, name, found["explained_variance"].value, found["l0"].value))
        pursued = pursuit_explained_variance(opened.sample[:PURSUED], runs[0].sae.W_dec, config.l0)
        rows.append(_row(init.label, "pursuit", pursued.value, config.l0))
    assert opened.truth is not None
    pca = pca_explained_variance(opened.truth.world, config.l0)
    rows.append(_row("principal components", "pca", pca, config.l0))
    task.save_table("references", pd.DataFrame(rows).assign(world_or_hook=config.world.probabilities))


def _row(dictionary: str, rule: str, value: float, l0: float) -> dict[str, Any]:
    return {"dictionary": dictionary, "rule": rule, "explained_variance": value, "l0": l0}


def pca_explained_variance(world: SyntheticWorld, components: int) -> float:
    """Share of the variance of a world's samples in its leading principal components, exactly."""
    values = torch.linalg.eigvalsh(world.covariance.double())
    return float(values[-components:].sum() / values.sum())


def signed_basis_explained_variance(d: int, l0: float) -> float:
    """Explained variance of Gaussian data by a signed basis under one threshold: a formula, no data.

    Of d standard normal coordinates those with |z| > t are kept, l0 on average. What is kept of the variance
    is E[z^2; |z| > t] = 2 (t phi(t) + 1 - Phi(t)), with t such that 2 (1 - Phi(t)) = l0 / d.

    >>> round(signed_basis_explained_variance(100, 20), 3)
    0.649
    """
    t = float(norm.isf(l0 / d / 2))
    return l0 / d + 2 * t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)


def cells(plan: Plan) -> list[Cell]:
    """The paper's two worlds at the paper's sizes, whatever the profile's; where it has a toy at all."""
    if not plan.grid("synthetic_recovery"):
        return []
    return [
        score_dictionaries.cell(
            Dictionaries(spec, PAPER_L0),
            label=f"{spec.probabilities} world, d {spec.d_in}: untrained dictionaries",
            stage="references",
            cost=Cost(6e-10 * spec.n_features * spec.d_in * 2 * SAMPLES),
            threads=1,
        )
        for spec in PAPER_WORLDS
    ]
