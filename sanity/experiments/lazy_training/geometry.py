"""What cones can and cannot contain, and what they can reach, at the sizes that matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from sanity.engine.cells import Task, computes
from sanity.evals import log_any_above, reachable_cosine
from sanity.evals.cone import log_reachable, reach, simulated_nearest
from sanity.evals.feature_recovery import RECOVERED
from sanity.evals.sphere import log_cap_probability, log_cone_bound

PAPERS_TAU = 0.8
TAUS = tuple(float(tau) for tau in np.linspace(0.0, 1.0, 41).round(6))
SIMULATED = tuple(float(tau) for tau in np.linspace(0.1, 0.9, 5).round(6))


@dataclass(frozen=True)
class DictionarySize:
    """A dictionary's size, and what it is the size of."""

    name: str
    subject: str | None
    """The language model; None for a synthetic world."""
    d_in: int
    d_sae: int
    known_as: ClassVar[str] = "Size"


PAPERS_SIZES = (
    DictionarySize("toy", None, 100, 3200),
    DictionarySize("gemma-2-2b", "gemma-2-2b", 2304, 73_728),
    DictionarySize("llama-3-8b", "llama-3-8b", 4096, 131_072),
)
WIDE = DictionarySize("smollm2-135m, expansion 32", "smollm2-135m", 576, 18_432)


@dataclass(frozen=True)
class ConeSimulation:
    """A size, and how many directions the simulation takes."""

    size: DictionarySize
    draws: int
    seed: int = 0
    known_as: ClassVar[str] = "Geometry"


@computes("cone geometry", version=1)
def cone_geometry(task: Task) -> None:
    """Tables `exact` (bound, probability, reach over tau), `simulated`, and `scores` at the paper's tau."""
    config: ConeSimulation = task.config
    size = config.size
    names = {"size": size.name, "subject": size.subject, "d_in": size.d_in, "d_sae": size.d_sae}
    exact = pd.DataFrame([{**names, **laws(size, tau)} for tau in TAUS])
    nearest = torch.from_numpy(simulated_nearest(size.d_in, size.d_sae, draws=config.draws, seed=config.seed))
    simulated = []
    for tau in SIMULATED:
        reached = reach(nearest, tau)
        low, high = reached.quantile(torch.tensor([0.05, 0.95], dtype=reached.dtype)).tolist()
        simulated.append({**names, "tau": tau, "reach": float(reached.mean()), "low": low, "high": high})
    task.save_table("exact", exact)
    task.save_table("simulated", pd.DataFrame(simulated).assign(draws=config.draws))
    task.save_table("scores", score_rows(size))


def laws(size: DictionarySize, tau: float) -> dict[str, float]:
    """At one tau: the paper's bound, the exact probability (log10), the reach, and who can be recovered."""
    d, m = size.d_in, size.d_sae
    return {
        "tau": tau,
        "log10_one_bound": log_cone_bound(d, 1, tau) / math.log(10),
        "log10_cone_bound": log_cone_bound(d, m, tau) / math.log(10),
        "log10_one_cap": log_cap_probability(d, tau) / math.log(10),
        "log10_any_cap": log_any_above(d, m, tau) / math.log(10),
        "cone_reach": reachable_cosine(d, m, tau),
        "reachable_share": math.exp(log_reachable(d, m, tau, RECOVERED)),
    }


def score_rows(size: DictionarySize) -> pd.DataFrame:
    """The rows that claims read: bound and reach at the paper's tau, computed and not measured."""
    at = laws(size, PAPERS_TAU)
    about = {
        "architecture": "any", "constraint": "soft_frozen_decoder", "init": "iso", "objective": "plain",
        "seed": 0, "learning_rate": math.nan, "l0_target": math.nan, "d_sae": size.d_sae,
        "trained_on_noise": False, "subject": size.subject, "d_in": size.d_in, "floor": math.nan,
        "ceiling": math.nan, "n": size.d_sae, "unit": "cone",
    }  # fmt: skip
    return pd.DataFrame(
        [{**about, "metric": name, "value": at[name]} for name in ("log10_cone_bound", "cone_reach")]
    )
