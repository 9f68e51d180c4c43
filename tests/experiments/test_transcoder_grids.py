"""Transcoders through planner and store on a tiny language model: nulls, and losses in the MLP's place."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from sanity.baselines import FrozenDecoder, OwnNeurons, SkipOnly, Trained
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import BeyondAffine, Interpretability, Loss, Reconstruction
from sanity.evals.base import Grades, Setting
from sanity.evals.loss import losses_at
from sanity.experiments.planner import plan_runs
from sanity.experiments.plans import RunRequest
from sanity.experiments.reading import Reader
from sanity.models import Arm, TopK, load_dictionary
from sanity.models.neurons import Neurons
from sanity.models.objectives import AffineSkip
from sanity.profiles.sources import MLPEntry
from sanity.sources import MLP, Budget, RunSpec

GRADES = Grades(levels=(0.0, 0.5, 1.0), seeds=(0, 1), size=200)
EVALS = {
    "reconstruction": Reconstruction(GRADES),
    "beyond_affine": BeyondAffine(samples=1500, grades=GRADES),
    "loss": Loss(tokens=160, grades=Grades(levels=(0.0, 0.5, 1.0), seeds=(0, 1), size=64)),
}
BUDGET = Budget(steps=60, batch_size=64)
NEURONS = 48


@pytest.fixture(scope="module")
def source(letters_and_text: tuple[Path, Path]) -> MLP:
    model, text = letters_and_text
    made = MLPEntry(
        kind="mlp", subject=str(model), hook="blocks.1.mlp.hook_in", d_model=32, context=16, text=str(text),
        train_tokens=1600, held_out_tokens=480, shard_tokens=400,
    ).made(lambda name: pytest.fail(name))  # fmt: skip
    assert isinstance(made, MLP)
    return made


def other(source: MLP, outputs: str) -> MLP:
    return MLP(**{**vars(source), "outputs": outputs})


@pytest.fixture(scope="module")
def reader(source: MLP, store: LocalStore) -> Reader:
    def arm(constraint: object, **more: object) -> Arm:
        return Arm(TopK(6), NEURONS, constraint, learning_rate=3e-3, **more)  # type: ignore[arg-type]

    skip = AffineSkip()
    runs: list[RunSpec | RunRequest] = [
        RunSpec(one, source, BUDGET)
        for one in (
            arm(Trained()), arm(FrozenDecoder()), arm(OwnNeurons()),
            arm(Trained(), objective=skip), arm(SkipOnly(), objective=skip),
        )
    ]  # fmt: skip
    for outputs in ("shuffled", "random"):
        scored_on = source if outputs == "shuffled" else None
        run = RunSpec(arm(Trained()), other(source, outputs), BUDGET)
        runs.append(RunRequest(run, scored_on=scored_on, evals=("reconstruction", "beyond_affine")))
    return Reader(plan_runs(runs, EVALS), store)


@pytest.fixture(scope="module")
def values(reader: Reader) -> pd.DataFrame:
    scores = reader.scores("runs")
    index = ["constraint", "objective", "world_or_hook", "metric"]
    wide: pd.DataFrame = scores.assign(n=scores.groupby(index).cumcount()).set_index([*index, "n"])["value"]
    return wide


def test_every_arm_is_scored_on_its_targets(reader: Reader, values: pd.DataFrame) -> None:
    def ev(
        constraint: str, objective: str = "plain", place: str = "blocks.1.mlp.hook_in", n: int = 0
    ) -> float:
        return float(values[constraint, objective, place, "explained_variance", n])

    assert ev("trained") > 0.05
    assert ev("trained") > ev("frozen_decoder")
    assert ev("trained", n=1) < 0.02, "trained on outputs of other tokens there is nothing to explain"
    assert ev("skip_only", "affine_skip") > 0.05
    assert (
        "trained",
        "plain",
        "blocks.1.mlp.hook_in, weights drawn at random",
        "explained_variance",
        0,
    ) in values
    graded = reader.graded("beyond_affine")
    means = graded.groupby("level")["value"].mean()
    assert list(means) == pytest.approx([1, 0.75, 0], abs=0.02)


def test_runs_on_the_same_tokens_share_one_harvest(reader: Reader) -> None:
    harvests = {cell.key for run in reader.plan.runs for name, cell in run.trained.inputs if name == "train"}
    assert len(harvests) == 1


def test_own_neurons_are_the_mlp_when_all_are_active(reader: Reader, source: MLP) -> None:
    run, result = next(
        (run, result)
        for run, result in reader.trained("runs")
        if isinstance(run.run.arm.constraint, OwnNeurons)
    )
    neurons = load_dictionary(result.folder("sae"))
    assert isinstance(neurons, Neurons)
    assert neurons.k == 6
    neurons.k = NEURONS
    inputs = {name: reader.results([cell])[0] for name, cell in run.trained.inputs}
    setting = Setting(source, 0, 64, "cpu", inputs)
    assert setting.opened.pairs is not None
    for x, t in setting.opened.pairs():
        torch.testing.assert_close(neurons.reconstruct(x), t, rtol=1e-3, atol=1e-3)
    tokens = torch.randint(0, 38, (3, 16), generator=torch.Generator().manual_seed(1))
    loss = losses_at(setting, {"all": neurons}, tokens)["all"]
    assert loss.cross_entropy.value == pytest.approx(loss.cross_entropy.ceiling, abs=1e-4)
    assert loss.kl_divergence.value == pytest.approx(0, abs=1e-5)
    assert loss.cross_entropy.floor == pytest.approx(_with_mean_output(source, setting, tokens), abs=1e-4)


def _with_mean_output(source: MLP, setting: Setting, tokens: Tensor) -> float:
    """The model's loss with a plain hook that puts the mean in place of the MLP's output."""
    subject = source.at.load("cpu")
    stream = setting.opened.stream
    mean = stream.target_centre  # type: ignore[attr-defined]

    def replace(module: object, given: object, output: Tensor) -> Tensor:
        return torch.cat([output[:, :1], mean.expand_as(output[:, 1:])], dim=1)

    handle = subject.mlp.register_forward_hook(replace)
    try:
        logits = subject.subject._plain(tokens).logits  # type: ignore[attr-defined]
    finally:
        handle.remove()
    logp = torch.log_softmax(logits[:, 1:-1], -1)
    return float(-logp.gather(-1, tokens[:, 2:, None]).mean())


def test_latents_are_read_at_the_mlps_input(reader: Reader, source: MLP) -> None:
    assert Interpretability().why_not(source) == ""


def test_neurons_of_what_is_no_mlp_are_refused(source: MLP, store: LocalStore) -> None:
    arm = Arm(TopK(6), 40, OwnNeurons())
    with pytest.raises(BadInputError, match="48 neurons"):
        Reader(plan_runs([RunSpec(arm, source, BUDGET)], EVALS), store).scores("runs")
    with pytest.raises(BadInputError, match="no neurons of its own"):
        Reader(plan_runs([RunSpec(arm, other(source, "random"), BUDGET)], EVALS), store).scores("runs")
