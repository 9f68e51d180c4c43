"""SAEs as they are on the way: some steps of a training, each kept as if it had ended there.

A metric that does not rise along one arm's own training cannot rank arms. Snapshots are scored like any other
SAE; their training is done once for all of them, with the schedule of the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sanity.engine.cells import Cell, Task, computes
from sanity.experiments.steps import at_matched_l0, named_curve, that_fit
from sanity.models import Autoencoder, load_sae, save_sae, train
from sanity.sources import Snapshot


@dataclass(frozen=True, eq=False)
class SnapshotProbe:
    """Keeps the SAE at some steps, in a folder per step."""

    steps: frozenset[int]
    folder: Path
    name: str = field(default="snapshot", init=False)

    def __call__(self, sae: Autoencoder, step: int) -> Mapping[str, float]:
        """Keep `sae`; asked again about a step, it writes the same again."""
        if step in self.steps:
            save_sae(sae, self.folder_of(step))
        return {}

    def folder_of(self, step: int) -> Path:
        """Where the SAE of a step is."""
        return self.folder / f"{step:09}"


def _same_training(cell: Cell) -> object:
    """Snapshots of one run."""
    run: Snapshot = cell.config
    inputs = {name: needed.key for name, needed in cell.inputs}
    return [inputs, run.arm, run.source, run.budget, run.device]


@computes("keep snapshots", version=1, together=_same_training)
def keep_snapshots(tasks: Sequence[Task]) -> None:
    """Train one arm, and keep at each step asked for its SAE at matched L0, and its curve up to there."""
    run: Snapshot = tasks[0].config
    budget, source = run.budget, run.source
    that_fit([run])
    opened = source.open(tasks[0].inputs, batch_size=budget.batch_size, seed=run.arm.seed, device=run.device)
    probe = SnapshotProbe(frozenset(task.config.steps for task in tasks), tasks[0].scratch / "snapshots")
    (ended,) = train(
        [run.arm],
        opened.stream,
        steps=budget.steps,
        training=budget.training,
        probes=[probe],
        folder=tasks[0].scratch / "training",
        precision=budget.precision,
    )
    curve = named_curve(ended.curve)
    for task in tasks:
        asked: Snapshot = task.config
        sae = load_sae(probe.folder_of(asked.steps)).to(device=run.device)
        save_sae(at_matched_l0(sae, opened.calibration, asked.l0), task.folder / "sae")
        task.save_table("curve", curve[curve["step"] <= asked.steps].assign(**asked.columns()))
