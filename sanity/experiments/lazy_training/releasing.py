"""What a cone costs: explained variance gained by releasing it, on activations beyond noise like them.

How many latents end on the edge of their cone, and when, says little: Adam turns every row by about the
learning rate, whatever it is trained on, so that noise fills the edge as fast. What a constraint costs on
noise is the price of drift held back; only what it costs beyond that can be owed to structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from sanity.engine.cells import Task, computes
from sanity.evals.metric import Metric, declare

GAIN = "release_gain_beyond_noise"
declare(
    {
        GAIN: Metric(
            "explained variance gained by releasing the cone, activations minus noise",
            "higher",
            None,
            "0: as much as on Gaussian noise of the same covariance",
            "none",
            ungated="it is a difference of explained variances, which have a gate",
        )
    }
)


@dataclass(frozen=True)
class ReleasedSeed:
    """One seed of a trained and of a held arm, on activations and on noise."""

    seed: int
    known_as: ClassVar[str] = "Released"


@computes("compare releases", version=1)
def compare_releases(task: Task) -> None:
    """The table `scores`: one row, of the held arm, with what releasing it gains beyond noise."""
    found = {name: result.table("scores") for name, result in task.inputs.items()}
    rows = {name: table[table["metric"] == "explained_variance"] for name, table in found.items()}
    ev = {name: float(row["value"].iloc[0]) for name, row in rows.items()}
    gain = (ev["trained"] - ev["held"]) - (ev["noise.trained"] - ev["noise.held"])
    task.save_table("scores", rows["held"].assign(metric=GAIN, value=gain, floor=0.0, ceiling=math.nan))
