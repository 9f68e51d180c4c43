"""The card's step, on a processor: the numbers of the ordinary one, in stacks."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from card_arms import ALL_AT_ONCE, FAST, apart, arms_of, stack_of
from test_transcoders import SmallPairs
from torch import Tensor

from sanity.baselines import SkipOnly, SoftFrozenDecoder, Untrained
from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.config import to_json
from sanity.errors import BadInputError, SanityError
from sanity.models import Architecture, Arm, BatchTopK, Constraint, JumpReLU, Plain, TopK, Training, train
from sanity.models.card import plain
from sanity.models.card.entries import Entries, Selection
from sanity.models.card.stack import Stack, require_room
from sanity.models.footprint import footprint
from sanity.models.objectives import AffineSkip, Auxiliary, Resampling, Restarts, TopKFirst
from sanity.models.selection import PerBatch, PerRow
from sanity.testing.host_reads import no_host_reads


@pytest.mark.parametrize("training", [FAST, ALL_AT_ONCE], ids=["plain", "auxiliary, clip, decay"])
def test_a_stack_gives_what_its_arms_give_alone(
    architecture: Architecture, stream: Any, training: Training
) -> None:
    arms = arms_of(architecture)
    for dtype, rounding in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        stream.dtype = dtype
        alone = train(arms, stream, steps=12, training=training)
        with mock.patch.object(Stack, "learn", autospec=True, side_effect=Stack.learn) as learn:
            together = train(arms, stream, steps=12, training=training, card=True)
        assert learn.call_count == 12, "one call per step, for all arms"
        assert 0 < apart(together, alone) < rounding
    if training.auxiliary:
        assert max(float(run.curve["dead"].max()) for run in alone) > 0, "the auxiliary loss had latents"


@pytest.mark.parametrize("objective", [Plain(), AffineSkip()], ids=lambda o: o.label)
def test_a_stack_of_transcoders(architecture: Architecture, objective: Any) -> None:
    stream = SmallPairs(dtype=torch.float64)
    arms = [dataclasses.replace(arm, objective=objective) for arm in arms_of(architecture)]
    if objective.has_skip:
        arms.append(Arm(architecture, 24, SkipOnly(), objective=objective))
    alone = train(arms, stream, steps=12, training=ALL_AT_ONCE)
    together = train(arms, stream, steps=12, training=ALL_AT_ONCE, card=True)
    assert 0 < apart(together, alone) < 1e-12


def test_what_is_not_stacked_is_trained_by_itself_and_said(stream: Any, caplog: Any) -> None:
    others = [
        Arm(TopK(3), 24, objective=Resampling()),
        Arm(TopK(3), 24, OneHalf()),
        Arm(Own(3), 24),
        Arm(TopK(3), 24, Untrained()),
    ]
    known = [
        Arm(TopK(3), 24, objective=Auxiliary(dead_after_tokens=100)),
        Arm(TopK(3), 24, objective=Restarts()),
        Arm(JumpReLU(3.0), 24, objective=TopKFirst()),
        Arm(TopK(4), 24),
    ]
    stream.dtype = torch.float64
    with caplog.at_level(logging.INFO):
        together = train([*others, *known], stream, steps=20, training=FAST, card=True)
    alone = train([*others, *known], stream, steps=20, training=FAST)
    assert apart(together, alone) < 1e-12
    assert apart(together[:4], alone[:4]) == 0
    said = [record.message for record in caplog.records if "by itself" in record.message]
    assert len(said) == 3
    reasons = ("has a part in every step", "moves rows by a rule of its own", "selects by a rule of its own")
    assert all(reason in words for reason, words in zip(reasons, said, strict=True))


class OneHalf(Constraint):
    """Half of the decoder stays."""

    name = "one_half_of_the_card_tests"

    def project(self, W_dec: Tensor, anchor: Tensor) -> None:
        W_dec[:12] = anchor[:12]


class EveryOther(PerRow):
    """Only even latents."""

    def mask(self, pre: Tensor) -> Tensor:
        return super().mask(pre)


@dataclasses.dataclass(frozen=True)
class Own(TopK):
    """An architecture with a rule that nobody knows."""

    name = "own_of_the_card_tests"

    def training_rule(self, threshold: Any) -> Any:
        return EveryOther(self.k)


@pytest.mark.parametrize(
    ("architecture", "moments"), [(BatchTopK(3), "float32"), (JumpReLU(3.0), "float32"), (TopK(3), "bf16")]
)
def test_a_run_goes_on_where_it_was_stopped(
    architecture: Architecture, moments: Any, stream: Any, tmp_path: Path
) -> None:
    """With the threshold and the controller that were only on the device."""
    training = dataclasses.replace(ALL_AT_ONCE, moments=moments)
    arms = [arm for arm in arms_of(architecture) if arm.constraint.learns]
    whole = train(arms, stream, steps=20, training=training, card=True)
    learn, steps = Stack.learn, 0

    def dies(self: Stack, x: Tensor, target: None) -> None:
        nonlocal steps
        steps += 1
        if steps == 13:
            raise KeyboardInterrupt
        learn(self, x)

    more: Any = {"steps": 20, "training": training, "folder": tmp_path, "card": True}
    with mock.patch.object(Stack, "learn", dies), pytest.raises(KeyboardInterrupt):
        train(arms, stream, checkpoint_every_s=0.0, **more)
    resumed = train(arms, stream, **more)
    assert steps == 13
    assert apart(resumed, whole) == 0
    others = [[other.label for other in arms if other != arm] for arm in arms]
    for runs in (whole, resumed):
        assert [sorted(names) for names in others] == [list(run.stacked_with) for run in runs]


def test_moments_may_be_kept_in_bf16(stream: Any) -> None:
    """A key tells only of those; a step reads nothing back; arms by themselves are refused."""
    half = dataclasses.replace(ALL_AT_ONCE, moments="bf16")
    assert "moments" not in to_json(FAST)
    assert to_json(half) == {**to_json(ALL_AT_ONCE), "moments": "bf16"}
    arms = [Arm(TopK(3), 24, SoftFrozenDecoder(0.8)), Arm(TopK(3), 24, seed=1)]
    whole = train(arms, stream, steps=20, training=half, card=True)
    assert 1e-6 < apart(whole, train(arms, stream, steps=20, training=ALL_AT_ONCE, card=True)) < 0.3
    stack = stack_of(arms, stream, half)
    x = stream.batch(0)
    with torch.no_grad(), no_host_reads():
        stack.learn(x)
    kinds = {name: moments[1].dtype for name, moments in stack.state.moments.items()}
    assert kinds["W_dec"] == kinds["W_enc"] == torch.bfloat16
    assert kinds["b_enc"] == kinds["b_dec"] == torch.float32
    with pytest.raises(BadInputError, match="asks for moments in bf16 and is trained by itself"):
        train(arms, stream, steps=2, training=half)


def test_rounding_by_chance_is_right_on_average() -> None:
    values = torch.tensor([1.0, 1.0 + 2**-10, 3.3e-9, 0.0])
    many = torch.stack([plain._to_bf16(values, torch.tensor([step])) for step in range(4000)])
    assert torch.equal(many, many.bfloat16().float())
    assert torch.equal(many[:, [0, 3]], values[[0, 3]].expand(4000, 2))
    assert (many.double().mean(0) / values - 1)[:3].abs().max() < 2e-4


def test_entries_without_a_place_are_counted_and_told(stream: Any, caplog: Any) -> None:
    arm = Arm(JumpReLU(2.0, bandwidth=0.3), 64)
    with mock.patch("sanity.models.card.entries.SPARE", 1.0), caplog.at_level(logging.WARNING):
        stack = stack_of([arm], stream)
        stack.state.weights["threshold"].fill_(-20.0)
        with torch.no_grad():
            stack.learn(stream.batch(0))
        (report,) = stack.read()
        stack.read()
    x, weights = stream.batch(0), stack_of([arm], stream).state.weights
    pre = x @ weights["W_enc"][0].T
    wanted = int((pre > -0.15).sum()) - 18 * len(x)
    assert report["overflow"] == pytest.approx(wanted, abs=2)
    assert wanted > 0
    assert sum("found no place" in record.message for record in caplog.records) == 1, "told once"


def test_what_reaches_a_bound_is_listed_sample_by_sample() -> None:
    """Against `nonzero`; too many are left out in each sample alike, and what is no number is found."""
    pre = torch.randn(2, 6, 40, generator=torch.Generator().manual_seed(0))
    pre[0, 0, 3], pre[0, 1], pre[1, 5] = torch.nan, -9, 9
    lowest = torch.full((2, 40), 1.0)
    lowest[:, :20] = 1.4
    slack = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]] * 2)
    wanted = ~(pre < lowest[:, None] - slack[:, :, None])
    for places in (240, 100, 30):
        flat, spans, lost = plain.above(pre, lowest, slack, places)
        entries = Entries.of(flat, 6, 40, spans)
        counts = wanted.sum(2)
        assert lost.tolist() == (counts.sum(1) - places).clamp_min(0).tolist()
        held = entries.of_a_row()
        kept = spans.diff(dim=0).view(2, 6)
        for arm in range(2):
            share = min(1.0, places / int(counts[arm].sum()))
            for row, latents in enumerate(wanted[arm]):
                start, end = (int(edge) for edge in spans[:, 6 * arm + row])
                first = latents.nonzero().squeeze(1)[: int(kept[arm, row])]
                assert (entries.latents[start:end] - 40 * arm).tolist() == first.tolist()
                assert entries.rows[start:end].tolist() == [6 * arm + row] * len(first)
                assert abs(len(first) - share * int(counts[arm, row])) < 1
            assert held[arm].sum() == kept[arm].sum() == min(places, int(counts[arm].sum()))


def test_a_batch_rule_selects_the_largest_of_all_samples() -> None:
    """Where a tenth of the samples holds most of them, too."""
    pre = torch.randn(2, 40, 1600, generator=torch.Generator().manual_seed(0))
    pre[:, ::10] *= 1.6
    rule = PerBatch(12)
    selection = Selection.by(rule, 1600, 12.0, rounded=False)
    found, lost = selection.candidates(pre, None, None, plain)
    values = pre.view(2, -1).gather(1, found.flat).view(-1) * found.of_a_row().view(-1)
    entries, _, held = selection.chosen(found, values, None, 40, 1600)
    assert not lost.any()
    assert bool(held.all())
    for arm in range(2):
        assert torch.equal(rule.mask(pre[arm]).view(-1).nonzero().squeeze(1), entries.flat[arm])


def test_there_is_room_where_samples_differ() -> None:
    """Places belong to the batch: single samples have several times the L0 of others."""
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=100, n_features=3200, expected_l0=20.0))
    stream = SyntheticStream(world, batch_size=128, seed=0)
    stack = stack_of([Arm(JumpReLU(20.0), 800)], stream)
    with torch.no_grad():
        for step in range(12):
            stack.learn(stream.batch(step))
    (report,) = stack.read()
    assert report["overflow"] == 0


def test_a_loss_that_is_not_finite_is_named_with_its_step(stream: Any) -> None:
    stack = stack_of([Arm(TopK(3), 24), Arm(TopK(3), 24, seed=1, learning_rate=1e30)], stream)
    with torch.no_grad():
        for step in range(4):
            stack.learn(stream.batch(step))
    with pytest.raises(SanityError, match=r"seed 1 lr 1e\+30 stopped being finite in step [1-3]"):
        stack.read()


def test_latents_that_are_no_number_are_noticed(architecture: Architecture, stream: Any) -> None:
    """They are below no bound, and above none."""
    stack = stack_of([Arm(architecture, 24)], stream)
    stack.state.weights["W_enc"][0, 5] = torch.nan
    with torch.no_grad():
        stack.learn(stream.batch(0))
    with pytest.raises(SanityError, match="stopped being finite in step 0"):
        stack.read()


def test_batches_of_another_size_are_refused(stream: Any) -> None:
    with pytest.raises(BadInputError, match="all batches must be alike"):
        stack_of([Arm(TopK(3), 24)], stream).learn(stream.batch(0)[:5])


def test_stacks_that_do_not_fit_a_card_are_refused_with_how_many_do(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they take anything: their weights and anchors are there, and count no second time."""
    learners = stack_of([Arm(TopK(3), 24, seed=seed) for seed in range(5)], stream).learners
    need = footprint(learners[0].arm, learners[0].training, d_in=8, batch=32, stacked=True)
    anchor = mock.MagicMock(device=torch.device("cuda"))
    anchor.__len__.return_value = 24
    for one in learners:
        one.anchor = anchor
    for free, words in (
        (5 * (need.whole - need.made), None),
        (5 * (need.whole - need.made) - 1, "5 arms in stacks need .* train 4 of them at a time"),
        (need.whole - 5 * need.made - 1, r"needs .* GB of memory while it trains.* 23 latents fit"),
    ):
        monkeypatch.setattr("sanity.models.card.stack.free_on_card", lambda _, free=free: free)
        if words is None:
            require_room(learners, 32, paired=False)
            continue
        with pytest.raises(BadInputError, match=words):
            require_room(learners, 32, paired=False)


def test_a_rounded_product_selects_the_same_latents(architecture: Architecture, stream: Any) -> None:
    """The values that decide are exact: one step of bf16 is one of float32, but for rare candidates."""
    arms = [Arm(architecture, 24, seed=seed) for seed in range(3)]
    reports = []
    for precision in ("float32", "bf16"):
        stack = stack_of(arms, stream, precision=precision)
        with torch.no_grad():
            stack.learn(stream.batch(0))
        reports.append(torch.tensor([report["squared_error"] for report in stack.read()]))
    assert torch.allclose(*reports, rtol=1e-5)
