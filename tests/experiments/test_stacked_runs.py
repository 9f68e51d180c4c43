"""What a run keeps about the stack that it was trained in."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch

from sanity.data import SyntheticSpec
from sanity.engine.cells import Task
from sanity.experiments.steps import keep_run
from sanity.models import Arm, TopK, Training, train
from sanity.sources import Budget, OpenedSource, RunSpec, World


@pytest.mark.parametrize("card", [True, False])
def test_a_run_says_with_whom_it_was_stacked(card: bool, tmp_path: Path) -> None:
    """The company is no part of the key, so that it is told next to the curve; alone there is none."""
    source = World(SyntheticSpec(d_in=8, n_features=16, expected_l0=2.0), held_out=64)
    budget = Budget(3, 16, Training(curve_points=1, probe_points=1))
    opened: OpenedSource = source.open({}, batch_size=16, seed=0, device="cpu")
    arms = [Arm(TopK(2), 16, seed=seed) for seed in (0, 1)]
    runs = train(arms, opened.stream, steps=3, training=budget.training, card=card)
    task = mock.Mock(spec=Task, config=RunSpec(arms[0], source, budget), folder=tmp_path)
    with torch.no_grad():
        keep_run(task, runs[0], opened)
    assert task.save_json.call_args_list == [mock.call("stack", {"trained_with": [arms[1].label]})] * card
