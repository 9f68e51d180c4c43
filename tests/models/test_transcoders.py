"""Transcoders: gradients against autograd, the same bits in company and after a kill, folders, raw scales."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from small_stream import SmallStream
from torch import Tensor, nn

from sanity.baselines import (
    Cov,
    FrozenDecoder,
    FrozenEncoder,
    SkipOnly,
    SoftFrozenDecoder,
    Trained,
    Untrained,
)
from sanity.errors import BadInputError
from sanity.models import (
    Architecture,
    Arm,
    BatchTopK,
    JumpReLU,
    Plain,
    ReLU,
    Run,
    TopK,
    Training,
    Transcoder,
    initial_directions,
    load_sae,
    save_sae,
    train,
)
from sanity.models.encoding import select
from sanity.models.gradients import LossSpec, sparse_gradients
from sanity.models.gradients_dense import dense_gradients
from sanity.models.objectives import AffineSkip, Auxiliary, Resampling
from sanity.models.plain import PlainAutoencoder
from sanity.models.start import paired_start

FAST = Training(curve_points=5, probe_points=4)


@dataclass
class SmallPairs(SmallStream):
    """Inputs of the small stream, and a function of them that no affine map is."""

    d_out: int = 6

    def targets(self, step: int) -> Tensor:
        weights = torch.randn(2, self.d_in, 16, generator=torch.Generator().manual_seed(5))
        out = torch.randn(16, self.d_out, generator=torch.Generator().manual_seed(6))
        x = self.batch(step).float()
        hidden = torch.relu(x @ weights[0] - 1) * (x @ weights[1])
        return (0.05 * (hidden @ out)).to(self.dtype)

    def target_covariance(self) -> Tensor:
        return torch.cov(torch.cat([self.targets(step) for step in range(40)]).T)


class PlainTranscoder(PlainAutoencoder):
    """The plain autoencoder, with inputs read as they are, and a target."""

    def __init__(self, architecture: Architecture, weights: Any) -> None:
        super().__init__(architecture, weights.W_enc_t)
        self.W_enc = nn.Parameter(weights.W_enc_t.T.clone())
        self.W_dec = nn.Parameter(weights.W_dec.clone())
        self.b_enc = nn.Parameter(weights.b_enc.clone())
        self.b_dec = nn.Parameter(torch.zeros_like(self.b_dec), requires_grad=False)  # nothing is subtracted
        self.b_out = nn.Parameter(weights.b_dec.clone())
        self.W_skip = nn.Parameter(weights.W_skip.clone())
        if weights.log_threshold is not None:
            self.log_theta = nn.Parameter(weights.log_threshold.clone())

    def pair_loss(self, x: Tensor, target: Tensor, coefficient: float) -> Tensor:
        z, gate = self._select(x)
        loss = x.new_zeros(())
        for end in self.architecture.prefixes(z.shape[1]):
            estimate = z[:, :end] @ self.W_dec[:end] + self.b_out + x @ self.W_skip
            loss = loss + (estimate - target).square().sum(1).mean()
        penalty = {"l1": z, "l0": gate}.get(self.architecture.penalty)
        return loss if penalty is None else loss + coefficient * penalty.sum(1).mean()


def test_gradients_are_those_of_autograd(architecture: Architecture) -> None:
    draw = torch.Generator().manual_seed(3)
    x, target = (torch.randn(24, d, generator=draw, dtype=torch.float64) for d in (8, 6))
    arm = Arm(architecture, 40, objective=AffineSkip())
    sides = [initial_directions(arm, d, lambda d=d: torch.eye(d), x.dtype, encoder=d == 8) for d in (8, 6)]
    weights = paired_start(arm, *sides, x).weights
    for value in (weights.W_enc_t, weights.b_enc, weights.b_dec, weights.W_skip):
        assert value is not None
        value += 0.05 * torch.randn(value.shape, generator=draw, dtype=x.dtype)
    plain = PlainTranscoder(architecture, weights)
    loss = plain.pair_loss(x, target, 0.3)
    loss.backward()  # type: ignore[no-untyped-call]
    wanted = {"W_enc": plain.W_enc.grad.T, "b_dec": plain.b_out.grad}  # type: ignore[union-attr]
    wanted |= {name: getattr(plain, name).grad for name in ("W_dec", "b_enc", "W_skip")}
    if weights.log_threshold is not None:
        wanted["threshold"] = plain.log_theta.grad
    assert weights.W_skip is not None
    aim = target - weights.b_dec - x @ weights.W_skip
    spec = LossSpec(architecture, frozenset(weights.by_name()), 0.3)
    found = select(x, weights.W_enc_t, weights.b_enc, architecture.training_rule(weights.threshold))
    for outcome in (
        sparse_gradients(weights, x, found, spec, aim),
        dense_gradients(weights, x, spec, aim),
    ):
        assert outcome.loss == pytest.approx(loss.item(), rel=1e-10)
        assert outcome.gradients.keys() == wanted.keys()
        for name, gradient in outcome.gradients.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-10)


ARMS = [
    Arm(TopK(3), 24, learning_rate=1e-2, objective=AffineSkip()),
    Arm(BatchTopK(3), 24, SoftFrozenDecoder(), Cov(), learning_rate=1e-2),
    Arm(JumpReLU(3.0), 24, FrozenDecoder(), objective=Auxiliary(dead_after_tokens=64)),
    Arm(TopK(3), 24, FrozenEncoder(), learning_rate=1e-2, objective=AffineSkip()),
    Arm(TopK(3), 24, SkipOnly(), learning_rate=1e-2, objective=AffineSkip()),
    Arm(TopK(3), 24, Untrained()),
]


def bits(run: Run) -> list[bytes]:
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "W_skip")
    there = [value for name in names if (value := getattr(run.sae, name)) is not None]
    return [value.contiguous().numpy().tobytes() for value in (*there, run.initial_directions)]


def test_company_and_a_kill_leave_the_same_bits(tmp_path: Path) -> None:
    stream = SmallPairs()
    together = train(ARMS, stream, steps=16, training=FAST)
    for arm, run in zip(ARMS, together, strict=True):
        (alone,) = train([arm], stream, steps=16, training=FAST)
        assert bits(alone) == bits(run), arm.label
        assert alone.curve.equals(run.curve), arm.label

    failing = dataclasses.replace(stream)

    def targets(step: int) -> Tensor:
        if step == 9:
            raise InterruptedError
        return stream.targets(step)

    failing.targets = targets  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        train(ARMS, failing, steps=16, training=FAST, folder=tmp_path, checkpoint_every_s=0)
    for run, expected in zip(
        train(ARMS, stream, steps=16, training=FAST, folder=tmp_path), together, strict=True
    ):
        assert bits(run) == bits(expected), run.arm.label


def test_what_is_frozen_stays_and_latents_explain_what_the_skip_leaves() -> None:
    stream = SmallPairs(batch_size=256)
    made = [(Trained(), 64), (FrozenDecoder(), 24), (FrozenEncoder(), 24), (SkipOnly(), 24)]
    arms = [Arm(TopK(3), m, one, learning_rate=3e-2, objective=AffineSkip()) for one, m in made]
    trained, decoder, encoder, alone = train(arms, stream, steps=120, training=FAST)
    assert torch.equal(decoder.sae.W_dec, decoder.initial_directions)
    start = initial_directions(arms[2], 8, stream.covariance, encoder=True)
    turned = torch.nn.functional.cosine_similarity(encoder.sae.W_enc.T, start)
    torch.testing.assert_close(turned, torch.ones(24))

    x = torch.cat([stream.batch(step) for step in range(200, 240)])
    t = torch.cat([stream.targets(step) for step in range(200, 240)])

    def explained(estimate: Tensor) -> float:
        return 1 - float((t - estimate).square().sum() / (t - t.mean(0)).square().sum())

    design = torch.cat([x, torch.ones(len(x), 1)], 1)
    affine = explained(design @ torch.linalg.lstsq(design, t).solution)
    # The skip alone learns what least squares finds on these very samples, or a little less.
    assert affine - 0.05 < explained(alone.sae.reconstruct(x)) <= affine
    assert alone.l0 == 0
    assert explained(trained.sae.reconstruct(x)) > affine + 0.1


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.label)
def test_a_folder_gives_it_back(arm: Arm, tmp_path: Path) -> None:
    stream = SmallPairs()
    (run,) = train([arm], stream, steps=5, training=FAST)
    again = load_sae(save_sae(run.sae, tmp_path / "it"))
    assert isinstance(again, Transcoder)
    x = stream.batch(99)
    assert torch.equal(again.reconstruct(x), run.sae.reconstruct(x))
    assert again.reconstruct(x).shape == (32, 6)


@pytest.mark.parametrize("architecture", [JumpReLU(3.0), ReLU(4.0)], ids=lambda a: a.name)
@pytest.mark.parametrize("objective", [Plain(), AffineSkip()], ids=lambda o: o.name)
def test_saelens_computes_the_same(architecture: Architecture, objective: Any, tmp_path: Path) -> None:
    """And so does the definition, written out."""
    lens = pytest.importorskip("sae_lens")
    stream = SmallPairs()
    (run,) = train([Arm(architecture, 24, objective=objective)], stream, steps=5, training=FAST)
    sae, x = run.sae, stream.batch(99)
    assert isinstance(sae, Transcoder)
    theirs = lens.SAE.load_from_disk(str(save_sae(sae, tmp_path / "it")))
    with torch.no_grad():
        found = theirs(x)
    ours = sae.reconstruct(x)
    assert float((ours - found).norm() / found.norm()) < 1e-5
    pre = x @ sae.W_enc + sae.b_enc
    z = pre.relu() * (pre > (0 if sae.threshold is None else sae.threshold))
    by_hand = z @ sae.W_dec + sae.b_dec + (0 if sae.W_skip is None else x @ sae.W_skip)
    assert float((ours - by_hand).norm() / by_hand.norm()) < 1e-5
    torch.testing.assert_close(theirs.encode(x), sae.encode(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arm", ARMS[:3], ids=lambda arm: arm.label)
def test_raw_scales_are_folded_in(arm: Arm) -> None:
    stream = SmallPairs()
    (run,) = train([arm], stream, steps=20, training=FAST)
    draw = torch.Generator().manual_seed(1)
    centre, target_centre = torch.randn(8, generator=draw), torch.randn(6, generator=draw)
    x = stream.batch(50)
    assert isinstance(run.sae, Transcoder)
    raw = run.sae.for_raw(centre, 2.5, target_centre, 0.4)
    found = raw.reconstruct(x / 2.5 + centre)
    torch.testing.assert_close(found, run.sae.reconstruct(x) / 0.4 + target_centre, rtol=1e-4, atol=1e-4)


def test_bad_input_is_refused_in_words(stream: SmallStream) -> None:
    with pytest.raises(BadInputError, match="needs a stream of pairs"):
        train([Arm(TopK(3), 24, objective=AffineSkip())], stream, steps=1)
    with pytest.raises(BadInputError, match="for SAEs"):
        train([Arm(TopK(3), 24, objective=Resampling())], SmallPairs(), steps=1)
    with pytest.raises(BadInputError, match="no latents that fire and no skip"):
        train([Arm(TopK(3), 24, SkipOnly())], SmallPairs(), steps=1)
    short = SmallPairs()
    short.targets = lambda step: SmallPairs().targets(step)[1:]  # type: ignore[method-assign]
    with pytest.raises(BadInputError, match="same tokens"):
        train([Arm(TopK(3), 24)], short, steps=1)
