"""A run of a grid read along its training: at its end, and at a tenth of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from sanity.engine.cells import Task, computes

READ = {"explained_variance": "explained_variance_held_out", "cosine_to_init": "cosine_to_init_mean"}
"""Metrics, and the columns of a run's curve that hold them."""


@dataclass(frozen=True)
class Moment:
    """The step at which a run is read: its last one divided by `divisor`, at which probes were asked."""

    divisor: int


@computes("read curve", version=1)
def read_curve(task: Task) -> None:
    """The table `scores` of a run as its curve has them at one step, on the curve's held-out sample.

    Explained variance is that of the thresholds in training, since L0 is matched after it only.
    """
    config: Moment = task.config
    curve = task.inputs["trained"].table("curve").dropna(subset=list(READ.values())).set_index("step")
    at: Any = curve.loc[int(curve.index.max()) // config.divisor]
    ended = pd.concat([result.table("scores") for name, result in task.inputs.items() if name != "trained"])
    values = {metric: float(at[column]) for metric, column in READ.items()}
    rows = ended[ended["metric"].isin(values.keys())]
    task.save_table("scores", rows.assign(value=rows["metric"].map(values)))
