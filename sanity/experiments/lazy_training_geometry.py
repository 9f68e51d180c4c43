"""What cones can and cannot contain, and what they can reach, at the sizes that matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.evals import (
    log_any_above,
    log_cap_probability,
    log_cone_bound,
    log_reachable,
    reach,
    reachable_cosine,
    simulated_nearest,
)
from sanity.profiles import Profile

EXPERIMENT = "cone_geometry"
PAPERS_TAU = 0.8
BAR = 0.8
TAUS = tuple(float(tau) for tau in np.linspace(0.0, 1.0, 41).round(6))
SIMULATED = tuple(float(tau) for tau in np.linspace(0.1, 0.9, 5).round(6))


@dataclass(frozen=True)
class Size:
    """A dictionary's size, and what it is the size of."""

    name: str
    subject: str | None
    """The language model; None for a synthetic world."""
    d_in: int
    d_sae: int

    @property
    def label(self) -> str:
        """Name and numbers."""
        return f"{self.name} ({self.d_in:,}; {self.d_sae:,})"


PAPERS_SIZES = (
    Size("toy", None, 100, 3200),
    Size("gemma-2-2b", "gemma-2-2b", 2304, 73_728),
    Size("llama-3-8b", "llama-3-8b", 4096, 131_072),
)


@dataclass(frozen=True)
class Geometry:
    """Sizes to draw, and how many directions the simulation takes for each."""

    sizes: tuple[Size, ...]
    draws: int
    seed: int = 0


@computes(version=1, threads=1)
def cone_geometry(task: Task) -> None:
    """Bound, exact probability and reach over tau at every size; and the reach simulated."""
    config: Geometry = task.config
    exact, simulated = [], []
    for size in config.sizes:
        names = {"size": size.name, "subject": size.subject, "d_in": size.d_in, "d_sae": size.d_sae}
        exact += [{**names, **laws(size, tau)} for tau in TAUS]
        nearest = torch.from_numpy(
            simulated_nearest(size.d_in, size.d_sae, draws=config.draws, seed=config.seed)
        )
        for tau in SIMULATED:
            reached = reach(nearest, tau)
            low, high = reached.quantile(torch.tensor([0.05, 0.95], dtype=reached.dtype)).tolist()
            row = {"tau": tau, "reach": float(reached.mean()), "low": low, "high": high}
            simulated.append({**names, **row, "draws": config.draws})
    task.save_table("exact", pd.DataFrame(exact))
    task.save_table("simulated", pd.DataFrame(simulated))


def laws(size: Size, tau: float) -> dict[str, float]:
    """At one tau: the paper's bound, the exact probability (log10), the reach, and who can be recovered."""
    d, m = size.d_in, size.d_sae
    return {
        "tau": tau,
        "log10_one_bound": log_cone_bound(d, 1, tau) / math.log(10),
        "log10_cone_bound": log_cone_bound(d, m, tau) / math.log(10),
        "log10_one_cap": log_cap_probability(d, tau) / math.log(10),
        "log10_any_cap": log_any_above(d, m, tau) / math.log(10),
        "cone_reach": reachable_cosine(d, m, tau),
        "reachable_share": math.exp(log_reachable(d, m, tau, BAR)),
    }


def sizes_of(profile: Profile) -> tuple[Size, ...]:
    """The paper's sizes, and the profile's own where they are others."""
    toy, model = profile.toy, profile.models[0]
    own = (
        Size("this toy", None, toy.worlds[0].d_in, toy.d_sae),
        Size(model.subject, model.subject, model.d_model, model.d_sae or profile.real.d_sae),
    )
    known = {(size.d_in, size.d_sae) for size in PAPERS_SIZES}
    wide = Size("smollm2-135m, expansion 32", "smollm2-135m", 576, 18_432)
    return (*PAPERS_SIZES, *(size for size in (*own, wide) if (size.d_in, size.d_sae) not in known))


def geometry_cell(profile: Profile) -> Cell:
    """The one cell of this part."""
    return cone_geometry.cell(
        Geometry(sizes_of(profile), profile.lazy.simulated_draws),
        label="the reach of cones",
        stage="toy",
        cost=Cost(3.0),
    )


def geometry_rows(exact: pd.DataFrame) -> pd.DataFrame:
    """The rows that claims read: the paper's bound and the cones' reach at the paper's tau and sizes."""
    rows = []
    at = exact[exact["tau"] == PAPERS_TAU]
    for size in PAPERS_SIZES:
        one = at[at["size"] == size.name].iloc[0]
        named: dict[str, Any] = {
            "experiment": EXPERIMENT,
            "world_or_hook": size.name,
            "architecture": "any",
            "constraint": "soft_frozen_decoder",
            "init": "iso",
            "seed": 0,
            "n": size.d_sae,
            "unit": "cone",
            "learning_rate": math.nan,
            "l0_target": math.nan,
            "subject": size.subject,
            "d_sae": size.d_sae,
            "floor": math.nan,
            "ceiling": math.nan,
        }
        rows += [
            {**named, "metric": name, "value": float(one[name])}
            for name in ("log10_cone_bound", "cone_reach")
        ]
    return pd.DataFrame(rows)
